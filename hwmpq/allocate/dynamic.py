"""The exact minimiser under a single row: dynamic programming over what is near the bound.

At a price ``p >= 0`` of the row every assignment obeys

    sensitivity = floor + sum of excesses + p * (what it leaves of the limit)

where the excess of an option is ``loss + p * cost`` above the least of its tied set. So what is
better than a known assignment has excesses that sum to less than their distance from the floor.
The price is that of the linear relaxation, read off the lower convex hulls of the tied sets (P.
Sinha and A. Zoltners, "The multiple-choice knapsack problem", Operations Research 27, 1979). Sums
within that distance are listed for either half of the sets, those that another beats left out, and
the best pair of halves is the optimum (E. Horowitz and S. Sahni, "Computing partitions with
applications to the knapsack problem", Journal of the ACM 21, 1974; M. Dyer, J. Riha and J. Walker,
"A hybrid dynamic programming/branch-and-bound algorithm for the multiple-choice knapsack problem",
Journal of Computational and Applied Mathematics 58, 1995).

The distance starts small and grows until the best found is no farther from the floor than that.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwmpq.allocate.base import FloatArray, IntArray
from hwmpq.allocate.compact import Compact
from hwmpq.allocate.tied import TiedSet, tied_sets, undominated_order

_MOST_SUMS = 1_000_000
_GROWTH = 4.0
_PER_SET, _BESIDES = 2, 20
"""Options that are tried at first."""
_SAFE = 2**60
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Optimum:
    """What dynamic programming proves.

    Attributes:
        found: whether an assignment exists; it was handed to ``holds``.
        noise: how far rounding of sums may have moved the sensitivity.
        price: sensitivity saved per unit of the row's limit in the linear relaxation.
    """

    found: bool
    noise: float
    price: float


@dataclass(frozen=True, slots=True, eq=False)
class _Half:
    """Sums over half of the sets, by rising cost and falling loss, with the way back."""

    costs: IntArray | FloatArray
    losses: FloatArray
    steps: tuple[tuple[int, IntArray, IntArray], ...]

    def trace(self, place: int, options: IntArray) -> None:
        """Write the option of each set behind one sum."""
        for number, before, option in reversed(self.steps):
            options[number] = option[place]
            place = int(before[place])


def optimum(
    problem: Compact, *, deadline: float, holds: Callable[[IntArray], bool]
) -> Optimum | None:
    """The optimum under at most one row, or None where other means are needed.

    That is: several rows, layers tied crosswise, too many sums, an answer so close to a limit that
    rounding decides, or no time.

    Args:
        problem: the shrunk problem.
        deadline: value of ``time.monotonic`` at which to stop.
        holds: checks taken choices by exact sums, and keeps them.
    """
    if len(problem.rows) > 1:
        return None
    sets = tied_sets(problem)
    if sets is None:
        return None
    if not all(len(each.costs) for each in sets):
        return Optimum(found=False, noise=0.0, price=0.0)
    return _Program(problem, sets).run(deadline, holds)


class _Program:
    """One row's limit over the tied sets, all least costs and losses taken off."""

    def __init__(self, problem: Compact, sets: tuple[TiedSet, ...]) -> None:
        self.sets = sets
        self.reach = sum(each.costs[-1].item() for each in sets)
        rest: int | float = self.reach
        size = 0.0
        if problem.rows:
            row = problem.rows[0]
            rest = row.limit - sum(each.least_cost for each in sets)
            if not np.issubdtype(row.costs.dtype, np.integer):
                size = math.fsum(abs(each.least_cost) for each in sets) + self.reach
                size = _EPS * (len(sets) + len(problem.members) + 4) * (size + row.magnitude)
        self.doubt = size
        """How far rounding may have moved the limit."""
        self.rest = min(rest, self.reach)
        self.price = _price(sets, self.rest) if 0 <= self.rest < self.reach else 0.0
        self.excess = [self.price * each.costs + each.losses for each in sets]
        lowest = [float(each.min()) for each in self.excess]
        self.excess = [each - low for each, low in zip(self.excess, lowest, strict=True)]
        self.floor = math.fsum((*lowest, -self.price * self.rest))
        spread = math.fsum(lowest) + self.price * abs(self.rest)
        self.noise = 2 * _EPS * (len(sets) + 4) * spread

    def run(self, deadline: float, holds: Callable[[IntArray], bool]) -> Optimum | None:
        if self.rest + self.doubt < 0:
            return Optimum(found=False, noise=0.0, price=0.0)
        if self.rest < 0 or self.reach >= _SAFE:
            return None
        options, best = self.greedy()
        order = np.sort(np.concatenate(self.excess))
        rank = min(_PER_SET * len(self.sets) + _BESIDES, len(order) - 1)
        within = float(order[rank])
        while True:
            needed = best - self.floor + self.noise
            within = min(within, needed)
            halves = self.halves(within, deadline)
            if halves is None:
                return None
            better = self.paired(*halves)
            if better is not None and better[1] < best:
                options, best = better
            if within >= best - self.floor + self.noise or within >= float(order[-1]) * len(order):
                break
            within = max(within * _GROWTH, float(order[min(2 * rank, len(order) - 1)]))
            rank = 2 * rank + 1
        taken = [each.taken[option] for each, option in zip(self.sets, options, strict=True)]
        choices = np.sort(np.concatenate(taken))
        if not holds(choices):
            return None
        size = math.fsum(abs(each.least_loss) for each in self.sets) + best
        return Optimum(
            found=True,
            noise=self.noise + _EPS * (len(self.sets) * best + 2 * size),
            price=self.price,
        )

    def greedy(self) -> tuple[IntArray, float]:
        """The option of least excess in each set, dearer ones made cheaper until the row holds."""
        options = [int(np.argmin(each)) for each in self.excess]
        # Summed anew each time: at the first options it is zero, which what is left allows.
        while math.fsum(self.costs_of(options)) > self.rest + self.doubt:
            # one step down where it loses least for what it frees
            steps = [
                ((s.losses[o - 1] - s.losses[o]) / (s.costs[o] - s.costs[o - 1]), number)
                for number, (s, o) in enumerate(zip(self.sets, options, strict=True))
                if o
            ]
            _, number = min(steps)
            options[number] -= 1
        lost = math.fsum(float(s.losses[o]) for s, o in zip(self.sets, options, strict=True))
        return np.array(options, dtype=np.int64), lost

    def costs_of(self, options: Sequence[int]) -> Iterator[float]:
        """Cost of the option taken in each set."""
        return (s.costs[o].item() for s, o in zip(self.sets, options, strict=True))

    def halves(self, within: float, deadline: float) -> tuple[_Half, _Half] | None:
        """Sums of either half of the sets whose excesses stay within a distance."""
        near = [np.flatnonzero(each <= within) for each in self.excess]
        order = sorted(range(len(self.sets)), key=lambda number: -len(near[number]))
        first = self.half(order[::2], near, within, deadline)
        second = None if first is None else self.half(order[1::2], near, within, deadline)
        return None if first is None or second is None else (first, second)

    def half(
        self, numbers: Sequence[int], near: Sequence[IntArray], within: float, deadline: float
    ) -> _Half | None:
        costs: IntArray | FloatArray = self.sets[0].costs[:1] * 0
        losses, excess = np.zeros(1), np.zeros(1)
        steps: list[tuple[int, IntArray, IntArray]] = []
        most = self.rest + self.doubt
        for number in numbers:
            option, each = near[number], self.sets[number]
            count = len(option)
            if count * len(costs) > _MOST_SUMS or time.monotonic() >= deadline:
                return None
            over = (excess[:, None] + self.excess[number][option]).ravel()
            spent: IntArray | FloatArray = (costs[:, None] + each.costs[option]).ravel()
            inside = np.flatnonzero((over <= within) & (spent <= most))
            lost = (losses[:, None] + each.losses[option]).ravel()
            inside = inside[undominated_order(spent[inside], lost[inside])]
            costs, losses, excess = spent[inside], lost[inside], over[inside]
            steps.append((number, inside // count, option[inside % count]))
        return _Half(costs, losses, tuple(steps))

    def paired(self, first: _Half, second: _Half) -> tuple[IntArray, float] | None:
        """The best of both halves together within the limit."""
        if not len(first.costs) or not len(second.costs):
            return None
        left = self.rest + self.doubt - first.costs
        place = np.searchsorted(second.costs, left, side="right") - 1
        fits = np.flatnonzero(place >= 0)
        if not len(fits):
            return None
        lost = first.losses[fits] + second.losses[place[fits]]
        at = int(np.argmin(lost))
        options = np.zeros(len(self.sets), dtype=np.int64)
        first.trace(int(fits[at]), options)
        second.trace(int(place[fits[at]]), options)
        return options, float(lost[at])


def _hull(each: TiedSet) -> list[tuple[float, float]]:
    """Falling efficiency of the steps along the lower convex hull, each with its cost."""
    steps: list[tuple[float, float]] = []
    costs, losses = each.costs.tolist(), each.losses.tolist()
    for number in range(1, len(costs)):
        width, gain = costs[number] - costs[number - 1], losses[number - 1] - losses[number]
        while steps and gain * steps[-1][1] >= steps[-1][0] * steps[-1][1] * width:
            slope, before = steps.pop()
            width, gain = width + before, gain + slope * before
        steps.append((gain / width, width))
    return steps


def _price(sets: Sequence[TiedSet], rest: int | float) -> float:
    """What one more unit of the limit saves in the linear relaxation."""
    left = rest
    for slope, width in heapq.merge(*map(_hull, sets), key=lambda step: -step[0]):
        if width > left:
            return slope
        left -= width
    return 0.0
