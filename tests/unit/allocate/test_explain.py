from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.explain import find_conflict, next_bits, show
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.interval import cheapest, feasible_interval, least_achievable
from hwmpq.allocate.moves import Neighbourhood
from hwmpq.allocate.ties import Tie
from hwmpq.errors import BudgetError, InfeasibleError
from hwmpq.precision import Precision, precisions

P2, P4, P8 = Precision(2, 2), Precision(4, 4), Precision(8, 8)


def limited(problem: AllocationProblem, **limits: float) -> AllocationProblem:
    rows = (replace(row, limit=limits.get(row.name, row.limit)) for row in problem.resources)
    return replace(problem, resources=tuple(rows))


def opposed() -> AllocationProblem:
    """One layer: what is fast is large. Each budget of 5 can be met alone, not both."""
    return AllocationProblem(
        layers=("a",),
        precisions=(P2, P4, P8),
        sensitivity=np.zeros((1, 3)),
        allowed=np.ones((1, 3), dtype=np.bool_),
        resources=(
            Resource(name="latency", unit="cycles", costs=np.array([[1, 6, 9]]), limit=5),
            Resource(name="energy", unit="pJ", costs=np.array([[9.0, 6.0, 1.0]]), limit=5.0),
            Resource(name="bops", unit="operations", costs=np.array([[1, 2, 3]]), limit=3),
        ),
    )


def test_one_impossible_budget_is_named_with_its_least(pair: AllocationProblem) -> None:
    with pytest.raises(InfeasibleError) as caught:
        ILP().solve(limited(pair, latency=5))
    (shortfall,) = caught.value.shortfalls
    assert (shortfall.name, shortfall.limit, shortfall.least) == ("latency", 5, 11)
    message = str(caught.value)
    assert "no assignment meets latency" in message
    assert "least achievable 11 cycles (0.250x of the reference)" in message
    assert "a 91%, b 9%" in message
    assert caught.value.exit_code == 3


def test_budgets_in_conflict_are_found_and_the_others_left_out() -> None:
    conflict = find_conflict(opposed())
    assert conflict.names == ("latency", "energy")
    assert conflict.alone == {"latency": 1, "energy": 1.0}
    assert conflict.jointly == {"latency": 9, "energy": 9.0}
    with pytest.raises(InfeasibleError, match="latency, energy cannot be met together") as caught:
        ILP().solve(opposed())
    assert [shortfall.least for shortfall in caught.value.shortfalls] == [9, 9.0]
    # the way out that the message names
    ILP().solve(limited(opposed(), latency=9))


def test_interval_of_a_sum(pair: AllocationProblem) -> None:
    interval = feasible_interval(pair, "latency")
    assert (interval.least, interval.reference, interval.most) == (11, 44, 44)
    tied = replace(pair, ties=(Tie(("a", "b")),), allowed=np.array([[1, 1, 1], [0, 1, 1]], bool))
    assert feasible_interval(tied, "latency").least == 22


def test_least_of_a_maximum_that_pulls_apart() -> None:
    # narrowing the layer empties one row and fills the other
    rows = tuple(
        Resource(name="peak", unit="bits", costs=np.array([values]), limit=100)
        for values in ([10, 20, 40], [50, 30, 0])
    )
    problem = replace(opposed(), resources=rows)
    assert least_achievable(problem, "peak") == 30
    choices = cheapest(problem, "peak")
    assert choices is not None
    assert choices.tolist() == [1]


def test_least_of_one_budget_while_another_holds(pair: AllocationProblem) -> None:
    # weight memory at most 44 leaves b at 2 or 4 bits
    choices = cheapest(limited(pair, weight_memory=44), "latency")
    assert choices is not None
    assert pair.achieved("latency", choices) == 11
    assert cheapest(limited(pair, weight_memory=1), "latency") is None


def test_contradicting_ties_are_said_to_contradict(pair: AllocationProblem) -> None:
    allowed = np.array([[True, False, False], [False, True, True]])
    with pytest.raises(BudgetError, match="contradict"):
        ILP().solve(replace(pair, allowed=allowed, ties=(Tie(("a", "b")),)))


def test_next_bits_say_what_they_cost(pair: AllocationProblem) -> None:
    steps = next_bits(pair, {"a": P2, "b": P4})
    assert [(step.layers, step.wider, step.gain) for step in steps] == [
        (("a",), P4, 2.0),
        (("b",), P8, 2.0),
    ]
    assert steps[0].costs == {"latency": 10, "weight_memory": 2}
    assert steps[0].fits
    (only,) = next_bits(replace(pair, ties=(Tie(("a", "b")),)), {"a": P4, "b": P4})
    assert only.layers == ("a", "b")
    assert not only.fits


def test_steps_widen_one_side_at_a_time_and_take_tied_layers_along() -> None:
    problem = AllocationProblem(
        layers=("a", "b"),
        precisions=precisions([2, 4, 8], [4, 8]),
        sensitivity=np.zeros((2, 6)),
        allowed=np.ones((2, 6), dtype=np.bool_),
        ties=(Tie(("a", "b"), "activations"),),
    )
    nearby = Neighbourhood(problem)
    start = problem.choices({"a": Precision(2, 4), "b": Precision(4, 4)})
    wider = [str(problem.precisions[column]) for column in nearby.wider(start, 0)]
    assert wider == ["4/4", "2/8"]
    assert nearby.changes(start, 0, problem.precisions.index(Precision(4, 4))) == {0: 2}
    # activations of b follow
    assert nearby.changes(start, 0, problem.precisions.index(Precision(2, 8))) == {0: 1, 1: 3}
    blocked = replace(problem, allowed=problem.allowed & (np.arange(6) != 3))
    column = problem.precisions.index(Precision(2, 8))
    assert Neighbourhood(blocked).changes(start, 0, column) is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(2.5e9, "pJ", "2.5 mJ"), (4.5, "bits", "4.5 bits"), (8192, "bits", "1 KiB")],
)
def test_values_are_shown_with_units(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text
