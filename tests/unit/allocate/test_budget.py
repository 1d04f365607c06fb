from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hwmpq.allocate.budget import Budget
from hwmpq.cost.activation_cuts import ActivationCuts
from hwmpq.cost.table import CostTable
from hwmpq.errors import BudgetError, UnsupportedError
from hwmpq.precision import Precision


def test_absolute_limits_arrive_in_canonical_units(costs: CostTable) -> None:
    budget = Budget(latency="30us", energy="2pJ", weight_memory="1KiB", bops="2kops")
    latency, energy, memory, bops = budget.resolve(costs)
    assert (latency.limit, latency.unit) == (pytest.approx(30.0), "cycles")
    assert (energy.limit, energy.unit) == (pytest.approx(2.0), "pJ")
    assert (memory.limit, memory.unit) == (8192, "bits")
    assert (bops.limit, bops.unit) == (2000, "operations")


def test_layers_without_a_choice_are_a_constant(costs: CostTable) -> None:
    latency, energy = Budget(latency=30, energy=4).resolve(costs)
    assert latency.constant == 5
    assert latency.costs.tolist() == [[10, 20, 40], [1, 2, 4]]
    assert energy.constant == 0.25
    assert latency.total(np.array([0, 2])) == 10 + 4 + 5


def test_relative_limits_refer_to_the_whole_network(costs: CostTable) -> None:
    (latency,) = Budget(latency="0.5x").resolve(costs)
    assert latency.reference == 49
    assert latency.limit == 24.5
    (latency,) = Budget(latency="0.5x").resolve(costs, reference=Precision(4, 4))
    assert latency.limit == 13.5
    assert Budget(latency="0.5x").relative
    assert not Budget(latency="3ms").relative


def test_average_bits_are_weighted_by_size(costs: CostTable) -> None:
    weights, activations = Budget(average_weight_bits=4.5, average_activation_bits="4").resolve(
        costs
    )
    # 110 weights; conv at 4 and fc at 8 bits: (400 + 80) / 110
    choices = np.array([1, 2])
    assert weights.total(choices) / weights.divisor == pytest.approx(480 / 110)
    assert weights.limit / weights.divisor == pytest.approx(4.5)
    assert weights.reference == 880
    # 30 and 10 activation values; pooling has no bits to average
    assert activations.total(choices) / activations.divisor == pytest.approx((120 + 80) / 40)


def test_peak_activation_memory_is_one_row_a_cut(costs: CostTable) -> None:
    cuts = ActivationCuts(
        layers=("conv", "fc"),
        elements=np.array([[30, 0], [5, 10]]),
        constant_bits=np.array([7, 0]),
        labels=("first", "second"),
    )
    first, second = Budget(peak_activation_memory="0.5x").resolve(costs, cuts=cuts)
    assert first.name == second.name == "peak_activation_memory"
    assert first.costs.tolist() == [[60, 120, 240], [0, 0, 0]]
    assert first.constant == 7
    assert (first.reference, second.reference) == (247, 120)
    assert first.limit == second.limit == 123.5
    with pytest.raises(BudgetError, match="graph"):
        Budget(peak_activation_memory="1KiB").resolve(costs)


@pytest.mark.parametrize(
    "amount",
    [
        0,
        -1,
        "0",
        "0x",
        "-0.5x",
        "-3ms",
        math.nan,
        "nan",
        math.inf,
        "infx",
        "x",
        "0.5",
        "fast",
        True,
        "3kg",
    ],
)
def test_amounts_that_make_no_sense_are_refused(amount: str | float) -> None:
    with pytest.raises(BudgetError, match="latency"):
        Budget(latency=amount)


def test_a_unit_of_another_quantity_is_refused() -> None:
    with pytest.raises(BudgetError, match="weight_memory"):
        Budget(weight_memory="3ms")


def test_unknown_budgets_are_refused() -> None:
    with pytest.raises(BudgetError, match="speed"):
        Budget.from_mapping({"speed": "3x"})
    assert Budget.from_mapping({"energy": "2mJ"}) == Budget(energy="2mJ")
    assert Budget(energy="2mJ", bops=3).to_json() == {"energy": "2mJ", "bops": 3}


def test_a_reference_must_be_priced_only_where_it_is_needed(costs: CostTable) -> None:
    with pytest.raises(UnsupportedError, match="16/16"):
        Budget(latency="0.5x").resolve(costs, reference=Precision(16, 16))
    (latency,) = Budget(latency=30).resolve(costs, reference=Precision(16, 16))
    assert latency.reference is None


def test_a_reference_that_spends_nothing_has_no_half(costs: CostTable) -> None:
    free = replace(costs, columns={**costs.columns, "bops": np.zeros((3, 3), dtype=np.int64)})
    with pytest.raises(BudgetError, match="takes none"):
        Budget(bops="0.5x").resolve(free)


def test_a_fixed_layer_whose_cost_varies_is_refused(costs: CostTable) -> None:
    latency = costs.columns["latency_cycles"].copy()
    latency[1, 2] = 6
    changed = replace(costs, columns={**costs.columns, "latency_cycles": latency})
    with pytest.raises(UnsupportedError, match="pool"):
        Budget(latency=30).resolve(changed)


def test_average_width_needs_proportional_storage(costs: CostTable) -> None:
    memory = costs.columns["weight_memory_bits"].copy()
    memory[0, 1] += 1
    changed = replace(costs, columns={**costs.columns, "weight_memory_bits": memory})
    with pytest.raises(UnsupportedError, match="not proportional"):
        Budget(average_weight_bits=4).resolve(changed)
