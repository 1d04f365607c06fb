"""SCALE-Sim's topology rows through the importer, priced by the shipped file.

``scalesim.csv`` holds runs of the simulator; see its first line.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.precision import Precision
from hwmpq.workload.scalesim_csv import read_topology

ROWS = pd.read_csv(Path(__file__).with_name("scalesim.csv"), comment="#")
WORD_BITS = 8
HEADER = "Layer, IFMAP H, IFMAP W, Filter H, Filter W, Channels, Filters, Stride,\n"


def machine(row):
    sizes = {
        f"memories.{name}.size_bits": row.ifmap_sram_kb * 1024 * WORD_BITS
        for name in ("ifmap_buffer", "filter_buffer", "ofmap_buffer")
    }
    array = {
        "compute.dataflow": row.dataflow,
        "compute.rows": row.rows,
        "compute.cols": row.cols,
        "behavior.dram": "fast",
    }
    return load_accelerator("systolic-32x32", {**array, **sizes})


def test_strides_that_do_not_divide_cost_what_the_simulator_says(tmp_path) -> None:
    """The last window hangs over the edge; what is read from DRAM is the input as it is."""
    rows = [row for row in ROWS.itertuples() if (row.ifmap_h - row.filt_h) % row.stride]
    assert {row.layer for row in rows} >= {"l2.down", "l3.down"}
    assert len({row.dataflow for row in rows}) == 3
    for row in rows:
        sizes = (row.ifmap_h, row.ifmap_w, row.filt_h, row.filt_w, row.C, row.K, row.stride)
        file = tmp_path / "row.csv"
        file.write_text(HEADER + ", ".join(["layer", *map(str, sizes)]) + ",\n")
        (layer,) = read_topology(file)
        found = COST_MODEL.layer_cost(layer, [Precision(8, 8)], machine(row))
        assert layer.macs == row.M * row.N * row.Kdim
        assert found.compute_cycles[0] == row.compute_cycles
        assert found.sram_read_bits["ifmap_buffer"][0] == row.ifmap_sram_reads * WORD_BITS
        if row.layer.endswith(".down"):
            # 28 x 28 of 56 x 56 pixels for l2.down, where a larger input would have 29 x 29.
            reads = row.ifmap_dram_reads + row.filter_dram_reads
            assert found.dram_read_bits[0] == WORD_BITS * reads
