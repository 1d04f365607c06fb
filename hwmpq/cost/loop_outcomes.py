"""What the loop orders of a tiling move: few different outcomes among up to 120 orders.

From the innermost loop outwards: while the kept part of an operand fits half its buffer, a loop
that does not index the operand is free and one that does enlarges the part; from the first loop on
that outgrows the buffer, every loop multiplies (hsharma35/bitfusion,
bitfusion/src/optimizer/optimizer.py). As parts only grow, an order matters in three ways: which
parts fit one after the other says what stays resident, and a loop that does not index the operand
fetches all of it again in each trip exactly where the loops inside of it outgrow the buffer.
So candidates whose parts fit alike (they share a *pattern*) have the same few outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np

from hwmpq.cost.base import IntArray
from hwmpq.cost.tiling import BoolArray, Loop, Order


def grown(
    parts: Sequence[IntArray], wholes: Sequence[IntArray], loops: Sequence[Loop]
) -> IntArray:
    """Sizes of an operand's part by the loops that have run inside of it, ``[sets, ...]``.

    A set of loops is a number: bit ``i`` stands for the ``i``-th of `loops`. Loops that are not
    given have one trip, or do not index the operand.

    Args:
        parts: the tile's factor in each loop; 1 where the loop does not index the operand.
        wholes: the factor over all tiles of the loop, at least that of one.
        loops: loops that index the operand.

    >>> two, six = np.array([2]), np.array([6])
    >>> grown([two] * 5, [six] * 5, [Loop.IC, Loop.OC]).ravel().tolist()
    [32, 96, 96, 288]
    """
    sizes = np.asarray(prod((parts[loop] for loop in Loop if loop not in loops), start=1))[None]
    for loop in loops:
        sizes = np.concatenate([sizes * parts[loop], sizes * wholes[loop]])
    return sizes


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """The part of one operand that is kept, by the loops that have run inside of it.

    Attributes:
        loops: loops that index the operand, which `grown` numbers the sets of.
        others: loops that do not.
        bits: size of the part, ``[sets, candidates]``.
        fits: whether two of it fit the buffer, half of which is for the next tile, likewise.
    """

    loops: tuple[Loop, ...]
    others: tuple[Loop, ...]
    bits: IntArray
    fits: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """Traffic of one operand, ``[outcomes]``.

    Attributes:
        bits: moved in total.
        resident_bits: largest part of the operand that fits half its buffer at once.
        grew: whether a loop that indexes the operand was absorbed by the buffer.
    """

    bits: IntArray
    resident_bits: IntArray
    grew: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Every outcome of every candidate, in the sequence of candidates.

    Attributes:
        candidate: index of the candidate, ``[outcomes]``.
        order: index of the first order that has this outcome.
        moved: traffic of each operand.
    """

    candidate: IntArray
    order: IntArray
    moved: tuple[Moved, ...]


@cache
def _places(
    orders: tuple[Order, ...], loops: tuple[Loop, ...], others: tuple[Loop, ...]
) -> tuple[IntArray, IntArray]:
    """Sets of an operand's loops in each order.

    Returns the sets that its loops form from the innermost on, ``[loops, orders]``, and the sets
    inside of each other loop, ``[others, orders]``.
    """
    chains: IntArray = np.zeros((len(loops), len(orders)), dtype=np.int64)
    inside: IntArray = np.zeros((len(others), len(orders)), dtype=np.int64)
    for column, order in enumerate(orders):
        grown, count = 0, 0
        for loop in reversed(order):
            if loop in loops:
                grown |= 1 << loops.index(loop)
                chains[count, column] = grown
                count += 1
            elif loop in others:
                inside[others.index(loop), column] = grown
    return chains, inside


@dataclass(frozen=True, slots=True, eq=False)
class _Fate:
    """What an order makes of one operand, ``[patterns, orders]`` or ``[outcomes]`` each.

    Attributes:
        resident: the largest set that fits of those that the order forms; 0 for the tile alone.
        grew: whether the innermost of the operand's loops fits.
        again: for each other loop, whether it fetches the operand again.
    """

    resident: IntArray
    grew: BoolArray
    again: tuple[BoolArray, ...]

    def take(self, where: IntArray) -> _Fate:
        return _Fate(
            self.resident.reshape(-1)[where],
            self.grew.reshape(-1)[where],
            tuple(again.reshape(-1)[where] for again in self.again),
        )


def _fate(
    fits: BoolArray, several: BoolArray, operand: Growth, orders: tuple[Order, ...]
) -> _Fate:
    """Fates of an operand under patterns whose sets fit as told, ``[patterns, sets]``.

    A loop of one trip, of those in `several` ``[patterns, loops]``, fetches nothing again.
    """
    chains, inside = _places(orders, operand.loops, operand.others)
    shape = (len(fits), len(orders))
    resident, fitting = np.zeros(shape, dtype=np.int64), np.ones(shape, dtype=np.bool_)
    for chain in chains:
        fitting = fitting & fits[:, chain]
        resident = np.where(fitting, chain, resident)
    # Nothing has outgrown the buffer before the first loop has run, however large the tile.
    outgrown = ~fits
    outgrown[:, 0] = False
    again = tuple(
        outgrown[:, sets] & several[:, loop : loop + 1]
        for loop, sets in zip(operand.others, inside, strict=True)
    )
    return _Fate(resident, resident > 0, again)


def _patterns(flags: Sequence[BoolArray]) -> tuple[list[BoolArray], IntArray]:
    """Distinct patterns, ``[patterns, flags]`` for each block of flags, and each candidate's.

    Args:
        flags: blocks of ``[flags, candidates]``, at most 63 flags in all.
    """
    key: IntArray = np.zeros(flags[0].shape[1], dtype=np.int64)
    offsets = np.cumsum([0, *(len(block) for block in flags)])
    for block, offset in zip(flags, offsets[:-1], strict=True):
        for number, flag in enumerate(block):
            key |= flag.astype(np.int64) << (int(offset) + number)
    distinct, index = np.unique(key, return_inverse=True)
    bits = (distinct[:, None] >> np.arange(int(offsets[-1]))) & 1 == 1
    return np.split(bits, offsets[1:-1], axis=1), index.reshape(-1)


def _least_refetching(codes: IntArray, flags: int) -> BoolArray:
    """Where no order of the same pattern fetches a part of what this one does, and no more.

    A code has a bit for each loop that fetches an operand again, ``[patterns, orders]``.
    """
    reached = np.zeros((len(codes), 1 << flags), dtype=np.bool_)
    rows = np.arange(len(codes))[:, None]
    reached[rows, codes] = True
    numbers = np.arange(1 << flags)
    below = reached.copy()  # whether a subset, or the set itself, is reached
    beaten = np.zeros_like(reached)
    for flag in range(flags):
        with_it = numbers[numbers >> flag & 1 == 1]
        below[:, with_it] |= below[:, with_it ^ (1 << flag)]
    for flag in range(flags):
        with_it = numbers[numbers >> flag & 1 == 1]
        beaten[:, with_it] |= below[:, with_it ^ (1 << flag)]
    return np.asarray(~beaten[rows, codes])


def outcomes(
    operands: Sequence[Growth],
    trips: IntArray,
    orders: tuple[Order, ...],
    *,
    residents: bool,
) -> Outcomes:
    """Every outcome of every candidate under some orders.

    Where residents do not differ, outcomes that fetch again all that another one does, and more,
    are left out: none of them is ever faster or cheaper.

    Args:
        operands: weights, inputs, outputs, or whatever shares the loops.
        trips: trips of each loop, ``[loops, candidates]``.
        orders: loops from the outermost in.
        residents: whether orders that move the same differ by the parts that they keep resident.
    """
    (*patterns, several), pattern = _patterns([*(of.fits for of in operands), trips > 1])
    fates = [_fate(fits, several, of, orders) for fits, of in zip(patterns, operands, strict=True)]
    again = [flag for fate in fates for flag in fate.again]
    code: IntArray = np.zeros((len(several), len(orders)), dtype=np.int64)
    for number, flag in enumerate(again):
        code |= flag.astype(np.int64) << number
    if residents:
        for fate, operand in zip(fates, operands, strict=True):
            code = code * len(operand.bits) + fate.resident
        where = np.arange(code.size)
    else:
        where = np.flatnonzero(_least_refetching(code, len(again)))
    step = int(code.max()) + 1
    code += np.arange(len(code))[:, None] * step
    distinct, first = np.unique(code.reshape(-1)[where], return_index=True)
    first = where[first]
    count = np.bincount(distinct // step, minlength=len(code))
    # Outcomes of one pattern lie side by side, so each candidate takes a range of them.
    start = np.cumsum(count) - count
    repeats = count[pattern]
    candidate = np.repeat(np.arange(len(pattern)), repeats)
    position = np.arange(len(candidate)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    chosen = first[start[pattern][candidate] + position]
    moved = tuple(
        _moved(operand, fate.take(chosen), candidate, trips)
        for operand, fate in zip(operands, fates, strict=True)
    )
    return Outcomes(candidate, chosen % len(orders), moved)


def _moved(operand: Growth, fate: _Fate, candidate: IntArray, trips: IntArray) -> Moved:
    bits = operand.bits[-1][candidate]
    for loop, again in zip(operand.others, fate.again, strict=True):
        bits = np.where(again, bits * trips[loop][candidate], bits)
    return Moved(bits, operand.bits[fate.resident, candidate], fate.grew)
