from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem, Resource, Status
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.interaction import pairwise
from hwmpq.allocate.ties import Tie
from hwmpq.errors import UnsupportedError
from hwmpq.precision import precisions


def least_by_brute_force(problem: AllocationProblem) -> float:
    reached = [np.inf]
    for columns in itertools.product(range(len(problem.precisions)), repeat=len(problem.layers)):
        choices = np.array(columns)
        if problem.ties_hold(choices) and not problem.exceeded(choices):
            reached.append(problem.objective(choices))
    return min(reached)


def test_an_interaction_can_change_the_choice(pair: AllocationProblem) -> None:
    alone = ILP().solve(pair)
    values = np.zeros((3, 3))
    # a at 4 bits and b at 8 hurt each other
    values[1, 2] = 10.0
    together = replace(pair, interactions=pairwise(("a", "b"), {("a", "b"): values}))
    found = ILP().solve(together)
    assert found.assignment != alone.assignment
    assert found.objective == least_by_brute_force(together)
    assert found.status is Status.OPTIMAL
    assert any("interact" in note for note in found.notes)


@pytest.mark.parametrize("seed", range(6))
def test_quadratic_optimum_equals_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    layers = tuple("abcde")
    scale = 10.0 ** float(generator.integers(-9, 9))
    terms = {
        pair: generator.normal(size=(3, 3)) * scale
        for pair in itertools.combinations(layers, 2)
        if generator.random() < 0.6
    }
    costs = generator.integers(1, 100, (5, 3))
    problem = AllocationProblem(
        layers=layers,
        precisions=precisions([2, 4, 8], [8]),
        sensitivity=generator.normal(size=(5, 3)) * scale,
        allowed=np.ones((5, 3), dtype=np.bool_),
        resources=(Resource(name="latency", unit="cycles", costs=costs, limit=200),),
        ties=(Tie(("a", "d"), "weights"),) if seed % 2 else (),
        interactions=pairwise(layers, terms),
    )
    found = ILP().solve(problem)
    expected = least_by_brute_force(problem)
    assert found.objective == pytest.approx(expected, abs=1e-10 * scale)
    assert found.bound is not None
    assert found.bound <= expected


def test_interactions_name_two_layers() -> None:
    with pytest.raises(UnsupportedError, match="two different"):
        pairwise(("a", "b"), {("a", "a"): np.zeros((2, 2))})
    with pytest.raises(UnsupportedError, match="'c'"):
        pairwise(("a", "b"), {("a", "c"): np.zeros((2, 2))})
    with pytest.raises(UnsupportedError, match="finite"):
        pairwise(("a", "b"), {("a", "b"): np.full((2, 2), np.nan)})
