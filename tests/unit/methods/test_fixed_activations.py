from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.ilp import ILP
from hwmpq.errors import InfeasibleError
from hwmpq.methods.fixed_activations import FixedActivations
from hwmpq.precision import Precision, precisions

PAIRS = precisions([2, 8], [2, 4, 8])


def problem(limit, *, pinned=()):
    """Three layers whose cost is weight bits times activation bits; wide is good."""
    costs = np.array([[p.weight_bits * p.activation_bits for p in PAIRS]] * 3)
    wishes = np.array([[16.0 - p.weight_bits - p.activation_bits for p in PAIRS]] * 3)
    allowed = np.ones((3, len(PAIRS)), dtype=np.bool_)
    for row in pinned:
        allowed[row] = [p == Precision(8, 8) for p in PAIRS]
    return AllocationProblem(
        layers=("a", "b", "c"),
        precisions=PAIRS,
        sensitivity=wishes,
        allowed=allowed,
        resources=(Resource(name="bops", unit="operations", costs=costs, limit=limit),),
    )


def solve(given):
    return FixedActivations(bits=4, solver=ILP()).solve(given)


def test_activations_stay_at_the_width_while_weights_are_trimmed():
    # 3 x 8/4 would be 96, 2 x 8/4 and 2/4 are 72.
    found = solve(problem(80))
    assert sorted(map(str, found.assignment.values())) == ["2/4", "8/4", "8/4"]
    assert found.notes == ("activations are fixed at 4 bits, the bound holds for that choice",)


def test_a_pinned_layer_keeps_its_pin():
    found = solve(problem(64 + 40, pinned=[0]))
    assert found.assignment["a"] == Precision(8, 8)
    assert {p.activation_bits for name, p in found.assignment.items() if name != "a"} == {4}


def test_where_the_budget_asks_for_less_activations_give_way():
    # 2/4 everywhere costs 24.
    found = solve(problem(20))
    assert found.budget("bops").achieved <= 20
    assert 2 in {p.activation_bits for p in found.assignment.values()}
    assert found.notes == ("the budgets cannot be met with activations at 4 bits",)


def test_an_impossible_budget_is_still_refused():
    with pytest.raises(InfeasibleError):
        solve(problem(11))
    with pytest.raises(InfeasibleError):
        solve(replace(problem(70), allowed=problem(70, pinned=[0, 1]).allowed))
