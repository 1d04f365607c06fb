"""The exact front of sensitivity against one budgeted quantity, the other budgets held.

Each point is the exact optimum at one limit (the epsilon-constraint method, Y. Y. Haimes, L. S.
Lasdon and D. A. Wismer, IEEE Transactions on Systems, Man, and Cybernetics 1, 1971). An optimum
that spends less than its limit is the optimum of every limit in between, so those are not solved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from hwmpq.allocate.base import Allocation, AllocationProblem
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.interval import cheapest
from hwmpq.errors import BudgetError, InfeasibleError
from hwmpq.precision import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Sensitivity against one quantity.

    Attributes:
        name: the quantity.
        unit: its canonical unit.
        points: allocations by rising spending and falling sensitivity; none beats another.
        solved: how many problems were solved for them.
    """

    name: str
    unit: str
    points: tuple[Allocation, ...]
    solved: int

    @property
    def spent(self) -> tuple[float, ...]:
        """What each point spends of the quantity."""
        return tuple(point.budget(self.name).achieved for point in self.points)

    def to_pandas(self) -> pd.DataFrame:
        """One row a point."""
        rows: list[dict[str, Any]] = [
            {
                self.name: spent,
                "sensitivity": point.objective,
                "status": str(point.status),
                "gap": point.gap,
            }
            for spent, point in zip(self.spent, self.points, strict=True)
        ]
        return pd.DataFrame(rows)


@dataclass(slots=True)
class _Sweep:
    """Solves one limit after another, from loose to tight."""

    problem: AllocationProblem
    name: str
    allocator: ILP
    found: list[Allocation] = field(default_factory=list)
    solved: int = 0

    def at(self, limit: float) -> Allocation | None:
        """The optimum at a limit in reported units, or None where nothing is feasible."""
        for known in self.found:
            report = known.budget(self.name)
            if report.achieved <= limit <= report.limit:
                return known
        rows = tuple(
            replace(row, limit=limit * row.divisor) if row.name == self.name else row
            for row in self.problem.resources
        )
        self.solved += 1
        try:
            answer = self.allocator.solve(replace(self.problem, resources=rows))
        except InfeasibleError:
            return None
        self.found.append(answer)
        return answer


def pareto_front(
    problem: AllocationProblem,
    name: str,
    *,
    points: int = 50,
    limits: Iterable[float] | None = None,
    allocator: ILP | None = None,
) -> Front:
    """Compute the front of sensitivity against one quantity.

    Args:
        problem: with a row for the quantity; its limit there is replaced.
        name: the quantity.
        points: how many limits to try, evenly from the least to what the optimum without this
            limit spends.
        limits: the limits to try instead.
        allocator: exact solver.

    Raises:
        InfeasibleError: the other budgets cannot be met.
        BudgetError: the problem has no such row, or fewer than two points are asked for.
    """
    if name not in problem.budget_names:
        msg = f"the problem has no row for {name}; it has {', '.join(problem.budget_names)}"
        raise BudgetError(msg)
    if points < 2:
        msg = f"a front needs at least two points, but got {points}"
        raise BudgetError(msg)
    sweep = _Sweep(problem, name, allocator or ILP())
    for limit in sorted(_limits(sweep, points) if limits is None else limits, reverse=True):
        sweep.at(limit)
    if not sweep.found:
        msg = f"no assignment meets any of the limits on {name}"
        raise InfeasibleError(msg)
    unit = problem.rows_of(name)[0].unit
    kept = _undominated(sweep.found, name)
    return Front(name=name, unit=unit, points=kept, solved=sweep.solved)


def _limits(sweep: _Sweep, points: int) -> Sequence[float]:
    problem, name = sweep.problem, sweep.name
    lowest = cheapest(problem, name)
    if lowest is None:
        others = [other for other in problem.budget_names if other != name]
        msg = f"{', '.join(others)} cannot be met, whatever {name} is"
        raise InfeasibleError(msg)
    least = problem.achieved(name, lowest)
    rows = problem.rows_of(name)
    loose = max(float(row.costs.max(axis=1).sum()) + row.constant for row in rows)
    free = sweep.at(loose / rows[0].divisor * (1 + 1e-9))
    most = least if free is None else free.budget(name).achieved
    step = (most - least) / (points - 1)
    return [least, *(least + step * index for index in range(1, points - 1)), most]


def _undominated(found: Sequence[Allocation], name: str) -> tuple[Allocation, ...]:
    """Points that no other beats, by rising spending."""
    kept: list[Allocation] = []
    seen: list[Assignment] = []
    for point in sorted(found, key=lambda each: (each.budget(name).achieved, each.objective)):
        if point.assignment in seen:
            continue
        if not kept or point.objective < kept[-1].objective:
            kept.append(point)
            seen.append(point.assignment)
    return tuple(kept)
