from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem
from hwmpq.allocate.pareto import pareto_front
from hwmpq.errors import BudgetError, InfeasibleError


def by_brute_force(problem: AllocationProblem, name: str) -> list[tuple[float, float]]:
    rest = replace(problem, resources=tuple(row for row in problem.resources if row.name != name))
    reached = []
    for columns in itertools.product(range(3), repeat=len(problem.layers)):
        choices = np.array(columns)
        if not rest.exceeded(choices):
            reached.append((problem.achieved(name, choices), problem.objective(choices)))
    front: list[tuple[float, float]] = []
    for spent, value in sorted(reached):
        if not front or value < front[-1][1]:
            front.append((spent, value))
    return front


def test_every_limit_gives_the_whole_front(pair: AllocationProblem) -> None:
    expected = by_brute_force(pair, "latency")
    front = pareto_front(pair, "latency", limits=range(11, 45))
    assert list(zip(front.spent, (p.objective for p in front.points), strict=True)) == expected
    # 34 limits: those between two points are not solved again; 14 and 22 cycles are equally good
    assert front.solved == len(expected) + 1
    assert list(front.to_pandas()["latency"]) == [spent for spent, _ in expected]


def test_ends_are_the_least_and_the_unlimited_optimum(pair: AllocationProblem) -> None:
    front = pareto_front(pair, "latency", points=5)
    expected = by_brute_force(pair, "latency")
    assert (front.spent[0], front.points[0].objective) == expected[0]
    assert (front.spent[-1], front.points[-1].objective) == expected[-1]
    reached = list(zip(front.spent, (p.objective for p in front.points), strict=True))
    assert set(reached) <= set(expected)


def test_other_budgets_hold_on_the_whole_front(pair: AllocationProblem) -> None:
    tight = replace(pair, resources=(pair.resources[0], replace(pair.resources[1], limit=44)))
    front = pareto_front(tight, "latency", points=10)
    assert all(point.budget("weight_memory").slack >= 0 for point in front.points)
    impossible = replace(tight, resources=(pair.resources[0], replace(pair.resources[1], limit=1)))
    with pytest.raises(InfeasibleError, match="weight_memory"):
        pareto_front(impossible, "latency")
    with pytest.raises(InfeasibleError, match="any of the limits"):
        pareto_front(pair, "latency", limits=[1.0])


def test_questions_without_an_answer_are_refused(pair: AllocationProblem) -> None:
    with pytest.raises(BudgetError, match="no row for energy"):
        pareto_front(pair, "energy")
    with pytest.raises(BudgetError, match="two points"):
        pareto_front(pair, "latency", points=1)
