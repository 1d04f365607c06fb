from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.problem import Rules, build_problem, expand
from hwmpq.allocate.run import allocate
from hwmpq.allocate.ties import Tie, as_ties, same_activation_bits
from hwmpq.cost.table import CostTable
from hwmpq.errors import BudgetError, NotFoundError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.workload.groups import QuantizationGroups

P2, P4, P8 = Precision(2, 2), Precision(4, 4), Precision(8, 8)


def test_later_patterns_override_earlier_ones_and_names_win() -> None:
    layers = ("a.conv1", "a.conv2", "b.conv1")
    rules = {"a.conv1": P8, "*": P2, "a.*": P4}
    assert expand(rules, layers, "pin") == {"a.conv1": P8, "a.conv2": P4, "b.conv1": P2}
    with pytest.raises(NotFoundError, match=r"b\.conv2"):
        expand({"b.conv2": P2}, layers, "pin")


def test_rules_become_allowed_choices(costs: CostTable, sensitivity: SensitivityTable) -> None:
    rules = Rules(candidates=[P2, P4], fixed={"f*": P8}, forbidden={"conv": [P2]})
    problem = build_problem(costs, sensitivity, Budget(latency=100), rules=rules)
    assert problem.layers == ("conv", "fc")
    assert problem.allowed.tolist() == [[False, True, False], [False, False, True]]
    rules = Rules(minimum={"conv": P4})
    problem = build_problem(costs, sensitivity, Budget(latency=100), rules=rules)
    assert problem.allowed.tolist() == [[False, True, True], [True, True, True]]


def test_infinite_sensitivity_forbids(costs: CostTable, sensitivity: SensitivityTable) -> None:
    values = sensitivity.values.copy()
    values[0, 0] = np.inf
    table = replace(sensitivity, values=values)
    problem = build_problem(costs, table, Budget(latency=100))
    assert problem.allowed[0].tolist() == [False, True, True]


def test_a_layer_left_without_a_choice_is_named(
    costs: CostTable, sensitivity: SensitivityTable
) -> None:
    rules = Rules(candidates=[P2], minimum={"fc": P4})
    with pytest.raises(BudgetError, match="fc"):
        build_problem(costs, sensitivity, Budget(latency=100), rules=rules)


def test_missing_sensitivities_are_an_error_unless_pinned(
    costs: CostTable, sensitivity: SensitivityTable
) -> None:
    only_conv = SensitivityTable(
        layers=("conv",),
        precisions=sensitivity.precisions[:2],
        values=sensitivity.values[:1, :2],
        metric="by hand",
    )
    with pytest.raises(UnsupportedError, match="no entry"):
        build_problem(costs, only_conv, Budget(latency=100), rules=Rules(fixed={"fc": P8}))
    rules = Rules(candidates=[P2, P4], fixed={"fc": P8})
    problem = build_problem(costs, only_conv, Budget(latency=100), rules=rules)
    assert problem.objective(np.array([1, 2])) == 1e-7


def test_a_table_of_another_network_is_refused(
    costs: CostTable, sensitivity: SensitivityTable
) -> None:
    other = replace(sensitivity, layers=("conv", "head"))
    with pytest.raises(UnsupportedError, match="another network"):
        build_problem(costs, other, Budget(latency=100))


def test_pins_that_contradict_a_tie_are_named(
    costs: CostTable, sensitivity: SensitivityTable
) -> None:
    rules = Rules(fixed={"conv": P4, "fc": P8}, groups=[Tie(("conv", "fc"), "weights")])
    with pytest.raises(BudgetError, match="conv at 4/4, fc at 8/8"):
        build_problem(costs, sensitivity, Budget(latency=100), rules=rules)


def test_groups_of_a_workload_become_ties() -> None:
    groups = QuantizationGroups(
        activations=(("a", "b"),), weights=(("b", "c"),), repeated=(("c", "d"),)
    )
    assert as_ties(groups) == (
        Tie(("a", "b"), "activations"),
        Tie(("b", "c"), "weights"),
        Tie(("c", "d"), "both"),
    )
    assert same_activation_bits(["a", "b", "c", "d"], groups) == {
        "a": "a",
        "b": "a",
        "c": "c",
        "d": "c",
    }


@pytest.mark.parametrize("layers", [("a",), ("a", "a")])
def test_a_tie_needs_two_layers(layers: tuple[str, ...]) -> None:
    with pytest.raises(BudgetError, match="two different"):
        Tie(layers)


def test_a_tie_shares_something_known() -> None:
    with pytest.raises(BudgetError, match="weights, activations or both"):
        Tie(("a", "b"), "biases")  # type: ignore[arg-type]


def test_allocate_meets_the_budget_with_least_sensitivity(
    costs: CostTable, sensitivity: SensitivityTable
) -> None:
    # 5 cycles of pooling; conv at 4 bits and fc at 8 take 20 + 4 + 5 = 29
    found = allocate(costs, sensitivity, Budget(latency="29us"))
    assert found.assignment == {"conv": P4, "fc": P8}
    assert found.objective == 1e-7
    assert found.budget("latency").slack == pytest.approx(0.0, abs=1e-9)
    tied = allocate(costs, sensitivity, Budget(latency=29), groups=[Tie(("conv", "fc"))])
    assert tied.assignment == {"conv": P4, "fc": P4}


def test_problems_check_their_parts(pair: AllocationProblem) -> None:
    with pytest.raises(UnsupportedError, match="shape"):
        replace(pair, sensitivity=np.zeros((2, 2)))
    with pytest.raises(UnsupportedError, match="finite"):
        replace(pair, sensitivity=np.full((2, 3), np.nan))
    with pytest.raises(UnsupportedError, match="no layer"):
        replace(
            pair,
            layers=(),
            sensitivity=np.zeros((0, 3)),
            allowed=np.ones((0, 3), bool),
            resources=(),
        )
    with pytest.raises(UnsupportedError, match="no layers of the problem"):
        replace(pair, ties=(Tie(("a", "z")),))
    row = pair.resources[0]
    with pytest.raises(UnsupportedError, match="must share"):
        replace(pair, resources=(row, replace(row, limit=3)))
    bad = Resource(name="x", unit="", costs=np.full((2, 3), np.inf), limit=1)
    with pytest.raises(UnsupportedError, match="finite"):
        replace(pair, resources=(bad,))
    with pytest.raises(UnsupportedError, match="missing"):
        pair.choices({"a": P2})
