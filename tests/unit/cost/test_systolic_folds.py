"""Folds worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmpq.cost.systolic_folds import (
    Array,
    accesses,
    fold,
    fold_cycles,
    groups_per_fold,
    overlapped_cycles,
    serial_cycles,
)

sizes = st.integers(1, 400)
dataflows = st.sampled_from(["os", "ws", "is"])


def test_a_product_that_fills_the_array_once() -> None:
    """4 x 4 outputs of depth 5 on a 4 x 4 array: 5 steps, 3 + 3 of skew, 4 to load weights."""
    os = Array(dataflow="os", rows=4, cols=4)
    assert serial_cycles(fold(4, 4, 5, os).count, 5, os) == 5 + 3 + 3
    ws = Array(dataflow="ws", rows=4, cols=4)
    assert serial_cycles(fold(7, 4, 4, ws).count, 7, ws) == 4 + 7 + 3 + 3


@pytest.mark.parametrize(
    ("dataflow", "row_dim", "col_dim", "stream"),
    [("os", 10, 20, 30), ("ws", 30, 20, 10), ("is", 30, 10, 20)],
)
def test_dimensions_of_each_dataflow(
    dataflow: str, row_dim: int, col_dim: int, stream: int
) -> None:
    folds = fold(10, 20, 30, Array(dataflow=dataflow, rows=8, cols=8))
    assert (folds.row_dim, folds.col_dim, folds.stream) == (row_dim, col_dim, stream)
    assert folds.row_folds == -(-row_dim // 8)
    assert folds.col_folds == -(-col_dim // 8)


def test_where_products_per_cycle_go() -> None:
    """Summed products shorten the depth, products kept apart the output channels."""
    array = {flow: Array(dataflow=flow, rows=8, cols=8) for flow in ("os", "ws", "is")}
    assert fold(10, 20, 30, array["os"], together=4).stream == 8
    assert fold(10, 20, 30, array["ws"], together=4).row_dim == 8
    assert fold(10, 20, 30, array["is"], together=4).row_dim == 8
    assert fold(10, 20, 30, array["os"], apart=4).col_dim == 5
    assert fold(10, 20, 30, array["ws"], apart=4).col_dim == 5
    assert fold(10, 20, 30, array["is"], apart=4).stream == 5


def test_low_precision_does_not_shorten_filling() -> None:
    """An attention head, 197 x 197 x 64, 8 to 2 bits fused: 126 to 66 cycles a fold, not 16x."""
    array = Array(dataflow="os", rows=32, cols=32)
    native = fold(197, 197, 64, array)
    fused = fold(197, 197, 64, array, together=16)
    assert (fold_cycles(native.stream, array), fold_cycles(fused.stream, array)) == (126, 66)
    assert native.count == fused.count == 49


def test_accesses_of_two_by_three_folds() -> None:
    """m, n, k = 5, 7, 9 on a 4 x 3 array."""
    os = accesses(5, 7, 9, fold(5, 7, 9, Array(dataflow="os", rows=4, cols=3)), "os")
    assert (os.input_reads, os.weight_reads) == (3 * 45, 2 * 63)
    assert (os.output_writes, os.partial_sum_reads) == (35, 0)
    ws = accesses(5, 7, 9, fold(5, 7, 9, Array(dataflow="ws", rows=4, cols=3)), "ws")
    assert (ws.input_reads, ws.weight_reads) == (3 * 45, 63)
    assert (ws.output_writes, ws.partial_sum_reads) == (3 * 35, 2 * 35)
    stationary = accesses(5, 7, 9, fold(5, 7, 9, Array(dataflow="is", rows=4, cols=3)), "is")
    assert (stationary.input_reads, stationary.weight_reads) == (45, 2 * 63)
    assert (stationary.output_writes, stationary.partial_sum_reads) == (3 * 35, 2 * 35)


def test_depthwise_groups_share_rows_along_the_diagonal() -> None:
    ws = Array(dataflow="ws", rows=32, cols=32)
    assert groups_per_fold(3136, 1, 9, ws, 64) == 3
    assert groups_per_fold(3136, 1, 9, ws, 2) == 2
    assert groups_per_fold(3136, 40, 9, ws, 64) == 1
    assert groups_per_fold(49, 1, 9, Array(dataflow="os", rows=128, cols=128), 64) == 2


@given(m=sizes, n=sizes, k=sizes, rows=sizes, cols=sizes, dataflow=dataflows)
def test_folds_cover_the_product_and_no_more(m, n, k, rows, cols, dataflow) -> None:
    array = Array(dataflow=dataflow, rows=rows, cols=cols)
    folds = fold(m, n, k, array)
    room = folds.row_folds * rows * folds.col_folds * cols * folds.stream
    assert room >= m * n * k
    assert (folds.row_folds - 1) * rows < folds.row_dim
    assert (folds.col_folds - 1) * cols < folds.col_dim


@given(m=sizes, n=sizes, k=sizes, rows=sizes, cols=sizes, dataflow=dataflows)
def test_cycles_are_at_least_work_over_elements(m, n, k, rows, cols, dataflow) -> None:
    array = Array(dataflow=dataflow, rows=rows, cols=cols)
    folds = fold(m, n, k, array)
    for schedule in (serial_cycles, overlapped_cycles):
        assert schedule(folds.count, folds.stream, array) * rows * cols >= m * n * k


@given(folds=st.integers(1, 50), stream=sizes, rows=sizes, cols=sizes, dataflow=dataflows)
def test_shadow_registers_never_cost_cycles(folds, stream, rows, cols, dataflow) -> None:
    """A stream shorter than the rows waits for the next load, but never longer than in series."""
    array = Array(dataflow=dataflow, rows=rows, cols=cols)
    overlapped = overlapped_cycles(folds, stream, array)
    if dataflow != "os" or stream >= rows:
        assert overlapped <= serial_cycles(folds, stream, array) + max(0, rows - stream)
