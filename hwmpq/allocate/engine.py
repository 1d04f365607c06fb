"""The exact minimiser: relaxation, a core of promising choices, proof.

A choice that lifts the relaxation's bound by ``e`` cannot be part of an assignment that is better
than ``bound + e``. So the search runs on the choices with small ``e`` alone; once its answer is no
worse than the bound plus the largest ``e`` it was given, no choice left out can improve it, and
the answer is optimal for the whole (D. Pisinger, "A minimal algorithm for the multiple-choice
knapsack problem", European Journal of Operational Research 83, 1995, for several rows at once).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from hwmpq.allocate.base import AllocationProblem, BoolArray, FloatArray, IntArray
from hwmpq.allocate.compact import Compact, compact
from hwmpq.allocate.dynamic import optimum
from hwmpq.allocate.improve import improve
from hwmpq.allocate.integer import Effort, search
from hwmpq.allocate.relaxation import Relaxation, relax

_GROWTH = 8
_SHARP = 1e-12
"""Relative gap that is nothing but rounding."""
_MANY = 100
"""Layers from which on a good assignment is sought before the proof is tried."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The minimiser's answer.

    Attributes:
        choices: column of each layer, or None.
        objective: sensitivity, summed from the problem's table; infinite without an assignment.
        bound: proven lower bound; infinite if it is proved that nothing is feasible.
        proved: whether the search ended by proof (of optimality, or that nothing is feasible).
        prices: ``[resources]``, sensitivity saved per unit of limit in the linear relaxation.
        summed: whether dynamic programming found it, rather than the search on integers.
    """

    choices: IntArray | None
    objective: float
    bound: float
    proved: bool
    prices: FloatArray
    summed: bool = False

    @property
    def infeasible(self) -> bool:
        """Whether it is proved that no assignment meets the limits."""
        return self.choices is None and self.proved


class _Search:
    """The state of one minimisation."""

    def __init__(self, problem: AllocationProblem, effort: Effort) -> None:
        self.problem = problem
        self.effort = effort
        self.deadline = time.monotonic() + effort.time_limit_s
        self.small: Compact = compact(problem)
        self.best: IntArray | None = None
        self.taken: IntArray | None = None
        self.upper = math.inf
        self.lower = -math.inf if problem.interactions else _least(problem)

    def offer(self, choices: IntArray) -> bool:
        """Take an assignment if it is feasible and better."""
        if not self.problem.ties_hold(choices) or self.problem.exceeded(choices):
            return False
        value = self.problem.objective(choices)
        if value < self.upper:
            self.best, self.upper = choices, value
        return True

    @property
    def close_enough(self) -> bool:
        """Whether the gap limit is reached."""
        gap = self.upper - self.lower
        return self.effort.gap_limit > 0 and bool(gap <= self.effort.gap_limit * abs(self.upper))

    def holds(self, taken: IntArray) -> bool:
        """Whether an assignment of the small problem meets every limit; keeps it if so."""
        before = self.upper
        if not self.offer(self.small.expand(taken, len(self.problem.layers))):
            return False
        if self.taken is None or self.upper < before:
            self.taken = taken
        return True

    @property
    def stop(self) -> bool:
        """Whether a limit of the effort is reached."""
        return self.close_enough or time.monotonic() >= self.deadline

    @property
    def target(self) -> float:
        """Sensitivity at which the gap limit would be reached."""
        share = self.effort.gap_limit
        if share <= 0:
            return -math.inf
        return self.lower / (1 - share) if self.lower > 0 else self.lower / (1 + share)

    def run(self, relaxation: Relaxation) -> bool:
        """Search growing cores; returns whether the answer is proved."""
        floor, excess = relaxation.bound, relaxation.excess
        self.lower = max(self.lower, floor)
        threshold = _first_threshold(excess, len(self.small.members))
        if not relaxation.solved:
            threshold = math.inf
        refined = False
        while True:
            threshold = min(threshold, self.upper - floor)
            keep = excess <= threshold + relaxation.noise
            outcome = search(
                self.small,
                keep,
                self.effort,
                deadline=self.deadline,
                holds=self.holds,
                target=self.target,
                hint=self.taken,
                interactions=self.problem.interactions,
            )
            # choices left out cannot be part of anything better than what is found
            whole = bool(keep.all()) or threshold >= self.upper - floor
            outside = math.inf if whole else floor + threshold
            self.lower = min(max(self.lower, min(outcome.bound, outside)), self.upper)
            if not refined and not keep.all():
                self.refine(relaxation)
                refined = self.taken is not None
            complete = outcome.finished and (whole or self.upper <= outside)
            if self.stop or (complete and not self.blurred(keep, relaxation)):
                return complete
            if not outcome.finished and (outcome.taken is None or whole):
                return False
            threshold = max(threshold * _GROWTH, _at_rank(excess, 2 * int(keep.sum())))

    def blurred(self, keep: BoolArray, relaxation: Relaxation) -> bool:
        """Whether choices that are now known to be useless kept the integers coarse."""
        if self.upper - self.lower <= _SHARP * abs(self.upper):
            return False
        useful = relaxation.excess <= self.upper - relaxation.bound + relaxation.noise
        return bool(np.count_nonzero(useful & keep) < np.count_nonzero(keep))

    def refine(self, relaxation: Relaxation) -> None:
        """Look for a better assignment first where many layers make proving hard."""
        if self.taken is not None and len(self.small.members) > _MANY:
            improve(
                self.small,
                relaxation,
                self.effort,
                deadline=self.deadline,
                best=self.current,
                holds=self.holds,
                good_enough=lambda: self.close_enough,
            )

    def current(self) -> tuple[IntArray, float]:
        """The best assignment of the small problem and its sensitivity."""
        return self.taken if self.taken is not None else np.zeros(0, np.int64), self.upper


def _least(problem: AllocationProblem) -> float:
    """Every layer at its least sensitivity; as correctly rounded as objectives are."""
    values = np.where(problem.allowed, problem.sensitivity, np.inf)
    return math.fsum(values.min(axis=1).tolist())


def _first_threshold(excess: FloatArray, layers: int) -> float:
    """An excess that leaves few choices a layer; small problems stay whole."""
    wanted = (layers if layers > _MANY else 2 * layers) + 20
    if len(excess) <= wanted + layers:
        return math.inf
    return _at_rank(excess, wanted)


def _at_rank(excess: FloatArray, rank: int) -> float:
    """The excess that so many choices do not reach."""
    if rank >= len(excess):
        return math.inf
    return float(np.partition(excess, rank)[rank])


def minimise(
    problem: AllocationProblem, effort: Effort, *, start: IntArray | None = None
) -> Found:
    """Find the least sensitivity within all limits, and prove it.

    Args:
        problem: what to solve.
        effort: limits of the search.
        start: an assignment known to be good; ignored where it breaks a limit.
    """
    state = _Search(problem, effort)
    if start is not None:
        state.offer(start)
    empty = len(np.unique(state.small.layer)) < len(state.small.members)
    prices = np.zeros(len(problem.resources))
    summed = None
    if not empty and not problem.interactions:
        summed = optimum(state.small, deadline=state.deadline, holds=state.holds)
    if empty or (summed is not None and not summed.found):
        proved, state.lower = True, math.inf
    elif summed is not None:
        proved, state.lower = True, max(state.lower, state.upper - summed.noise)
        for row in state.small.rows:
            prices[row.source] = summed.price
    else:
        relaxation = relax(state.small)
        proved = state.run(_without(relaxation) if problem.interactions else relaxation)
        for row, price in zip(state.small.rows, relaxation.prices.tolist(), strict=True):
            prices[row.source] = price
    return Found(
        choices=state.best,
        objective=state.upper,
        bound=min(state.lower, state.upper),
        proved=proved,
        prices=prices,
        summed=summed is not None,
    )


def _without(relaxation: Relaxation) -> Relaxation:
    """A relaxation that proves nothing: with quadratic terms the linear bound does not hold."""
    return Relaxation(
        bound=-math.inf,
        prices=relaxation.prices,
        excess=np.zeros_like(relaxation.excess),
        noise=0.0,
        solved=False,
    )
