"""What bits that are optimal for one accelerator are worth on another.

For accelerators ``i`` and ``j``, the bits that were allocated for ``i`` run on ``j``: does ``j``'s
budget hold, and by how much is it missed? Where it does not, as few layers as possible change
until it holds, with the least sensitivity among those repairs. What is left over, against the bits
allocated for ``j`` itself, is the price of taking a policy across.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hwmpq.allocate.base import Allocation, AllocationProblem
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.problem import expand
from hwmpq.errors import InfeasibleError, UnsupportedError
from hwmpq.precision import Assignment, Precision
from hwmpq.sweep.answer import question_at
from hwmpq.sweep.points import Point
from hwmpq.sweep.shared import Shared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """An accelerator under its budget.

    Attributes:
        name: the variant.
        problem: network, costs, budget and scores there.
        best: its own optimum.
    """

    name: str
    problem: AllocationProblem
    best: Allocation


def minimal_repair(problem: AllocationProblem, assignment: Assignment) -> tuple[Allocation, int]:
    """Change as few layers as possible until every budget holds.

    Exact: layers changed are minimised, and among those repairs the sensitivity. Both are one
    objective, ``changes + sensitivity / (2 * range of sensitivity)``, whose second part stays
    below one half and so never outweighs a change.

    Returns:
        the repaired assignment with its true sensitivity, and how many layers changed.

    Raises:
        InfeasibleError: nothing meets the budgets.
    """
    allowed = np.where(problem.allowed, problem.sensitivity, np.nan)
    low, high = np.nanmin(allowed, axis=1), np.nanmax(allowed, axis=1)
    spread = float((high - low).sum()) or 1.0
    changes = np.ones(problem.allowed.shape)
    columns = {precision: index for index, precision in enumerate(problem.precisions)}
    for row, layer in enumerate(problem.layers):
        if assignment[layer] in columns:
            changes[row, columns[assignment[layer]]] = 0.0
    goal = changes + (problem.sensitivity - low[:, None]) / (2 * spread)
    found = ILP().solve(replace(problem, sensitivity=np.where(problem.allowed, goal, 0.0)))
    chosen = problem.choices(found.assignment)
    changed = sum(found.assignment[layer] != assignment[layer] for layer in problem.layers)
    return replace(found, objective=problem.objective(chosen), bound=None), changed


def find_targets(shared: Shared, points: Sequence[Point]) -> tuple[Target, ...]:
    """Accelerators whose budgets can be met, each solved for itself."""
    targets = []
    for point in points:
        problem = question_at(shared, point).problem(shared.scores(point))
        try:
            best = ILP().solve(problem)
        except InfeasibleError:
            continue
        targets.append(Target(name=point.variant, problem=problem, best=best))
    return tuple(targets)


def transfer_matrix(targets: Sequence[Target]) -> pd.DataFrame:
    """One row for bits of accelerator ``i`` on accelerator ``j``.

    Columns: ``optimised_for``, ``run_on``, ``fits`` (j's budget, as they are), ``spent`` (largest
    share of a budget that they spend there), ``sensitivity`` (of the bits as they are; missing
    where j cannot run them), ``changed_layers``, ``repaired_sensitivity``, ``own_sensitivity`` (of
    j's own optimum) and ``penalty`` (repaired over own, less one).
    """
    rows = [_transfer(source, target) for source in targets for target in targets]
    return pd.DataFrame(rows)


def _transfer(source: Target, target: Target) -> Mapping[str, object]:
    problem = target.problem
    if set(source.problem.layers) != set(problem.layers):
        msg = f"'{source.name}' and '{target.name}' run different networks"
        raise UnsupportedError(msg)
    bits = {layer: source.best.assignment[layer] for layer in problem.layers}
    spent, sensitivity = _as_it_is(problem, bits)
    repaired, changed = minimal_repair(problem, bits)
    own = target.best.objective
    return {
        "optimised_for": source.name,
        "run_on": target.name,
        "fits": spent is not None and spent <= 1.0,
        "spent": spent,
        "sensitivity": sensitivity,
        "changed_layers": changed,
        "repaired_sensitivity": repaired.objective,
        "own_sensitivity": own,
        "penalty": repaired.objective / own - 1 if own > 0 else None,
    }


def _as_it_is(
    problem: AllocationProblem, bits: Mapping[str, Precision]
) -> tuple[float | None, float | None]:
    """Share of the tightest budget, and sensitivity; None where the machine lacks a precision."""
    if not set(bits.values()) <= set(problem.precisions):
        return None, None
    choices = problem.choices(expand(bits, problem.layers, "policy"))
    if not problem.ties_hold(choices):
        return None, None
    limits = {row.name: row.limit / row.divisor for row in problem.resources}
    spent = max(problem.achieved(name, choices) / limit for name, limit in limits.items())
    return spent, problem.objective(choices)
