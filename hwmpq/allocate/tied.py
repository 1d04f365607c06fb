"""Tied sets of a shrunk problem as short lists of what each can cost and lose.

Layers that share one kind of bits are one set: it takes one width of that kind, and within it each
layer chooses freely. What such a set can do under at most one row is a list of pairs (cost,
sensitivity) of which none beats another, built layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwmpq.allocate.base import FloatArray, IntArray
from hwmpq.allocate.compact import Compact

_MOST_OPTIONS = 5000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiedSet:
    """What one set of tied layers can do; no option beats another.

    Attributes:
        costs: ``[options]`` above the least, ascending.
        losses: ``[options]``, sensitivity above the least, descending.
        taken: ``[options, layers]``, flat choices of the problem.
        least_cost: of any option.
        least_loss: of any option.
    """

    costs: IntArray | FloatArray
    losses: FloatArray
    taken: IntArray
    least_cost: int | float
    least_loss: float


def undominated_order(costs: IntArray | FloatArray, losses: FloatArray) -> IntArray:
    """Options that no other beats, by rising cost; of equals the first.

    >>> undominated_order(np.array([3, 1, 2, 2]), np.array([0.0, 5.0, 4.0, 6.0])).tolist()
    [1, 2, 0]
    """
    order: IntArray = np.lexsort((losses, costs))
    best = np.minimum.accumulate(losses[order])
    kept = np.ones(len(order), dtype=np.bool_)
    kept[1:] = best[1:] < best[:-1]
    return order[kept]


def tied_sets(problem: Compact) -> tuple[TiedSet, ...] | None:
    """All tied sets, or None where layers share both kinds of bits crosswise, or lists get long.

    Args:
        problem: with at most one row.
    """
    if problem.sharing.crosswise:
        return None
    costs = problem.rows[0].costs if problem.rows else np.zeros(len(problem.layer), dtype=np.int64)
    order: IntArray = np.lexsort((costs, problem.layer))
    spans = np.split(order, problem.starts[1:])
    found = []
    for (by_weights, _), members in problem.sharing.sets().items():
        if len(members) == 1:
            # `compact` left nothing that another choice beats
            taken: IntArray | None = spans[members[0]][:, None]
        else:
            width = problem.widths[0 if by_weights else 1]
            taken = _options([spans[m] for m in members], costs, problem.sensitivity, width)
        if taken is None:
            return None
        found.append(_set(taken, costs[taken].sum(axis=1), problem.sensitivity[taken].sum(axis=1)))
    return tuple(found)


def _set(taken: IntArray, spent: IntArray | FloatArray, lost: FloatArray) -> TiedSet:
    """A set out of its options by rising cost; it may have none."""
    least_cost = spent[0].item() if len(spent) else 0
    least_loss = float(lost[-1]) if len(lost) else 0.0
    return TiedSet(
        costs=spent - least_cost,
        losses=lost - least_loss,
        taken=taken,
        least_cost=least_cost,
        least_loss=least_loss,
    )


def _options(
    members: Sequence[IntArray],
    costs: IntArray | FloatArray,
    sensitivity: FloatArray,
    width: IntArray,
) -> IntArray | None:
    """What several layers of one width can do, ``[options, layers]`` by rising cost."""
    shared = set(width[members[0]].tolist()).intersection(
        *(width[span].tolist() for span in members[1:])
    )
    parts = [np.zeros((0, len(members)), dtype=np.int64)]
    for bits in sorted(shared):
        part = _combined([span[width[span] == bits] for span in members], costs, sensitivity)
        if part is None:
            return None
        parts.append(part)
    taken = np.concatenate(parts)
    order = undominated_order(costs[taken].sum(axis=1), sensitivity[taken].sum(axis=1))
    return taken[order]


def _combined(
    members: Sequence[IntArray], costs: IntArray | FloatArray, sensitivity: FloatArray
) -> IntArray | None:
    """Every useful combination of one choice a layer, ``[combinations, layers]``."""
    taken = members[0][:, None]
    for span in members[1:]:
        if len(taken) * len(span) > _MOST_OPTIONS * 20:
            return None
        both = np.hstack([np.repeat(taken, len(span), axis=0), np.tile(span, len(taken))[:, None]])
        order = undominated_order(costs[both].sum(axis=1), sensitivity[both].sum(axis=1))
        taken = both[order]
        if len(taken) > _MOST_OPTIONS:
            return None
    return taken
