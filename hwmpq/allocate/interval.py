"""The feasible interval of a budgeted quantity: from all at its cheapest to the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwmpq.allocate.base import AllocationProblem, FloatArray, IntArray, Resource
from hwmpq.allocate.engine import Found, minimise
from hwmpq.allocate.integer import Effort
from hwmpq.errors import BudgetError

_EFFORT = Effort(time_limit_s=20.0)
_BISECTIONS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What a budget on one quantity can ask for.

    Attributes:
        name: the quantity.
        unit: its canonical unit.
        least: all layers at their cheapest; less is infeasible.
        reference: the whole network at the uniform reference precision.
        most: all layers at their dearest; more constrains nothing.
    """

    name: str
    unit: str
    least: float
    reference: float | None
    most: float


def without(problem: AllocationProblem, *names: str) -> AllocationProblem:
    """The same problem less some budgets."""
    rows = tuple(row for row in problem.resources if row.name not in names)
    return replace(problem, resources=rows)


def _as_sensitivity(
    problem: AllocationProblem, values: FloatArray | IntArray
) -> AllocationProblem:
    goal = np.where(problem.allowed, values, 0).astype(np.float64)
    return replace(problem, sensitivity=goal, interactions=())


def _cheapest_everywhere(problem: AllocationProblem, rows: Sequence[Resource]) -> IntArray | None:
    """One choice a layer that is the cheapest in all rows at once, if every layer has one."""
    best = np.ones(problem.allowed.shape, dtype=np.bool_) & problem.allowed
    for row in rows:
        costs = np.where(problem.allowed, row.costs, math.inf)
        best &= costs == costs.min(axis=1, keepdims=True)
    if not best.any(axis=1).all():
        return None
    choices = best.argmax(axis=1).astype(np.int64)
    return choices if problem.ties_hold(choices) else None


def cheapest(
    problem: AllocationProblem, name: str, *, effort: Effort = _EFFORT
) -> IntArray | None:
    """The assignment that spends least of one budget while the problem's other budgets hold.

    A sum is minimised directly. For the largest of several rows the limit is halved in on, and the
    answer is the least that any assignment reaches.

    Returns:
        column of each layer, or None where the other budgets cannot be met together.

    Raises:
        BudgetError: the search ran out of time.
    """
    rows = problem.rows_of(name)
    others = without(problem, name)
    free = _cheapest_everywhere(problem, rows)
    if free is not None and not others.exceeded(free):
        return free
    if len(rows) == 1:
        return _decided(minimise(_as_sensitivity(others, rows[0].costs), effort), name)
    return _least_maximum(others, rows, effort, name)


def _decided(found: Found, name: str) -> IntArray | None:
    if not found.proved:
        msg = f"no time to find the least achievable {name}; allow more seconds"
        raise BudgetError(msg)
    return found.choices


def _least_maximum(
    others: AllocationProblem, rows: Sequence[Resource], effort: Effort, name: str
) -> IntArray | None:
    """Bisect on the limit of several rows; each step is a feasibility problem."""
    together: FloatArray = np.sum([row.costs / row.divisor for row in rows], axis=0)
    goal = _as_sensitivity(others, together)
    best = _decided(minimise(goal, effort), name)
    if best is None:
        return None
    scale = rows[0].divisor
    low = max(
        math.fsum(np.where(others.allowed, row.costs, math.inf).min(axis=1).tolist())
        + row.constant
        for row in rows
    )
    high = max(row.total(best) for row in rows)
    whole = all(row.exact for row in rows) and scale == 1
    for _ in range(_BISECTIONS):
        if high <= low or (whole and high - low < 1):
            break
        middle = math.floor((low + high) / 2) if whole else (low + high) / 2
        bounded = tuple(replace(row, limit=middle) for row in rows)
        found = minimise(replace(goal, resources=(*goal.resources, *bounded)), effort)
        choices = _decided(found, name)
        if choices is None:
            low = middle + 1 if whole else middle
        else:
            best, high = choices, max(row.total(choices) for row in rows)
    return best


def least_achievable(problem: AllocationProblem, name: str) -> float:
    """The least that any assignment spends of one budget, all other budgets aside."""
    rows = problem.rows_of(name)
    alone = replace(problem, resources=rows)
    choices = cheapest(alone, name)
    if choices is None:
        msg = "pins, ties and minimum bits contradict each other; no assignment respects them all"
        raise BudgetError(msg)
    return problem.achieved(name, choices)


def feasible_interval(problem: AllocationProblem, name: str) -> Interval:
    """The interval of one budgeted quantity under the problem's pins and ties."""
    rows = problem.rows_of(name)
    references = [row.reference / row.divisor for row in rows if row.reference is not None]
    dearest = [
        (math.fsum(np.where(problem.allowed, row.costs, 0).max(axis=1).tolist()) + row.constant)
        / row.divisor
        for row in rows
    ]
    return Interval(
        name=name,
        unit=rows[0].unit,
        least=least_achievable(problem, name),
        reference=max(references) if references else None,
        most=max(dearest),
    )
