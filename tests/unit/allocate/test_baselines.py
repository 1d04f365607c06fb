from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwmpq import registry
from hwmpq.allocate.base import AllocationProblem, Allocator, Resource, Status
from hwmpq.allocate.greedy import Greedy
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.random_feasible import RandomFeasible
from hwmpq.allocate.ties import Tie
from hwmpq.allocate.uniform import Uniform
from hwmpq.errors import InfeasibleError
from hwmpq.precision import Precision, precisions

P2, P4, P8 = Precision(2, 2), Precision(4, 4), Precision(8, 8)


def problem_of(seed: int, layers: int = 12) -> AllocationProblem:
    generator = np.random.default_rng(seed)
    columns = precisions([2, 4, 8], [2, 4, 8])
    widths = np.array([p.weight_bits * p.activation_bits for p in columns])
    sensitivity = generator.random((layers, 1)) * (1 / widths + 0.1 * generator.random(9))
    costs = generator.integers(1, 1000, (layers, 1)) * widths
    energy = generator.random((layers, 1)) * widths
    names = tuple(f"layer{index}" for index in range(layers))
    return AllocationProblem(
        layers=names,
        precisions=columns,
        sensitivity=sensitivity,
        allowed=np.ones((layers, 9), dtype=np.bool_),
        resources=(
            Resource(name="bops", unit="", costs=costs, limit=0.4 * float(costs[:, -1].sum())),
            Resource(name="energy", unit="pJ", costs=energy, limit=0.4 * energy[:, -1].sum()),
        ),
        ties=(Tie(names[:3], "activations"), Tie(names[4:6])),
    )


@pytest.mark.parametrize("name", ["ilp", "greedy", "uniform", "random_feasible"])
def test_every_registered_allocator_obeys_budgets_and_ties(name: str) -> None:
    allocator: Allocator = registry.resolve("allocator", name)
    for seed in range(3):
        problem = problem_of(seed)
        found = allocator.solve(problem)
        choices = problem.choices(found.assignment)
        assert problem.ties_hold(choices)
        assert not problem.exceeded(choices)
        assert found.objective == problem.objective(choices)
        if name != "ilp":
            assert (found.status, found.bound, found.gap) == (Status.FEASIBLE, None, None)
        with pytest.raises(InfeasibleError) as caught:
            allocator.solve(replace(problem, resources=(replace(problem.resources[0], limit=1),)))
        assert caught.value.shortfalls


def test_exact_is_never_worse_than_a_baseline() -> None:
    baselines: tuple[Allocator, ...] = (Greedy(), Uniform(), RandomFeasible())
    worse = 0
    for seed in range(5):
        problem = problem_of(seed)
        best = ILP().solve(problem).objective
        for baseline in baselines:
            value = baseline.solve(problem).objective
            assert value >= best * (1 - 1e-12)
            worse += value > best * (1 + 1e-9)
    assert worse >= 10


def test_greedy_by_hand(pair: AllocationProblem) -> None:
    # from 8/8 everywhere: 44 cycles, 88 bits; narrowing a to 4 bits loses 1 and mends both
    found = Greedy().solve(pair)
    assert found.assignment == {"a": P4, "b": P8}


def test_uniform_takes_the_widest_that_fits_and_keeps_pins(pair: AllocationProblem) -> None:
    assert set(Uniform().solve(pair).assignment.values()) == {P4}
    pinned = pair.allowed.copy()
    pinned[1] = [True, False, False]
    assert Uniform().solve(replace(pair, allowed=pinned)).assignment == {"a": P4, "b": P2}


def test_uniform_says_when_only_a_mix_fits(pair: AllocationProblem) -> None:
    # a may have 2 or 4 bits, b 8 alone or 4: no width is open to both under the budget
    allowed = np.array([[True, True, False], [True, False, True]])
    rows = (replace(pair.resources[0], limit=24), replace(pair.resources[1], limit=84))
    rows = (replace(rows[0], costs=np.array([[30, 20, 40], [1, 2, 4]])), rows[1])
    with pytest.raises(InfeasibleError, match="mixed ones do"):
        Uniform().solve(replace(pair, allowed=allowed, resources=rows))


def test_random_differs_by_seed_and_repeats() -> None:
    problem = problem_of(0)
    found = [RandomFeasible(seed=seed).solve(problem).assignment for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]
