"""Tiles and loop orders, by hand."""

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.cost.base import ceil_div
from hwmpq.cost.tiling import (
    LOOP_ORDERS,
    Loop,
    TileGrid,
    distinct_orders,
    powers_of_two,
    useful_sizes,
)


def test_every_order_appears_once_and_the_simulators_first_one_first() -> None:
    assert set(LOOP_ORDERS) == set(permutations(Loop))
    assert len(LOOP_ORDERS) == 120
    assert LOOP_ORDERS[0] == (Loop.OC, Loop.IC, Loop.B, Loop.OH, Loop.OW)


def test_powers_of_two() -> None:
    assert powers_of_two(1) == [1]
    assert powers_of_two(8) == [1, 2, 4, 8]
    assert powers_of_two(64, 32) == [32, 64]
    assert powers_of_two(20, 32) == [20]


@given(st.integers(1, 120), st.integers(1, 20), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_size_is_better_than_all_useful_ones(extent: int, width: int, used: bool) -> None:
    def work(sizes):
        grid = TileGrid(np.array([extent]), np.asarray(sizes)[None, :], used)
        return grid.total(Loop.B, lambda size: ceil_div(size, width))

    useful = np.array(useful_sizes(extent, [work]))
    for size in range(1, extent + 1):
        same = useful[(-(-extent // useful) == -(-extent // size)) & (useful <= size)]
        assert (work(same) <= work(np.array([size]))).any()


def test_sizes_that_fill_the_array_are_kept() -> None:
    # Of 40 channels in two tiles on 16 rows, 20 + 20 take four steps and 24 + 16 take three.
    def work(sizes):
        grid = TileGrid(np.array([40]), np.asarray(sizes)[None, :], used=True)
        return grid.total(Loop.B, lambda size: ceil_div(size, 16))

    assert {20, 24} <= set(useful_sizes(40, [work]))
    assert 24 not in useful_sizes(40, [])


def test_whole_and_used_tiles() -> None:
    sizes = np.array([[3, 4]])
    assert TileGrid(np.array([10]), sizes, False).total(Loop.B, lambda s: s).tolist() == [12, 12]
    assert TileGrid(np.array([10]), sizes, True).total(Loop.B, lambda s: s).tolist() == [10, 10]


def test_orders_that_cannot_differ_are_tried_once() -> None:
    trips = np.ones((5, 3), dtype=np.int64)
    assert distinct_orders(trips, drop_idle=True) == [0]
    assert len(distinct_orders(trips, drop_idle=False)) == 60
    trips[Loop.OW] = [1, 2, 3]
    trips[Loop.IC] = [4, 4, 4]
    assert len(distinct_orders(trips, drop_idle=True)) == 2
    assert len(distinct_orders(trips, drop_idle=False)) == 120
