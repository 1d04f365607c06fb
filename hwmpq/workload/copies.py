"""Copies that a broadcast makes, followed through views: where several heads share one key head.

Along each dimension a tensor may hold every value several times in a row, as ``expand`` or
``repeat_interleave`` leave it. Products with such an operand read each value once and are rows of
one product (grouped-query attention). What is not followed counts as different values, which is
never wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

Copies = tuple[int, ...]
"""How many times in a row each value is held along each dimension."""


def expanded(copies: Copies, before: Sequence[int], after: Sequence[int]) -> Copies:
    """Copies after dimensions of one were stretched, aligned at the end.

    >>> expanded((1, 1, 1), (2, 1, 8), (2, 4, 8))
    (1, 4, 1)
    """
    lead = len(after) - len(before)
    padded, known = (1,) * lead + tuple(before), (1,) * lead + copies
    return tuple(
        new if old == 1 else held for old, new, held in zip(padded, after, known, strict=True)
    )


def permuted(copies: Copies, order: Sequence[int]) -> Copies:
    """Copies of a tensor with its dimensions in another order."""
    return tuple(copies[axis] for axis in order)


def reshaped(copies: Copies, before: Sequence[int], after: Sequence[int]) -> Copies:
    """Copies of the same values in another shape, in row-major order.

    >>> reshaped((1, 1, 4, 1), (1, 2, 4, 8), (1, 8, 8))
    (1, 4, 1)
    >>> reshaped((1, 4, 1), (1, 8, 8), (8, 8))
    (4, 1)
    """
    found: list[int] = []
    old, new = 0, 0
    while new < len(after):
        # The smallest runs of dimensions that hold equally many values on both sides.
        ends = _run(before, old, after, new)
        held, size = 1, 1
        for axis in reversed(range(old, ends[0])):
            held *= copies[axis] if held == size else 1
            size *= before[axis]
        found += _spread(held, after[new : ends[1]])
        old, new = ends
    return tuple(found)


def _run(before: Sequence[int], old: int, after: Sequence[int], new: int) -> tuple[int, int]:
    left, right = old + (old < len(before)), new + 1
    while prod(before[old:left]) != prod(after[new:right]):
        if prod(before[old:left]) < prod(after[new:right]):
            left += 1
        else:
            right += 1
    while right == len(after) and left < len(before):
        left += 1
    return left, right


def _spread(held: int, sizes: Sequence[int]) -> list[int]:
    """Copies in a row of a run of dimensions, given to its last ones."""
    found = []
    for size in reversed(sizes):
        if size % held == 0:
            found.append(held)
            held = 1
        elif held % size == 0:
            found.append(size)
            held //= size
        else:
            return [1] * len(sizes)
    return found[::-1]
