"""SCALE-Sim 3.0.0 on ResNet-18, MobileNet-V1 and ViT-S, every stored row, by the shipped file.

``scalesim.csv`` holds runs of the simulator; see its first line.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, Linear

ROWS = pd.read_csv(Path(__file__).with_name("scalesim.csv"), comment="#")
WORD_BITS = 8
SIMULATOR = "SCALE-Sim 3.0.0, CALC mode"


@cache
def machine(dataflow: str, rows: int, cols: int, size_kb: int, dram: str) -> Accelerator:
    sizes = {
        f"memories.{name}.size_bits": size_kb * 1024 * WORD_BITS
        for name in ("ifmap_buffer", "filter_buffer", "ofmap_buffer")
    }
    array = {"compute.dataflow": dataflow, "compute.rows": rows, "compute.cols": cols}
    return load_accelerator("systolic-32x32", {**array, "behavior.dram": dram, **sizes})


def layer_of(row) -> Conv2d:
    """A row of a topology: padded sizes, no padding."""
    return Conv2d(
        name=row.layer,
        in_channels=row.C,
        in_height=row.ifmap_h,
        in_width=row.ifmap_w,
        out_channels=row.K,
        kernel_size=(row.filt_h, row.filt_w),
        stride=row.stride,
    )


def priced(row, dram: str = "fast") -> LayerCosts:
    accelerator = machine(row.dataflow, row.rows, row.cols, row.ifmap_sram_kb, dram)
    return COST_MODEL.layer_cost(layer_of(row), [Precision(8, 8)], accelerator)


def is_unrolled(row) -> bool:
    """Whether windows overlap, so that unrolling repeats addresses."""
    return row.stride < max(row.filt_h, row.filt_w) and (row.filt_h, row.filt_w) != (
        1,
        row.ifmap_w,
    )


CONVOLUTIONS = [row for row in ROWS.itertuples() if is_unrolled(row)]
PRODUCTS = [row for row in ROWS.itertuples() if not is_unrolled(row)]


def test_the_reference_holds_all_dataflows_and_arrays() -> None:
    assert len(ROWS) == 484
    assert set(ROWS["bw_mode"]) == {"CALC"}
    assert set(ROWS["dataflow"]) == {"os", "ws", "is"}
    assert ROWS[["rows", "cols"]].drop_duplicates().shape[0] == 5
    equal = (ROWS.ifmap_sram_kb == ROWS.filter_sram_kb) & (
        ROWS.filter_sram_kb == ROWS.ofmap_sram_kb
    )
    assert equal.all()
    assert (len(CONVOLUTIONS), len(PRODUCTS)) == (259, 225)


def mismatches(rows, measure: Callable[..., tuple[int, ...]], columns: tuple[str, ...]) -> list:
    found = [(row.Index, measure(row), tuple(getattr(row, c) for c in columns)) for row in rows]
    return [item for item in found if item[1] != item[2]]


def test_compute_cycles_and_sram_accesses_equal_on_every_row(publish) -> None:
    def measure(row) -> tuple[int, ...]:
        costs = priced(row)
        assert costs.stall_cycles[0] == 0
        return (
            int(costs.compute_cycles[0]),
            int(costs.sram_read_bits["ifmap_buffer"][0]) // WORD_BITS,
            int(costs.sram_read_bits["filter_buffer"][0]) // WORD_BITS,
            int(costs.sram_write_bits["ofmap_buffer"][0]) // WORD_BITS,
        )

    columns = ("compute_cycles", "ifmap_sram_reads", "filter_sram_reads", "ofmap_sram_writes")
    assert mismatches(ROWS.itertuples(), measure, columns) == []
    quantity = "compute cycles, SRAM reads and writes"
    publish("systolic", SIMULATOR, quantity, len(ROWS), "equal")


def dram_reads(row, dram: str) -> int:
    return int(priced(row, dram).dram_read_bits[0]) // WORD_BITS


def test_dram_reads_of_products_equal_by_the_closed_form(publish) -> None:
    wrong = [
        (row.Index, dram_reads(row, "fast"), row.ifmap_dram_reads + row.filter_dram_reads)
        for row in PRODUCTS
    ]
    assert [item for item in wrong if item[1] != item[2]] == []
    quantity = "DRAM reads of layers whose windows do not overlap, closed form"
    publish("systolic", SIMULATOR, quantity, len(PRODUCTS), "equal")


def test_dram_reads_of_convolutions_equal_by_replay(publish) -> None:
    wrong = [
        (row.Index, dram_reads(row, "replay"), row.ifmap_dram_reads + row.filter_dram_reads)
        for row in CONVOLUTIONS
    ]
    assert [item for item in wrong if item[1] != item[2]] == []
    quantity = "DRAM reads of convolutions, `behavior.dram: replay`"
    publish("systolic", SIMULATOR, quantity, len(CONVOLUTIONS), "equal")


def test_fast_dram_reads_of_convolutions_have_the_published_error(publish) -> None:
    """docs/models/systolic.md: 243 of 259 rows exact, the worst 0.7 % off."""
    exact = np.array([row.ifmap_dram_reads + row.filter_dram_reads for row in CONVOLUTIONS])
    fast = np.array([dram_reads(row, "fast") for row in CONVOLUTIONS])
    error = np.abs(fast / exact - 1)
    assert (error == 0).sum() == 243
    assert error.max() < 0.007
    assert error.mean() < 1.3e-4
    result = f"{(error == 0).sum()} equal; mean error {error.mean():.3%}, worst {error.max():.2%}"
    quantity = "DRAM reads of convolutions, `behavior.dram: fast`"
    publish("systolic", SIMULATOR, quantity, len(CONVOLUTIONS), result)


def test_dram_writes_are_within_a_thousandth(publish) -> None:
    """SCALE-Sim rounds each drain of its buffer to whole lines of C words."""
    words = np.array(
        [int(priced(row).dram_write_bits[0]) / WORD_BITS for row in ROWS.itertuples()]
    )
    error = np.abs(words / ROWS["ofmap_dram_writes"].to_numpy() - 1)
    assert (error < 1e-3).all()
    result = f"{(error == 0).sum()} equal; worst error {error.max():.2%}"
    publish("systolic", SIMULATOR, "DRAM writes", len(ROWS), result)


def test_utilization_is_the_simulators(publish) -> None:
    used = np.array([100 * priced(row).utilization[0] for row in ROWS.itertuples()])
    assert used == pytest.approx(ROWS["overall_util"].to_numpy(), abs=1e-6)
    publish("systolic", SIMULATOR, "utilisation", len(ROWS), "equal")


def test_padding_gives_the_trimmed_rows() -> None:
    """A torch layer with padding equals the row of the padded size that has torch's outputs."""
    trimmed = [row for row in CONVOLUTIONS if row.layer in {"conv1[trim]", "l2.0.conv1[trim]"}]
    assert len(trimmed) == 20
    for row in trimmed:
        if row.network != "resnet18":
            continue
        padding = row.filt_h // 2
        size = row.ifmap_h + 1 - 2 * padding
        layer = layer_of(row).model_copy(
            update={"in_height": size, "in_width": size, "padding": (padding, padding)}
        )
        accelerator = machine(row.dataflow, row.rows, row.cols, row.ifmap_sram_kb, "fast")
        costs = COST_MODEL.layer_cost(layer, [Precision(8, 8)], accelerator)
        assert costs.compute_cycles[0] == row.compute_cycles
        assert costs.sram_read_bits["ifmap_buffer"][0] == row.ifmap_sram_reads * WORD_BITS


def test_gemm_rows_are_linear_layers() -> None:
    """SCALE-Sim writes an M x N x K product as an image of M x K; here it is a linear layer."""
    products = [row for row in ROWS.itertuples() if row.network == "vit_s"]
    assert len(products) == 75
    for row in products:
        layer = Linear(name=row.layer, batch=row.M, in_features=row.Kdim, out_features=row.N)
        accelerator = machine(row.dataflow, row.rows, row.cols, row.ifmap_sram_kb, "fast")
        costs = COST_MODEL.layer_cost(layer, [Precision(8, 8)], accelerator)
        assert costs.compute_cycles[0] == row.compute_cycles
        assert costs.dram_read_bits[0] == WORD_BITS * (
            row.ifmap_dram_reads + row.filter_dram_reads
        )


def test_channels_split_into_layers_of_their_own_are_groups() -> None:
    """SCALE-Sim runs a depthwise layer channel by channel, one cycle short each time."""
    one = next(row for row in CONVOLUTIONS if row.layer == "dw13(1ch)")
    single = priced(one)
    many = layer_of(one).model_copy(update={"in_channels": 64, "out_channels": 64, "groups": 64})
    accelerator = machine(one.dataflow, one.rows, one.cols, one.ifmap_sram_kb, "fast")
    whole = COST_MODEL.layer_cost(many, [Precision(8, 8)], accelerator)
    assert whole.compute_cycles[0] == 64 * single.compute_cycles[0]
    assert whole.dram_read_bits[0] == 64 * single.dram_read_bits[0]
