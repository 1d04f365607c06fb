"""Exact allocation: dynamic programming under one row, else OR-Tools on integers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hwmpq.allocate.base import Allocation, AllocationProblem, FloatArray, Status
from hwmpq.allocate.certify import certified, solver_name
from hwmpq.allocate.engine import Found, minimise
from hwmpq.allocate.explain import infeasible
from hwmpq.allocate.integer import Effort
from hwmpq.errors import BudgetError
from hwmpq.precision import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class ILP:
    """Least sensitivity within all budgets, with proof.

    With one worker the answer is the same every time, unless the clock stops the search.

    Attributes:
        time_limit_s: stop after this long, with the best assignment found and an honest gap.
        gap_limit: stop as soon as objective less bound is at most this share of the objective.
        seed: of the solver.
        workers: threads of the solver.
        start: an assignment to start from, such as the last one; it need not meet the budgets.
    """

    time_limit_s: float = 60.0
    gap_limit: float = 0.0
    seed: int = 0
    workers: int = 1
    start: Assignment | None = None

    def __post_init__(self) -> None:
        if not self.time_limit_s > 0:
            msg = f"time_limit_s must be more than zero, but got {self.time_limit_s}"
            raise BudgetError(msg)
        if not 0 <= self.gap_limit < 1:
            msg = f"gap_limit must lie in [0, 1), such as 0.001, but got {self.gap_limit}"
            raise BudgetError(msg)
        if self.workers < 1:
            msg = f"workers must be at least 1, but got {self.workers}"
            raise BudgetError(msg)

    @property
    def effort(self) -> Effort:
        """The limits of the search."""
        return Effort(
            time_limit_s=self.time_limit_s,
            gap_limit=self.gap_limit,
            seed=self.seed,
            workers=self.workers,
        )

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Choose a precision for each layer.

        Raises:
            InfeasibleError: no assignment meets the budgets.
            BudgetError: none was found in the time allowed.
        """
        started = time.perf_counter()
        start = None if self.start is None else problem.choices(self.start)
        found = minimise(problem, self.effort, start=start)
        if found.infeasible:
            raise infeasible(problem)
        if found.choices is None:
            msg = (
                f"no assignment was found within {self.time_limit_s:g} s, nor proof that there is "
                "none; allow more time or loosen a budget"
            )
            raise BudgetError(msg)
        return certified(
            problem,
            found.choices,
            status=Status.OPTIMAL if found.proved else Status.FEASIBLE,
            bound=found.bound,
            solver="dynamic programming" if found.summed else solver_name("CP-SAT"),
            started=started,
            prices=shadow_prices(problem, found.prices),
            notes=_notes(problem, found, self),
        )


def shadow_prices(problem: AllocationProblem, prices: FloatArray) -> dict[str, float]:
    """Sensitivity that one more reported unit of each budget would save, by linear relaxation.

    Raising a budget of several rows raises each of them, so their prices add up.
    """
    result = dict.fromkeys(problem.budget_names, 0.0)
    for row, price in zip(problem.resources, prices.tolist(), strict=True):
        result[row.name] += price * row.divisor
    return result


def _notes(problem: AllocationProblem, found: Found, ilp: ILP) -> tuple[str, ...]:
    notes: list[str] = []
    if not found.proved:
        reached = found.objective - found.bound <= ilp.gap_limit * abs(found.objective)
        why = f"the gap limit of {ilp.gap_limit:g}" if reached else "the time limit"
        notes.append(f"the search stopped at {why}")
    if problem.interactions:
        count: Sequence[object] = problem.interactions
        notes.append(f"{len(count)} pairs of layers interact; shadow prices leave them out")
    return tuple(notes)


ALLOCATOR = ILP()
