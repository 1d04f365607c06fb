"""Turn an allocator's choice into an allocation that has been checked.

Objective and budgets are summed afresh from the problem's own tables, and every budget, tie and
forbidden choice is tested, whoever made the choice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

from hwmpq.allocate.base import (
    Allocation,
    AllocationProblem,
    BudgetReport,
    IntArray,
    Status,
)
from hwmpq.allocate.interval import least_achievable
from hwmpq.errors import UnsupportedError


@cache
def solver_name(part: str) -> str:
    """A solver's name with the version of OR-Tools, such as ``CP-SAT (OR-Tools 9.15)``."""
    return f"{part} (OR-Tools {version('ortools')})"


def budget_reports(
    problem: AllocationProblem, choices: IntArray, prices: Mapping[str, float] | None
) -> tuple[BudgetReport, ...]:
    """What became of each budget."""
    reports = []
    for name in problem.budget_names:
        rows = problem.rows_of(name)
        references = [row.reference / row.divisor for row in rows if row.reference is not None]
        reports.append(
            BudgetReport(
                name=name,
                unit=rows[0].unit,
                limit=min(row.limit / row.divisor for row in rows),
                achieved=problem.achieved(name, choices),
                reference=max(references) if references else None,
                least=least_achievable(problem, name),
                shadow_price=None if prices is None else prices[name],
            )
        )
    return tuple(reports)


def certified(
    problem: AllocationProblem,
    choices: IntArray,
    *,
    status: Status,
    bound: float | None,
    solver: str,
    started: float,
    prices: Mapping[str, float] | None = None,
    notes: tuple[str, ...] = (),
) -> Allocation:
    """Check a choice and report it.

    Args:
        problem: what was solved.
        choices: column of each layer.
        status: what is proved.
        bound: proven lower bound of the sensitivity, if any.
        solver: name and version.
        started: ``time.perf_counter()`` when solving began.
        prices: shadow price of each budget in its reported unit, if known.
        notes: things to know.

    Raises:
        UnsupportedError: the choice breaks a budget or a tie, which no allocator may do.
    """
    broken = problem.exceeded(choices)
    if broken or not problem.ties_hold(choices):
        what = ", ".join(broken) or "a tie or a forbidden precision"
        msg = f"{solver} gave an assignment that breaks {what}; this is a fault of the allocator"
        raise UnsupportedError(msg)
    return Allocation(
        assignment=problem.assignment(choices),
        objective=problem.objective(choices),
        status=status,
        bound=bound,
        budgets=budget_reports(problem, choices, prices),
        solver=solver,
        seconds=time.perf_counter() - started,
        notes=notes,
    )
