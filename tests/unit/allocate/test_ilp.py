from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hwmpq.allocate import engine, integer
from hwmpq.allocate.base import Allocation, AllocationProblem, Resource, Status
from hwmpq.allocate.certify import certified
from hwmpq.allocate.compact import compact
from hwmpq.allocate.engine import minimise
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.integer import Effort
from hwmpq.allocate.relaxation import relax
from hwmpq.allocate.ties import Tie
from hwmpq.errors import BudgetError, InfeasibleError, SpecError, UnsupportedError
from hwmpq.precision import Precision, precisions

P2, P4, P8 = Precision(2, 2), Precision(4, 4), Precision(8, 8)


def random_problem(
    layers: int, columns: int, *, seed: int = 0, share: float = 0.4
) -> AllocationProblem:
    generator = np.random.default_rng(seed)
    sensitivity = np.sort(generator.random((layers, columns)), axis=1)[:, ::-1]
    costs = [np.sort(generator.integers(1, 10**6, (layers, columns)), axis=1) for _ in range(2)]
    return AllocationProblem(
        layers=tuple(f"layer{index}" for index in range(layers)),
        precisions=precisions(range(2, 2 + columns), [8]),
        sensitivity=sensitivity,
        allowed=np.ones((layers, columns), dtype=np.bool_),
        resources=tuple(
            Resource(name=name, unit="", costs=cost, limit=share * float(cost.max(1).sum()))
            for name, cost in zip(("latency", "energy"), costs, strict=True)
        ),
    )


def test_the_optimum_by_hand(pair: AllocationProblem) -> None:
    # latency 24: a at 4 (20) and b at 8 (4); weight memory 4 + 80 = 84: sensitivity 1
    found = ILP().solve(pair)
    assert found.assignment == {"a": P4, "b": P8}
    assert (found.objective, found.status) == (1.0, Status.OPTIMAL)
    assert found.bound == pytest.approx(1.0, rel=1e-12)
    assert found.gap == pytest.approx(0.0, abs=1e-12)
    latency = found.budget("latency")
    assert (latency.limit, latency.achieved, latency.slack) == (24, 24, 0)
    assert (latency.reference, latency.least) == (44, 11)
    assert "OR-Tools" in found.solver
    with pytest.raises(KeyError):
        found.budget("energy")


def test_shadow_price_by_hand() -> None:
    # the relaxation may mix halves of a choice: 10 more save 2, so 0.2 each
    problem = AllocationProblem(
        layers=("a",),
        precisions=(P2, P4),
        sensitivity=np.array([[3.0, 1.0]]),
        allowed=np.ones((1, 2), dtype=np.bool_),
        resources=(
            Resource(name="average", unit="bits", costs=np.array([[10, 20]]), limit=15, divisor=5),
        ),
    )
    report = ILP().solve(problem).budget("average")
    assert report.shadow_price == pytest.approx(0.2 * 5)
    assert (report.limit, report.achieved) == (3.0, 2.0)
    loose = replace(problem, resources=(replace(problem.resources[0], limit=20),))
    assert ILP().solve(loose).budget("average").shadow_price == 0.0


@pytest.mark.parametrize("exponent", [-12, -7, 0, 12])
def test_tiny_and_huge_sensitivities_give_the_same_assignment(exponent: int) -> None:
    problem = random_problem(8, 4)
    expected = ILP().solve(problem)
    scaled = replace(problem, sensitivity=problem.sensitivity * 10.0**exponent)
    found = ILP().solve(scaled)
    assert found.status is Status.OPTIMAL
    assert found.assignment == expected.assignment
    assert found.objective == pytest.approx(expected.objective * 10.0**exponent, rel=1e-12)


def test_outliers_do_not_cost_resolution() -> None:
    # LIMPQ marks entries with 1e8: beside them differences of 1e-9 must still count
    problem = random_problem(8, 4, share=0.7)
    tiny = problem.sensitivity * 1e-9
    tiny[:4, 0] = 1e8
    found = ILP().solve(replace(problem, sensitivity=tiny))
    allowed = problem.allowed.copy()
    allowed[:4, 0] = False
    expected = ILP().solve(replace(problem, sensitivity=tiny, allowed=allowed))
    assert found.objective == expected.objective
    assert found.gap is not None
    assert found.gap < 1e-9


def test_an_assignment_that_meets_a_float_limit_exactly_is_found() -> None:
    generator = np.random.default_rng(3)
    costs = generator.random((6, 3)) * 1e7
    for _ in range(5):
        wanted = generator.integers(0, 3, 6)
        chosen = costs[np.arange(6), wanted].tolist()
        sensitivity = np.ones((6, 3))
        sensitivity[np.arange(6), wanted] = 0.0
        row = Resource(name="energy", unit="pJ", costs=costs, limit=math.fsum(chosen))
        problem = AllocationProblem(
            layers=tuple("abcdef"),
            precisions=precisions([2, 4, 8], [8]),
            sensitivity=sensitivity,
            allowed=np.ones((6, 3), dtype=np.bool_),
            resources=(row,),
        )
        assert ILP().solve(problem).objective == 0.0
        # one unit in the last place less, and it is out
        below = replace(row, limit=math.nextafter(row.limit, 0.0))
        found = ILP().solve(replace(problem, resources=(below,)))
        assert found.objective > 0
        assert found.budget("energy").achieved <= below.limit


def test_many_near_misses_fall_back_to_safe_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    # every order of equal layers misses the limit by one unit in the last place
    monkeypatch.setattr(integer, "_MAX_EXCLUDED", 2)
    costs = np.tile([1.0 / 3.0, 1.0], (6, 1))
    limit = math.nextafter(math.fsum([1.0] * 3 + [1.0 / 3.0] * 3), 0.0)
    sensitivity = np.tile([1.0, 0.0], (6, 1)) + np.arange(6)[:, None] * 1e-3
    problem = AllocationProblem(
        layers=tuple("abcdef"),
        precisions=(P2, P8),
        sensitivity=sensitivity,
        allowed=np.ones((6, 2), dtype=np.bool_),
        resources=(Resource(name="energy", unit="pJ", costs=costs, limit=limit),),
    )
    found = ILP(time_limit_s=5).solve(problem)
    assert found.budget("energy").achieved <= limit
    assert found.bound is not None
    assert found.bound <= found.objective
    assert sum(p == P8 for p in found.assignment.values()) == 2


@pytest.mark.parametrize("seed", [1020, 1260, 1297])
def test_where_the_solvers_own_presolve_goes_wrong(seed: int) -> None:
    # CP-SAT 9.15 with presolve calls a worse answer optimal on exactly these
    generator = np.random.default_rng(seed)
    sensitivity = generator.random((4, 6))
    rows = []
    for name in ("latency", "energy"):
        costs = generator.random((4, 6))
        least, most = costs.min(axis=1).sum(), costs.max(axis=1).sum()
        limit = float(least + generator.random() * (most - least))
        rows.append(Resource(name=name, unit="", costs=costs, limit=limit))
    problem = AllocationProblem(
        layers=tuple("abcd"),
        precisions=precisions([2, 4], [2, 4, 8]),
        sensitivity=sensitivity,
        allowed=np.ones((4, 6), dtype=np.bool_),
        resources=tuple(rows),
        ties=(Tie(("a", "b", "c"), "weights"),),
    )
    reached = [
        problem.objective(choices)
        for choices in map(np.array, itertools.product(range(6), repeat=4))
        if problem.ties_hold(choices) and not problem.exceeded(choices)
    ]
    assert ILP().solve(problem).objective == min(reached)


def test_same_seed_same_answer() -> None:
    problem = random_problem(30, 6)
    # equal layers have many optima
    problem = replace(problem, sensitivity=np.round(problem.sensitivity, 1))
    first, second = ILP(seed=7).solve(problem), ILP(seed=7).solve(problem)
    assert first.assignment == second.assignment


def test_cores_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(40, 9)
    small = minimise(problem, Effort())
    monkeypatch.setattr(engine, "_first_threshold", lambda *_: math.inf)
    whole = minimise(problem, Effort())
    assert small.proved
    assert whole.proved
    assert small.objective == pytest.approx(whole.objective, rel=1e-12)


def test_the_relaxation_bounds_whatever_prices_it_has(pair: AllocationProblem) -> None:
    small = compact(pair)
    found = relax(small)
    assert found.solved
    assert found.bound <= 1.0
    # the price of the binding row lifts the bound above every layer at its best
    assert found.bound > 0.0
    assert np.all(found.excess >= 0)


def test_tied_layers_become_one_and_beaten_choices_go(pair: AllocationProblem) -> None:
    tied = compact(replace(pair, ties=(Tie(("a", "b")),)))
    assert tied.members == ((0, 1),)
    worse = replace(pair, sensitivity=np.array([[3.0, 3.0, 0.0], [9.0, 2.0, 2.0]]))
    assert compact(worse).column.tolist() == [0, 2, 0, 1]


def test_rows_that_cannot_be_broken_go(pair: AllocationProblem) -> None:
    loose = replace(pair.resources[0], limit=44)
    assert [row.source for row in compact(replace(pair, resources=(loose,))).rows] == []


def test_a_stopped_search_says_so_and_keeps_the_budget() -> None:
    problem = random_problem(150, 20)
    found = ILP(gap_limit=0.05).solve(problem)
    assert found.gap is not None
    assert found.gap <= 0.05
    assert found.bound is not None
    assert found.bound <= found.objective
    if found.status is Status.FEASIBLE:
        assert any("gap limit" in note for note in found.notes)
    assert all(report.slack >= 0 for report in found.budgets)


def test_out_of_time_without_an_assignment_is_no_claim_of_infeasibility(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = random_problem(30, 6)
    start = ILP(gap_limit=0.5).solve(problem).assignment
    nothing = integer.Outcome(taken=None, bound=-math.inf, finished=False)
    monkeypatch.setattr(engine, "search", lambda *_, **__: nothing)
    hurried = ILP(time_limit_s=1e-6)
    with pytest.raises(BudgetError, match="allow more time") as caught:
        hurried.solve(problem)
    assert not isinstance(caught.value, InfeasibleError)
    found = replace(hurried, start=start).solve(problem)
    assert found.status is Status.FEASIBLE
    assert "time limit" in found.notes[0]
    assert found.gap is not None
    assert found.gap > 0


@pytest.mark.parametrize(
    "options", [{"time_limit_s": 0}, {"gap_limit": -0.1}, {"gap_limit": 1}, {"workers": 0}]
)
def test_options_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(BudgetError, match=next(iter(options))):
        ILP(**options)  # type: ignore[arg-type]


def test_json_round_trip(pair: AllocationProblem) -> None:
    found = ILP().solve(pair)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Allocation.from_json(json.loads(text)) == found
    with pytest.raises(SpecError, match="not an allocation"):
        Allocation.from_json({"assignment": {}})


def test_an_allocator_that_breaks_a_budget_is_caught(pair: AllocationProblem) -> None:
    with pytest.raises(UnsupportedError, match="latency"):
        certified(
            pair,
            np.array([2, 2]),
            status=Status.OPTIMAL,
            bound=0.0,
            solver="liar",
            started=0.0,
        )


def test_an_allocator_that_breaks_a_tie_is_caught(pair: AllocationProblem) -> None:
    tied = replace(pair, ties=(Tie(("a", "b"), "weights"),))
    with pytest.raises(UnsupportedError, match="a tie"):
        certified(
            tied, np.array([0, 1]), status=Status.FEASIBLE, bound=None, solver="liar", started=0.0
        )
