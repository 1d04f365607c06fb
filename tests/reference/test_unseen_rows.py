"""Layers, batches, bit pairs and machines that are not among the simulators' own rows.

The figures come from slow ports of the simulators that search and step through everything; the
first line of each file says of which. They would show a model that fits the given rows only.
"""

from pathlib import Path

import pandas as pd
import pytest

from hwmpq import registry
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, Linear, MultiplyLayer

HERE = Path(__file__).parent
SIMULATORS = {
    "bitfusion-isca18": "port of hsharma35/bitfusion 04ec1c8",
    "ant-bitfusion": "port of clevercool/ANT-Quantization bc84067",
}
BUFFERS = {"wbuf": "weight_buffer", "ibuf": "input_buffer", "obuf": "output_buffer"}


def rows_of(file: str, accelerator: str) -> pd.DataFrame:
    table = pd.read_csv(HERE / file, skiprows=1)
    return table[table.accelerator == accelerator].reset_index(drop=True)


def layer_of(row, **changes) -> MultiplyLayer:
    if row.kernel == 0 or getattr(row, "op", "") == "fc":
        return Linear(
            name=row.layer,
            batch=row.batch,
            in_features=row.in_channels,
            out_features=row.out_channels,
        )
    return Conv2d(
        name=row.layer,
        batch=row.batch,
        in_channels=row.in_channels,
        in_height=row.in_size,
        in_width=row.in_size,
        out_channels=row.out_channels,
        kernel_size=row.kernel,
        stride=row.stride,
        padding=row.padding,
        **changes,
    )


def price(name: str, overrides: dict[str, float], layer: MultiplyLayer, row) -> LayerCosts:
    accelerator = load_accelerator(name, overrides)
    costs: LayerCosts = registry.resolve("cost", accelerator.architecture).layer_cost(
        layer, [Precision(row.wbits, row.abits)], accelerator
    )
    return costs


def machine_of(row) -> dict[str, float]:
    return {
        "compute.rows": row.rows,
        "compute.cols": row.columns,
        "memories.weight_buffer.size_bits": 8 * row.weight_bytes,
        "memories.input_buffer.size_bits": 8 * row.input_bytes,
        "memories.output_buffer.size_bits": 8 * row.output_bytes,
        "dram.bandwidth_bits_per_cycle": row.bandwidth,
    }


@pytest.mark.parametrize(("name", "count"), [("bitfusion-isca18", 19), ("ant-bitfusion", 7)])
def test_bit_fusion_takes_what_an_exhaustive_search_takes(name: str, count: int, publish) -> None:
    rows = rows_of("unseen_bitfusion.csv", name)
    assert len(rows) == count
    for row in rows.itertuples():
        layer = layer_of(row, im2col=bool(row.im2col))
        costs = price(name, machine_of(row), layer, row)
        found = {
            "compute_cycles": costs.compute_cycles[0],
            "total_cycles": costs.compute_cycles[0] + costs.stall_cycles[0],
            "dram_read_bits": costs.dram_read_bits[0],
            "dram_write_bits": costs.dram_write_bits[0],
        }
        for short, buffer in BUFFERS.items():
            found[f"{short}_read_bits"] = costs.sram_read_bits[buffer][0]
            found[f"{short}_write_bits"] = costs.sram_write_bits[buffer][0]
        assert found == {column: getattr(row, column) for column in found}, row
    publish(
        "bit_fusion",
        f"{SIMULATORS[name]}, other layers, batches, bits and machines",
        "cycles, DRAM and buffer bits",
        count,
        "equal",
    )


@pytest.mark.parametrize("name", ["stripes", "stripes-128", "loom-1b", "loom-2b", "dadiannao"])
def test_bit_serial_takes_the_steps_of_the_simulators_loops(name: str, publish) -> None:
    rows = rows_of("unseen_dnnsim.csv", name)
    assert len(rows) == 9
    for row in rows.itertuples():
        layer = layer_of(row, groups=row.groups)
        assert price(name, {}, layer, row).compute_cycles[0] == row.compute_cycles, row
    publish(
        "bit_serial",
        f"step loops of DNNsim as `{name}`, other layers, batches and bits",
        "compute cycles",
        len(rows),
        "equal",
    )


def test_scale_sim_on_random_layers_and_odd_arrays(publish) -> None:
    """Rows of the simulator itself; DRAM reads by the exact replay of its buffers."""
    rows = pd.read_csv(HERE / "unseen_scalesim.csv", skiprows=1)
    assert rows.dataflow.value_counts().to_dict() == {"os": 59, "is": 52, "ws": 39}
    wrong = []
    for row in rows.itertuples():
        buffers = ("ifmap_buffer", "filter_buffer", "ofmap_buffer")
        accelerator = load_accelerator(
            "systolic-32x32",
            {
                "compute.dataflow": row.dataflow,
                "compute.rows": row.rows,
                "compute.cols": row.cols,
                "behavior.dram": "replay",
                **{f"memories.{name}.size_bits": 8192 * row.sram_kb for name in buffers},
            },
        )
        layer = Conv2d(
            name="layer",
            in_channels=row.C,
            in_height=row.ifmap_h,
            in_width=row.ifmap_w,
            out_channels=row.K,
            kernel_size=(row.filt_h, row.filt_w),
            stride=row.stride,
        )
        model = registry.resolve("cost", "systolic")
        costs: LayerCosts = model.layer_cost(layer, [Precision(8, 8)], accelerator)
        found = (
            int(costs.compute_cycles[0]),
            int(costs.sram_read_bits["ifmap_buffer"][0]) // 8,
            int(costs.sram_read_bits["filter_buffer"][0]) // 8,
            int(costs.sram_write_bits["ofmap_buffer"][0]) // 8,
            int(costs.dram_read_bits[0]) // 8,
        )
        expected = (
            row.compute_cycles,
            row.ifmap_sram_reads,
            row.filter_sram_reads,
            row.ofmap_sram_writes,
            row.ifmap_dram_reads + row.filter_dram_reads,
        )
        if found != expected:
            wrong.append((row.Index, found, expected))
    assert wrong == []
    quantity = "cycles, SRAM accesses and replayed DRAM reads, random layers and odd arrays"
    publish("systolic", "SCALE-Sim 3.0.0, CALC mode", quantity, len(rows), "equal")
