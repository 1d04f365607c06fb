"""Tiles, loop orders and what they move, by hand and against a plain replay."""

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
    move,
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


def test_an_operand_stays_until_it_outgrows_half_its_buffer() -> None:
    # Weights of 8 elements a tile, 4 x 3 tiles of inputs and outputs, 5 images, 8 bits each.
    parts = [np.array([part]) for part in (1, 1, 1, 4, 2)]
    wholes = [np.array([whole]) for whole in (5, 1, 1, 16, 6)]
    indexed = (False, False, False, True, True)

    def moved(capacity: int, *letters: str) -> tuple[int, int]:
        order = tuple(Loop[letter] for letter in letters)
        found = move(parts, wholes, indexed, np.array([8]), capacity, [order])
        return int(found.bits[0, 0]), int(found.resident_bits[0, 0])

    everything = 16 * 6 * 8
    # Images innermost: free. All fits: free anywhere.
    assert moved(2 * 64, "OC", "IC", "OW", "OH", "B") == (everything, 64)
    assert moved(2 * everything, "B", "IC", "OC", "OW", "OH") == (everything, everything)
    # Images outermost: each fetches all again, unless all stay.
    assert moved(2 * everything - 1, "B", "IC", "OC", "OW", "OH") == (5 * everything, 64 * 3)
    # Images between: free if the inner loop's share stays.
    assert moved(2 * 64 * 3, "IC", "B", "OC", "OW", "OH") == (everything, 64 * 3)
    assert moved(2 * 64 * 3 - 1, "IC", "B", "OC", "OW", "OH") == (5 * everything, 64)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_moving_equals_a_plain_walk_over_the_loops(data) -> None:
    indexed = data.draw(st.sampled_from([(1, 1, 1, 1, 0), (0, 0, 0, 1, 1), (1, 1, 1, 0, 1)]))
    parts = [data.draw(st.integers(1, 5)) if on else 1 for on in indexed]
    wholes = [part * data.draw(st.integers(1, 4)) for part in parts]
    capacity = data.draw(st.integers(1, 3000))
    rank = data.draw(st.integers(0, 119))
    bits = int(np.prod(parts))
    resident, stopped = bits, False
    for loop in reversed(LOOP_ORDERS[rank]):
        if not stopped and not indexed[loop]:
            continue
        bits *= wholes[loop] // parts[loop]
        stopped = stopped or 2 * bits > capacity
        resident = resident if stopped else bits
    found = move(
        [np.array([part]) for part in parts],
        [np.array([whole]) for whole in wholes],
        indexed,
        np.array([1]),
        capacity,
        [LOOP_ORDERS[rank]],
    )
    assert (found.bits[0, 0], found.resident_bits[0, 0]) == (bits, resident)
