"""What loop orders move, by hand and against a plain walk over the loops."""

from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.cost.loop_outcomes import Growth, grown, outcomes
from hwmpq.cost.tiling import LOOP_ORDERS, Loop, Order

INDEXED = ((0, 0, 0, 1, 1), (1, 1, 1, 1, 0), (1, 1, 1, 0, 1))
"""Loops that index weights, inputs and outputs."""


def growth(parts, wholes, indexed, bits: int, capacity: int) -> Growth:
    """One candidate's growth, its parts and wholes given as numbers."""
    loops = tuple(loop for loop in Loop if indexed[loop])
    others = tuple(loop for loop in Loop if not indexed[loop])
    columns = ([np.array([size]) for size in sizes] for sizes in (parts, wholes))
    sizes = grown(*columns, loops) * bits
    return Growth(loops, others, sizes, 2 * sizes <= capacity)


def walk(trips, parts, wholes, indexed, capacity: int, order: Order) -> tuple[int, int]:
    """Bits moved and bits resident under one order, loop by loop."""
    bits = prod(part for part, on in zip(parts, indexed, strict=True) if on)
    resident, stopped = bits, False
    for loop in reversed(order):
        if not indexed[loop]:
            bits *= trips[loop] if stopped else 1
            continue
        bits = bits // parts[loop] * wholes[loop]
        stopped = stopped or 2 * bits > capacity
        resident = resident if stopped else bits
    return bits, resident


def test_an_operand_stays_until_it_outgrows_half_its_buffer() -> None:
    # Weights of 8 elements a tile, 4 x 3 tiles of inputs and outputs, 5 images, 8 bits each.
    parts, wholes = (1, 1, 1, 4, 2), (1, 1, 1, 16, 6)
    trips = np.array([[5], [1], [1], [4], [3]])

    def moved(capacity: int, *letters: str) -> tuple[int, int]:
        order = tuple(Loop[letter] for letter in letters)
        weights = growth(parts, wholes, INDEXED[0], 8, capacity)
        found = outcomes([weights], trips, (order,), residents=True)
        (operand,) = found.moved
        return int(operand.bits[0]), int(operand.resident_bits[0])

    everything = 16 * 6 * 8
    # Images innermost: free. All fits: free anywhere.
    assert moved(2 * 64, "OC", "IC", "OW", "OH", "B") == (everything, 64)
    assert moved(2 * everything, "B", "IC", "OC", "OW", "OH") == (everything, everything)
    # Images outermost: each fetches all again, unless all stay.
    assert moved(2 * everything - 1, "B", "IC", "OC", "OW", "OH") == (5 * everything, 64 * 3)
    # Images between: free if the inner loop's share stays.
    assert moved(2 * 64 * 3, "IC", "B", "OC", "OW", "OH") == (everything, 64 * 3)
    assert moved(2 * 64 * 3 - 1, "IC", "B", "OC", "OW", "OH") == (5 * everything, 64)


@st.composite
def layers(draw) -> list[tuple]:
    """Trips, parts and wholes of three operands, and a buffer for each."""
    trips = [draw(st.integers(1, 4)) for _ in Loop]
    operands = []
    for indexed in INDEXED:
        parts = [draw(st.integers(1, 5)) if on else 1 for on in indexed]
        wholes = [
            # Windows overlap, so a whole may be more than its parts; it is no multiple then.
            part * count + (draw(st.integers(0, 2)) if on and count > 1 else 0) if on else 1
            for part, count, on in zip(parts, trips, indexed, strict=True)
        ]
        tile = 2 * prod(parts)
        operands.append((parts, wholes, indexed, draw(st.integers(1, 60 * tile))))
    return [np.array(trips)[:, None], operands]


@given(layers())
@settings(max_examples=60, deadline=None)
def test_every_order_has_the_outcome_of_a_plain_walk(layer) -> None:
    trips, operands = layer
    growths = [growth(*operand[:3], 1, operand[3]) for operand in operands]
    found = outcomes(growths, trips, LOOP_ORDERS, residents=True)
    ours: dict[tuple, int] = {}
    for row in np.argsort(found.order):
        each = tuple((int(m.bits[row]), int(m.resident_bits[row])) for m in found.moved)
        ours.setdefault(each, int(found.order[row]))
    walked: dict[tuple, int] = {}
    for rank, order in enumerate(LOOP_ORDERS):
        each = tuple(walk(trips[:, 0], *operand, order) for operand in operands)
        walked.setdefault(each, rank)
    assert ours == walked


@given(layers())
@settings(max_examples=60, deadline=None)
def test_orders_that_are_left_out_move_no_less_than_one_that_is_kept(layer) -> None:
    trips, operands = layer
    growths = [growth(*operand[:3], 1, operand[3]) for operand in operands]
    found = outcomes(growths, trips, LOOP_ORDERS, residents=False)
    kept = np.stack([moved.bits for moved in found.moved])
    for order in LOOP_ORDERS:
        bits = [walk(trips[:, 0], *operand, order)[0] for operand in operands]
        assert (kept <= np.array(bits)[:, None]).all(axis=0).any()
    for row, order in enumerate(found.order):
        bits = [walk(trips[:, 0], *operand, LOOP_ORDERS[order])[0] for operand in operands]
        assert kept[:, row].tolist() == bits


def test_a_loop_of_one_trip_fetches_nothing_again() -> None:
    # Inputs outgrow their buffer at once; outputs in one tile, so every order moves the same.
    trips = np.array([[2], [1], [1], [1], [1]])
    inputs = growth((3, 1, 1, 1, 1), (6, 1, 1, 1, 1), INDEXED[1], 1, 1)
    found = outcomes([inputs], trips, LOOP_ORDERS, residents=False)
    assert (found.order.tolist(), found.moved[0].bits.tolist()) == ([0], [6])


def test_candidates_do_not_mix() -> None:
    # Two candidates at once give what each gives alone.
    parts, wholes = [(1, 2, 2, 4, 2), (1, 4, 4, 4, 2)], [(1, 8, 8, 16, 6), (1, 8, 8, 8, 8)]
    trips = np.array([[1, 1], [4, 2], [4, 2], [4, 2], [3, 4]])

    def run(rows: list[int]) -> list[tuple[int, ...]]:
        growths = []
        for indexed, capacity in zip(INDEXED, (40, 300, 200), strict=True):
            loops = tuple(loop for loop in Loop if indexed[loop])
            others = tuple(loop for loop in Loop if not indexed[loop])
            columns = (
                [
                    np.array([sizes[row][loop] if indexed[loop] else 1 for row in rows])
                    for loop in Loop
                ]
                for sizes in (parts, wholes)
            )
            sizes = grown(*columns, loops)
            growths.append(Growth(loops, others, sizes, 2 * sizes <= capacity))
        found = outcomes(growths, trips[:, rows], LOOP_ORDERS, residents=True)
        lines = zip(found.candidate, found.order, *(m.bits for m in found.moved), strict=True)
        return [tuple(int(value) for value in line) for line in lines]

    together = run([0, 1])
    assert [line[1:] for line in together if line[0] == 0] == [line[1:] for line in run([0])]
    assert [line[1:] for line in together if line[0] == 1] == [line[1:] for line in run([1])]
