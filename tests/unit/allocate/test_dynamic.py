"""Dynamic programming under one row: the optimum, its bound and its price."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmpq.allocate import dynamic, engine
from hwmpq.allocate.base import AllocationProblem, IntArray, Resource, Status
from hwmpq.allocate.compact import compact
from hwmpq.allocate.dynamic import Optimum, optimum
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.relaxation import relax
from hwmpq.allocate.ties import Tie
from hwmpq.precision import precisions

WIDTHS = precisions([2, 4, 8], [4, 8])


def make_problem(
    seed: int, layers: int, *, whole: bool, share: float, ties: tuple[Tie, ...] = ()
) -> AllocationProblem:
    generator = np.random.default_rng(seed)
    shape = (layers, len(WIDTHS))
    costs = generator.integers(0, 1000, shape) if whole else generator.random(shape) * 1e6
    low, high = costs.min(axis=1).sum(), costs.max(axis=1).sum()
    return AllocationProblem(
        layers=tuple("abcdefghijklmnopqrstuvwxyz"[:layers]),
        precisions=WIDTHS,
        sensitivity=generator.random(shape) * 10.0 ** generator.integers(-9, 9),
        allowed=np.ones(shape, dtype=np.bool_),
        resources=(
            Resource(
                name="latency", unit="", costs=costs, limit=float(low + share * (high - low))
            ),
        ),
        ties=ties,
    )


def solve(problem: AllocationProblem) -> tuple[Optimum | None, list[IntArray]]:
    small = compact(problem)
    held: list[IntArray] = []

    def holds(taken: IntArray) -> bool:
        choices = small.expand(taken, len(problem.layers))
        held.append(choices)
        return problem.ties_hold(choices) and not problem.exceeded(choices)

    return optimum(small, deadline=time.monotonic() + 60, holds=holds), held


@given(
    seed=st.integers(0, 10**6),
    whole=st.booleans(),
    # at the very least rounding decides, which is left to exact sums
    share=st.one_of(st.floats(-0.1, -1e-6), st.floats(1e-6, 1.1)),
    tied=st.sampled_from(["", "activations", "weights", "both"]),
)
def test_it_finds_what_trying_everything_finds(
    seed: int, whole: bool, share: float, tied: str
) -> None:
    ties = (Tie(("a", "c"), tied), Tie(("b", "d"), "activations")) if tied else ()  # type: ignore[arg-type]
    problem = make_problem(seed, 4, whole=whole, share=share, ties=ties)
    tried = map(np.array, itertools.product(range(len(WIDTHS)), repeat=4))
    reached = [
        problem.objective(choices)
        for choices in tried
        if problem.ties_hold(choices) and not problem.exceeded(choices)
    ]
    found, held = solve(problem)
    assert found is not None
    assert found.found == bool(reached)
    if reached:
        (choices,) = held
        assert problem.objective(choices) == pytest.approx(min(reached), rel=1e-12)
        assert 0 <= found.noise <= 1e-12 * problem.sensitivity.sum()


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("whole", [True, False])
def test_a_limit_at_the_least_cost_is_met(seed: int, whole: bool) -> None:
    problem = make_problem(seed, 1 + seed % 4, whole=whole, share=0.0)
    (row,) = problem.resources
    limit = math.fsum(row.costs.min(axis=1).tolist())  # as an infeasible answer names it
    problem = replace(problem, resources=(replace(row, limit=limit),))
    found = ILP().solve(problem)
    chosen = problem.choices(found.assignment)
    assert not problem.exceeded(chosen)
    cheapest = row.costs == row.costs.min(axis=1, keepdims=True)
    least = np.where(cheapest, problem.sensitivity, np.inf).min(axis=1)
    assert found.objective == pytest.approx(least.sum(), rel=1e-9)


def test_sensitivity_that_falls_with_cost_is_met_at_the_least_cost() -> None:
    """What once left the greedy start without a step to take: rounding of a float limit."""
    generator = np.random.default_rng(60)
    costs = np.sort(generator.random((int(generator.integers(1, 5)), 6)) * 1e6, axis=1)
    problem = AllocationProblem(
        layers=tuple("abcd"[: len(costs)]),
        precisions=WIDTHS,
        sensitivity=(costs.max(axis=1, keepdims=True) - costs) * 0.7,
        allowed=np.ones(costs.shape, dtype=np.bool_),
        resources=(
            Resource(name="energy", unit="", costs=costs, limit=math.fsum(costs.min(axis=1))),
        ),
    )
    found = ILP().solve(problem)
    assert problem.choices(found.assignment).tolist() == [0] * len(costs)


@pytest.mark.parametrize("seed", range(20))
def test_price_and_floor_are_those_of_the_linear_relaxation(seed: int) -> None:
    ties = (Tie(("a", "c", "e"), "activations"), Tie(("b", "d"), "weights"))
    problem = make_problem(seed, 20, whole=bool(seed % 2), share=0.3, ties=ties)
    small = compact(problem)
    program = dynamic._Program(small, dynamic.tied_sets(small) or ())
    relaxed = relax(small)
    floor = program.floor + math.fsum(each.least_loss for each in program.sets)
    assert relaxed.solved
    assert floor == pytest.approx(relaxed.bound, rel=1e-9)
    assert program.price == pytest.approx(relaxed.prices[0], rel=1e-6)


def test_the_price_where_two_slopes_meet_is_what_one_more_unit_saves() -> None:
    # 10 units save 4, the next 10 save 1: at a limit of 10 one more saves 0.1
    problem = AllocationProblem(
        layers=("a",),
        precisions=precisions([2, 4, 8], [8]),
        sensitivity=np.array([[5.0, 1.0, 0.0]]),
        allowed=np.ones((1, 3), dtype=np.bool_),
        resources=(Resource(name="latency", unit="", costs=np.array([[0, 10, 20]]), limit=10),),
    )
    report = ILP().solve(problem).budget("latency")
    assert report.achieved == 10
    assert report.shadow_price == pytest.approx(0.1)
    tighter = replace(problem, resources=(replace(problem.resources[0], limit=9),))
    assert ILP().solve(tighter).budget("latency").shadow_price == pytest.approx(0.4)


def test_it_goes_on_until_the_distance_covers_what_it_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problems = [make_problem(seed, 20, whole=True, share=0.15) for seed in range(8)]
    expected = [ILP().solve(problem).objective for problem in problems]
    # begin with nothing but the best option of each set
    monkeypatch.setattr(dynamic, "_PER_SET", 0)
    monkeypatch.setattr(dynamic, "_BESIDES", 0)
    for problem, objective in zip(problems, expected, strict=True):
        assert ILP().solve(problem).objective == pytest.approx(objective, rel=1e-12)


def test_larger_problems_agree_with_the_search_on_integers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ties = (Tie(("a", "b", "c"), "activations"), Tie(("x", "y"), "weights"))
    for seed in range(12):
        problem = make_problem(seed, 26, whole=bool(seed % 2), share=0.1 + 0.06 * seed, ties=ties)
        mine = ILP().solve(problem)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "optimum", lambda *_, **__: None)
            theirs = ILP().solve(problem)
        assert mine.status is theirs.status is Status.OPTIMAL
        assert mine.objective == pytest.approx(theirs.objective, rel=1e-12)
        assert mine.gap is not None
        assert mine.gap < 1e-12


def test_what_it_cannot_do_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(1, 8, whole=True, share=0.1)
    expected = ILP().solve(problem)
    crosswise = (Tie(("a", "b"), "weights"), Tie(("b", "c"), "activations"))
    assert solve(replace(problem, ties=crosswise)) == (None, [])
    second = replace(problem.resources[0], name="energy")
    assert solve(replace(problem, resources=(*problem.resources, second))) == (None, [])
    monkeypatch.setattr(dynamic, "_MOST_SUMS", 0)
    assert solve(problem) == (None, [])
    assert ILP().solve(problem).objective == pytest.approx(expected.objective, rel=1e-12)
