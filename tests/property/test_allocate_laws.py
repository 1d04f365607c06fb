"""Laws of exact allocation, against brute force."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.allocate import engine
from hwmpq.allocate.base import Allocation, AllocationProblem, Resource, Status
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.ties import Tie
from hwmpq.errors import BudgetError, InfeasibleError
from hwmpq.precision import precisions

PAIRS = precisions([2, 4, 8], [2, 4, 8])
SHARED = ("weights", "activations", "both")


@st.composite
def problems(draw: st.DrawFn, *, largest: int = 6) -> AllocationProblem:
    """Up to six layers of up to nine choices, one to four budgets, ties and pins."""
    count = draw(st.integers(1, largest))
    columns = PAIRS[: draw(st.integers(2, 9))]
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # many choices times many layers is more than brute force can do in a moment
    while len(columns) ** count > 20_000:
        count -= 1
    shape = (count, len(columns))
    scale = 10.0 ** draw(st.integers(-12, 12))
    shift = draw(st.sampled_from([0.0, 0.0, -0.5, 100.0]))
    sensitivity = (generator.random(shape) ** draw(st.integers(1, 6)) + shift) * scale
    names = tuple(f"layer{index}" for index in range(count))
    resources = []
    of_one_name = draw(st.integers(1, 2))
    for index in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            costs = generator.integers(0, draw(st.sampled_from([4, 1000, 10**9])), shape)
            constant = draw(st.integers(0, 5))
        else:
            costs = generator.random(shape) * draw(st.sampled_from([1e-6, 1.0, 1e9]))
            constant = draw(st.sampled_from([0, 0.25]))
        least, most = costs.min(axis=1).sum(), costs.max(axis=1).sum()
        tightness = draw(st.floats(-0.05, 1.05))
        resources.append(
            Resource(
                name=f"budget{index // of_one_name}",
                unit="bits",
                costs=costs,
                limit=float(least + tightness * (most - least)) + constant,
                constant=constant,
            )
        )
    limits = dict.fromkeys((row.name for row in resources), 0.0)
    for row in resources:
        limits[row.name] = max(limits[row.name], row.limit)
    ties = []
    for _ in range(draw(st.integers(0, 2)) if count > 1 else 0):
        members = draw(st.lists(st.sampled_from(names), min_size=2, max_size=3, unique=True))
        ties.append(Tie(tuple(members), draw(st.sampled_from(SHARED))))
    allowed = generator.random(shape) < draw(st.sampled_from([1.0, 1.0, 0.7]))
    if draw(st.booleans()):
        allowed[draw(st.integers(0, count - 1))] = np.arange(len(columns)) == 1
    allowed[~allowed.any(axis=1)] = True
    return AllocationProblem(
        layers=names,
        precisions=columns,
        sensitivity=sensitivity,
        allowed=allowed,
        resources=tuple(replace(row, limit=limits[row.name]) for row in resources),
        ties=tuple(ties),
    )


def brute_force(problem: AllocationProblem) -> float:
    """The least sensitivity by trying everything; infinite if nothing is feasible."""
    best = math.inf
    options = [np.flatnonzero(row).tolist() for row in problem.allowed]
    rows = [
        (resource.costs.tolist(), resource.constant, resource.limit)
        for resource in problem.resources
    ]
    sensitivity = problem.sensitivity.tolist()
    for columns in itertools.product(*options):
        value = math.fsum(row[column] for row, column in zip(sensitivity, columns, strict=True))
        if value >= best:
            continue
        over = any(
            math.fsum((*(c[k] for c, k in zip(costs, columns, strict=True)), constant)) > limit
            for costs, constant, limit in rows
        )
        if not over and problem.ties_hold(np.array(columns)):
            best = value
    return best


def attempt(problem: AllocationProblem) -> Allocation | BudgetError:
    """The exact answer, or the error that says there is none."""
    try:
        return ILP().solve(problem)
    except BudgetError as error:
        return error


def spread_of(problem: AllocationProblem) -> float:
    """How far sensitivities lie apart."""
    return float(np.ptp(problem.sensitivity, axis=1).sum())


def check_against_brute_force(problem: AllocationProblem) -> None:
    expected = brute_force(problem)
    found = attempt(problem)
    if isinstance(found, BudgetError):
        assert expected == math.inf
        assert isinstance(found, InfeasibleError) or "contradict" in str(found)
        return
    spread = spread_of(problem)
    assert found.status is Status.OPTIMAL
    assert found.objective == pytest.approx(expected, abs=1e-11 * spread, rel=1e-14)
    assert found.bound is not None
    assert found.bound <= expected
    assert found.objective - found.bound <= 1e-10 * max(spread, abs(expected) * 1e-4)
    assert problem.ties_hold(problem.choices(found.assignment))
    for report in found.budgets:
        assert report.achieved <= report.limit
        assert report.least is not None
        assert report.least <= report.achieved * (1 + 1e-12)


@settings(max_examples=120, deadline=None)
@given(problems())
def test_exact_allocation_equals_brute_force(problem: AllocationProblem) -> None:
    check_against_brute_force(problem)


@settings(max_examples=60, deadline=None)
@given(problems(largest=4))
def test_starting_from_one_choice_a_layer_changes_nothing(problem: AllocationProblem) -> None:
    # small problems are searched whole; a core that starts empty-handed must grow to the optimum
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_first_threshold", lambda *_: 0.0)
        check_against_brute_force(problem)


@settings(max_examples=25, deadline=None)
@given(problems(largest=5), st.integers(-12, 12))
def test_scaling_all_sensitivities_scales_the_answer(
    problem: AllocationProblem, exponent: int
) -> None:
    scaled = replace(problem, sensitivity=problem.sensitivity * 2.0 ** (3 * exponent))
    first, second = attempt(problem), attempt(scaled)
    if isinstance(first, BudgetError) or isinstance(second, BudgetError):
        assert type(first) is type(second)
    else:
        assert first.assignment == second.assignment


@settings(max_examples=25, deadline=None)
@given(problems(largest=5))
def test_more_budget_never_hurts(problem: AllocationProblem) -> None:
    looser = replace(
        problem,
        resources=tuple(replace(row, limit=row.limit * 1.25) for row in problem.resources),
    )
    tight, loose = attempt(problem), attempt(looser)
    if isinstance(tight, Allocation):
        assert isinstance(loose, Allocation)
        assert loose.objective <= tight.objective + 1e-11 * spread_of(problem)


@settings(max_examples=40, deadline=None)
@given(problems(largest=4))
def test_an_infeasible_answer_states_what_is_achievable(problem: AllocationProblem) -> None:
    error = attempt(problem)
    if not isinstance(error, InfeasibleError):
        return
    assert error.exit_code == 3
    names = [shortfall.name for shortfall in error.shortfalls]
    assert names
    assert all(name in str(error) for name in names)
    assert all(shortfall.least > shortfall.limit for shortfall in error.shortfalls)
    # raising one of them to what it reaches while the others hold makes that set feasible, and
    # anything less does not
    first = error.shortfalls[0]
    rows = [row for row in problem.resources if row.name in names]
    for factor, feasible in ((1 + 1e-9, True), (1 - 1e-6, False)):
        limited = tuple(
            replace(row, limit=first.least * factor) if row.name == first.name else row
            for row in rows
        )
        outcome = attempt(replace(problem, resources=limited))
        assert isinstance(outcome, Allocation) == feasible
