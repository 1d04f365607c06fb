"""Costs between the columns of a table: exact at the columns, steep where savings are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.allocate.base import Resource
from hwmpq.allocate.budget import Budget
from hwmpq.cost.table import cost_table
from hwmpq.methods.fractional_cost import FractionalBudgets, cost_surface
from hwmpq.precision import Precision, precisions
from hwmpq.workload.loader import load_workload

PAIRS = precisions(range(2, 9), range(2, 9))


def bits(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def row(costs, limit, *, name="latency", constant=0):
    return Resource(
        name=name, unit="cycles", costs=np.array(costs), limit=limit, constant=constant
    )


@pytest.fixture(scope="module")
def table():
    return cost_table(load_workload("resnet8-digits"), load_accelerator("bitfusion-edge"), PAIRS)


@pytest.mark.parametrize("budget", ["latency", "energy", "weight_memory", "bops"])
def test_every_column_of_a_real_table_is_met_exactly(table, budget):
    (resource,) = Budget(**{budget: "0.5x"}).resolve(table)
    surface = cost_surface(resource.costs, table.precisions)
    layers = len(resource.costs)
    for column, precision in enumerate(table.precisions):
        found = surface(
            torch.full((layers,), float(precision.weight_bits)),
            torch.full((layers,), float(precision.activation_bits)),
        )
        assert found.tolist() == resource.costs[:, column].tolist()


def test_bops_are_bilinear_and_so_is_their_gradient():
    macs = np.array([3.0, 5.0])
    costs = np.array([[m * p.weight_bits * p.activation_bits for p in PAIRS] for m in macs])
    weight, activation = bits(2.5, 7.25), bits(4.0, 3.5)
    found = cost_surface(costs, PAIRS)(weight, activation)
    assert found.tolist() == pytest.approx([3 * 2.5 * 4, 5 * 7.25 * 3.5])
    found.sum().backward()
    assert weight.grad.tolist() == pytest.approx([3 * 4, 5 * 3.5])
    assert activation.grad.tolist() == pytest.approx([3 * 2.5, 5 * 7.25])


def test_on_a_plateau_the_gradient_looks_down_to_where_it_ends():
    # A machine of 2, 4 and 8 bits: 5 to 8 cost alike, 3 and 4 too.
    widths = precisions(range(2, 9), [8])
    costs = np.array([[2.0, 4, 4, 8, 8, 8, 8]])
    surface = cost_surface(costs, widths)
    slopes = {}
    for width in (2, 3, 4, 5, 6, 8, 7.5):
        weight = bits(float(width))
        found = surface(weight, torch.tensor([8.0]))
        found.backward()
        slopes[width] = float(weight.grad)
        assert float(found.detach()) == costs[0][min(int(np.ceil(width)), 8) - 2]
    # From 8 bits to 4 saves 4 over 4 bits; from 5 to 4 saves 4 over one.
    assert slopes == pytest.approx({2: 0, 3: 2, 4: 1, 5: 4, 6: 2, 8: 1, 7.5: 1})


def test_where_a_wider_column_is_cheaper_learning_is_not_pushed_up():
    surface = cost_surface(np.array([[10.0, 9.0]]), precisions([4, 8], [8]))
    weight = bits(8.0)
    surface(weight, torch.tensor([8.0])).backward()
    assert float(weight.grad) == 0


def test_below_the_narrowest_width_nothing_is_saved_and_above_the_widest_cost_goes_on():
    surface = cost_surface(np.array([[4.0, 8.0]]), precisions([4, 8], [8]))
    for width, cost, slope in [(3.0, 4, 0), (4.0, 4, 0), (6.0, 6, 1), (9.5, 9.5, 1)]:
        weight = bits(width)
        found = surface(weight, torch.tensor([8.0]))
        found.backward()
        assert float(found.detach()) == cost
        assert float(weight.grad) == slope


def test_pairs_without_a_column_cost_what_the_next_wider_column_costs():
    pairs = [Precision(2, 2), Precision(4, 4), Precision(8, 8)]
    surface = cost_surface(np.array([[1.0, 4.0, 16.0]]), pairs)
    for weight, activation, cost in [(2, 2, 1), (2, 4, 4), (4, 2, 4), (8, 2, 16), (4, 4, 4)]:
        found = surface(torch.tensor([float(weight)]), torch.tensor([float(activation)]))
        assert float(found) == cost
    open_corner = cost_surface(np.array([[3.0, 5.0]]), [Precision(2, 8), Precision(8, 2)])
    assert float(open_corner(torch.tensor([8.0]), torch.tensor([8.0]))) == 5


@settings(deadline=None, max_examples=40)
@given(
    slope=st.floats(0.1, 50),
    curvature=st.floats(0, 5),
    width=st.floats(2.01, 8).filter(lambda w: abs(w - round(w)) > 1e-3),
)
def test_where_costs_rise_ever_faster_the_gradient_is_the_interpolations(slope, curvature, width):
    widths = precisions(range(2, 9), [8])
    costs = np.array([[slope * p.weight_bits + curvature * p.weight_bits**2 for p in widths]])
    surface = cost_surface(costs, widths)
    weight, eight = bits(width), torch.tensor([8.0])
    surface(weight, eight).backward()
    step = 1e-4
    with torch.no_grad():
        difference = surface(weight + step, eight) - surface(weight - step, eight)
    assert float(weight.grad) == pytest.approx(float(difference) / (2 * step), rel=1e-5)


def test_penalty_is_the_square_of_each_overspent_share():
    pairs = precisions(range(2, 9), [8])
    costs = [[10.0 * p.weight_bits for p in pairs]]
    rows = [row(costs, 40, constant=10), row(costs, 100, name="energy")]
    budgets = FractionalBudgets.of(rows, pairs)
    weight, eight = bits(5.0), torch.tensor([8.0])
    spent = budgets.spent(weight, eight)
    assert {name: float(share.detach()) for name, share in spent.items()} == pytest.approx(
        {"latency": 1.5, "energy": 0.5}
    )
    penalty = budgets.penalty(weight, eight)
    assert float(penalty.detach()) == pytest.approx(0.25)
    penalty.backward()
    assert float(weight.grad) == pytest.approx(2 * 0.5 * 10 / 40)
    assert float(budgets.penalty(bits(3.0), eight).detach()) == 0


def test_of_several_rows_of_a_budget_the_largest_counts():
    pairs = precisions([2, 8], [8])
    rows = [row([[2.0, 8.0], [0, 0]], 4), row([[0, 0], [20.0, 80.0]], 4)]
    weight = bits(8.0, 2.0)
    FractionalBudgets.of(rows, pairs).spent(weight, bits(8.0, 8.0))["latency"].backward()
    assert weight.grad.tolist() == [0, 0]
    weight = bits(8.0, 3.0)
    FractionalBudgets.of(rows, pairs).spent(weight, bits(8.0, 8.0))["latency"].backward()
    assert weight.grad.tolist() == [0, 10 / 4]


def test_a_surface_moves_to_a_device_as_a_whole():
    surface = cost_surface(np.array([[1.0, 2.0]]), precisions([2, 4], [8]))
    moved = surface.to(torch.device("meta"))
    devices = {getattr(moved, field.name).device.type for field in dataclasses.fields(moved)}
    assert devices == {"meta"}
