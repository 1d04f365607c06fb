from __future__ import annotations

import pytest
import torch
from torch import nn

from hwmpq.quant.fixed import FixedQuantizer
from hwmpq.quant.learned_grid import GridSettings
from hwmpq.quant.learned_uniform import LearnedUniform

PARAMETRIZATIONS = ["step_range", "bits_step", "bits_range"]


def normal(count=500, scale=0.3):
    return torch.randn(count, generator=torch.Generator().manual_seed(0)) * scale


def started(bits=4, *, values=None, learn=True, **settings):
    chosen = GridSettings(parametrization=settings.pop("parametrization", "step_range"))
    grid = LearnedUniform(bits, signed=settings.pop("signed", True), settings=chosen, **settings)
    grid(normal() if values is None else values)
    if learn:
        grid.learn()
    return grid


def put(grid, **values):
    with torch.no_grad():
        for name, value in values.items():
            getattr(grid, f"learned_{name}").fill_(value)
    grid.project()
    grid.settle()


@pytest.mark.parametrize(("bits", "step"), [(4, 0.125), (5, 0.0625), (2, 0.5), (8, 0.015625)])
def test_the_first_step_is_a_power_of_two_that_covers_the_maximum(bits, step):
    # max 0.9: 0.9/7 = 0.129 and 0.9/1 round down; 0.9/15 = 0.06 and 0.9/127 = 0.0071 round up.
    grid = started(bits, values=torch.tensor([0.9, -0.1]))
    expected = 0.0078125 if bits == 8 else step
    assert float(grid.learned_step.detach()) == expected
    limit = expected * (2 ** (bits - 1) - 1)
    # The range keeps a little distance from the step.
    assert float(grid.learned_range.detach()) == pytest.approx(limit, rel=1e-4)
    assert grid.bits == bits


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("signed", [True, False])
def test_every_parametrisation_starts_on_the_same_grid(parametrization, signed):
    values = normal() if signed else normal().abs()
    grid = started(3, values=values, signed=signed, parametrization=parametrization)
    reference = started(3, values=values, signed=signed)
    torch.testing.assert_close(grid(values), reference(values))
    assert grid.bits == int(grid.needed_bits()) == 3


def test_a_learned_width_asks_for_no_more_than_is_in_force():
    grid = started(4, parametrization="bits_step")
    for learned, fractional in ((4.3, 4.0), (3.7, 3.7)):
        put(grid, bits=learned)
        assert grid.bits == 4
        assert float(grid.fractional_bits().detach()) == pytest.approx(fractional)


def test_learning_changes_the_width_and_holding_keeps_it():
    grid = started(4)
    put(grid, step=0.0625, range=1.9)
    assert grid.bits == 6
    grid.set_bits(3)
    put(grid, step=2.0**-7, range=1.9)
    assert grid.bits == 3
    assert grid(normal(2000, 1.0)).unique().numel() <= 7


def test_a_narrower_width_gives_up_range_and_resolution_alike():
    grid = started(4, values=torch.tensor([0.9, -0.1]))
    step, limit = (float(p.detach()) for p in (grid.learned_step, grid.learned_range))
    grid.set_bits(2)
    assert float(grid.learned_step.detach()) == pytest.approx(step * 7**0.5)
    assert float(grid.learned_range.detach()) == pytest.approx(limit / 7**0.5, rel=1e-4)


def test_a_wider_width_changes_nothing():
    values = normal()
    grid = started(3)
    before = grid(values)
    grid.set_bits(6)
    assert torch.equal(grid(values), before)


def test_projection_keeps_the_authors_bounds_and_the_widest_grid():
    grid = started(4)
    put(grid, step=-3.0, range=500.0)
    assert float(grid.learned_range.detach()) == 127
    # 127 codes on one side at most: the step follows the range.
    assert float(grid.learned_step.detach()) == 1
    assert grid.bits == 8
    put(grid, step=1.0, range=1e-9)
    assert float(grid.learned_range.detach()) > float(grid.learned_step.detach())
    assert grid.bits == 2


def test_gradients_are_clipped_to_one_step():
    grid = started(4, values=torch.tensor([0.9, -0.1]))
    grid(torch.full((1000,), 5.0)).sum().backward()
    assert float(grid.learned_range.grad) == 1000
    grid.clip_gradients()
    assert float(grid.learned_range.grad) == 0.125


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_a_grid_at_rest_gives_the_same_values(parametrization):
    values = normal(2000)
    grid = started(4, parametrization=parametrization)
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter.mul_(1.13)
    grid.project()
    grid.settle()
    fixed = FixedQuantizer(grid.bits, grid.grid(values), signed=True)
    assert torch.equal(fixed(values), grid(values))
    assert fixed(values).unique().numel() <= 2**grid.bits
    assert torch.equal(fixed.codes(values), grid.codes(values))


def test_a_saved_grid_brings_its_width_back():
    grid = started(4)
    put(grid, step=0.0625, range=1.9)
    again = LearnedUniform(4, signed=True)
    again.learn()
    again.load_state_dict(grid.state_dict())
    assert again.bits == grid.bits == 6


def test_learning_by_gradient_finds_a_better_grid():
    # A Gaussian at a step far too large: the error falls, and the bits rise.
    values = normal(4000, 1.0)
    grid = started(3, values=torch.tensor([8.0]), power_of_two_step=False)
    optimizer = torch.optim.SGD(grid.parameters(), lr=0.1)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = nn.functional.mse_loss(grid(values), values)
        error.backward()
        grid.clip_gradients()
        optimizer.step()
        grid.project()
        grid.settle()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0]
    assert grid.bits > 3


def test_the_step_on_the_machine_is_a_power_of_two():
    grid = started(4)
    put(grid, step=0.11, range=0.8)
    assert float(grid.grid(normal()).step) == 0.125
    assert float(started(4, power_of_two_step=False).grid(normal()).step) == 0.125
    free = started(4, power_of_two_step=False)
    put(free, step=0.11, range=0.8)
    assert float(free.grid(normal()).step) == pytest.approx(0.11)
