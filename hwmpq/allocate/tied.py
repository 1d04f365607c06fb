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
    if problem.tied is None:
        return None
    whole = np.zeros(len(problem.layer), dtype=np.int64)
    costs = problem.rows[0].costs if problem.rows else whole
    bounds = np.r_[problem.starts, len(problem.layer)]
    spans = [np.arange(*pair) for pair in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
    sets: dict[int, list[IntArray]] = {}
    for span, number in zip(spans, problem.tied.tolist(), strict=True):
        sets.setdefault(number, []).append(span)
    found = []
    for members in sets.values():
        made = _options(members, costs, problem.sensitivity, problem.shared_width)
        if made is None:
            return None
        found.append(made)
    return tuple(found)


def _options(
    members: Sequence[IntArray],
    costs: IntArray | FloatArray,
    sensitivity: FloatArray,
    width: IntArray,
) -> TiedSet | None:
    if len(members) == 1:
        taken = members[0][:, None]
    else:
        shared = set(width[members[0]].tolist()).intersection(
            *(width[span].tolist() for span in members[1:])
        )
        parts = []
        for bits in sorted(shared):
            part = _combined([span[width[span] == bits] for span in members], costs, sensitivity)
            if part is None:
                return None
            parts.append(part)
        taken = np.concatenate(parts) if parts else np.zeros((0, len(members)), dtype=np.int64)
    spent = costs[taken].sum(axis=1)
    lost = sensitivity[taken].sum(axis=1)
    order = undominated_order(spent, lost)
    spent, lost = spent[order], lost[order]
    least_cost = spent[0].item() if len(order) else 0
    least_loss = float(lost[-1]) if len(order) else 0.0
    return TiedSet(
        costs=spent - least_cost,
        losses=lost - least_loss,
        taken=taken[order],
        least_cost=least_cost,
        least_loss=least_loss,
    )


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
