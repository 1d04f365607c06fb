"""Say why a problem has no answer, and what the next bit would cost where it has one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.engine import minimise
from hwmpq.allocate.integer import Effort
from hwmpq.allocate.interval import cheapest, least_achievable, without
from hwmpq.allocate.moves import Neighbourhood
from hwmpq.errors import InfeasibleError, Shortfall
from hwmpq.precision import Assignment, Precision
from hwmpq.units import format_bits, format_count, format_energy

_EFFORT = Effort(time_limit_s=20.0)
_LAYERS_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Budgets that cannot hold together; without any one of them the rest can.

    Attributes:
        names: the budgets.
        alone: the least achievable of each, the others aside.
        jointly: the least achievable of each while the others hold; None where the others cannot
            hold together.
        blockers: for each, the layers that spend most of it at its least, with their share; what
            no choice changes is one of them.
    """

    names: tuple[str, ...]
    alone: Mapping[str, float]
    jointly: Mapping[str, float | None]
    blockers: Mapping[str, tuple[tuple[str, float], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step to the next wider precision: what it would save and cost.

    Attributes:
        layers: the layers that would change; more than one where bits are shared.
        current: what the first has.
        wider: what it would get.
        gain: sensitivity saved.
        costs: what it would add to each budget, in its reported unit.
        fits: whether all budgets would still hold.
    """

    layers: tuple[str, ...]
    current: Precision
    wider: Precision
    gain: float
    costs: Mapping[str, float]
    fits: bool


def show(value: float, unit: str) -> str:
    """A budgeted value for people.

    >>> show(4096000, "bits"), show(1234567, "cycles")
    ('500 KiB', '1,234,567 cycles')
    """
    if unit == "pJ":
        return format_energy(value)
    if unit == "bits":
        return format_bits(value) if value >= 64 else f"{value:.4g} bits"
    if unit == "cycles":
        return f"{math.floor(value):,} cycles"
    return f"{format_count(value)} {unit}".strip()


def is_feasible(problem: AllocationProblem, effort: Effort = _EFFORT) -> bool:
    """Whether limits can hold together; out of time counts as yes, so that a no is proved."""
    goal = replace(problem, sensitivity=np.zeros(problem.allowed.shape), interactions=())
    return not minimise(goal, effort).infeasible


def find_conflict(problem: AllocationProblem, *, effort: Effort = _EFFORT) -> Conflict:
    """Find a smallest set of budgets that cannot hold together.

    Budgets are left out one after another; one whose absence leaves the rest infeasible is no part
    of the conflict (deletion filter, J. W. Chinneck and E. W. Dravnieks, ORSA Journal on Computing
    3, 1991).
    """
    names = list(problem.budget_names)
    for name in problem.budget_names:
        rest = [other for other in names if other != name]
        if rest and not is_feasible(_only(problem, rest), effort):
            names = rest
    core = _only(problem, names)
    jointly: dict[str, float | None] = {}
    blockers = {}
    for name in names:
        best = cheapest(core, name, effort=effort) if len(names) > 1 else None
        jointly[name] = None if best is None else core.achieved(name, best)
        blockers[name] = _blockers(core, name, effort)
    return Conflict(
        names=tuple(names),
        alone={name: least_achievable(problem, name) for name in names},
        jointly=jointly,
        blockers=blockers,
    )


def _only(problem: AllocationProblem, names: list[str]) -> AllocationProblem:
    return without(problem, *(name for name in problem.budget_names if name not in names))


def _blockers(
    problem: AllocationProblem, name: str, effort: Effort
) -> tuple[tuple[str, float], ...]:
    """Who spends most of a budget when it is spent least, with shares."""
    alone = replace(problem, resources=problem.rows_of(name))
    choices = cheapest(alone, name, effort=effort)
    if choices is None:
        return ()
    row: Resource = max(alone.resources, key=lambda row: row.total(choices) / row.divisor)
    total = row.total(choices)
    spent = row.costs[np.arange(len(row.costs)), choices].tolist()
    where = f" at '{row.label}'" if row.label else ""
    parts = [(f"what has no choice{where}", float(row.constant) / total if total else 0.0)]
    parts += [
        (layer, value / total) for layer, value in zip(problem.layers, spent, strict=True) if value
    ]
    parts.sort(key=lambda part: -part[1])
    return tuple(part for part in parts[:_LAYERS_NAMED] if part[1] > 0)


def infeasible(problem: AllocationProblem) -> InfeasibleError:
    """The error that says which budgets conflict, what is achievable, and what to relax."""
    conflict = find_conflict(problem)
    limits = {name: problem.rows_of(name)[0] for name in conflict.names}
    shortfalls, lines = [], []
    for name in conflict.names:
        row = limits[name]
        limit = row.limit / row.divisor
        alone, jointly = conflict.alone[name], conflict.jointly[name]
        shortfalls.append(Shortfall(name, limit, alone if jointly is None else jointly, row.unit))
        text = f"{name}: limit {show(limit, row.unit)}, least achievable {show(alone, row.unit)}"
        reference = max(each.reference or 0.0 for each in problem.rows_of(name))
        if reference:
            text += f" ({alone * row.divisor / reference:.3f}x of the reference)"
        if jointly is not None:
            text += f", {show(jointly, row.unit)} while the others hold"
        most = ", ".join(f"{layer} {share:.0%}" for layer, share in conflict.blockers[name])
        lines.append(f"  {text}; most is spent in {most}" if most else f"  {text}")
    if len(conflict.names) == 1:
        head = f"no assignment meets {conflict.names[0]}"
        way_out = f"raise {conflict.names[0]} to its least achievable value"
    else:
        head = f"{', '.join(conflict.names)} cannot be met together"
        way_out = "raise one of them to the value it reaches while the others hold"
    message = "\n".join(
        (f"{head}:", *lines, f"  Way out: {way_out}, allow fewer bits, or loosen pins and ties.")
    )
    return InfeasibleError(message, shortfalls)


def next_bits(problem: AllocationProblem, assignment: Assignment) -> tuple[Step, ...]:
    """What the next bit would cost where, most sensitivity saved first.

    A step widens weights or activations of one layer to the next width it may have; layers that
    share those bits move along.
    """
    current = problem.choices(assignment)
    nearby = Neighbourhood(problem)
    before = problem.objective(current)
    spent = {name: problem.achieved(name, current) for name in problem.budget_names}
    steps: list[Step] = []
    for row in nearby.leaders:
        for column in nearby.wider(current, row):
            changes = nearby.changes(current, row, column)
            if changes is None:
                continue
            choices = current.copy()
            choices[list(changes)] = list(changes.values())
            steps.append(
                Step(
                    layers=tuple(problem.layers[other] for other in changes),
                    current=problem.precisions[current[row]],
                    wider=problem.precisions[column],
                    gain=before - problem.objective(choices),
                    costs={name: problem.achieved(name, choices) - spent[name] for name in spent},
                    fits=not problem.exceeded(choices),
                )
            )
    return tuple(sorted(steps, key=lambda step: -step.gain))
