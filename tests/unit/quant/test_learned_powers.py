"""The power-of-two grid as a module: start, bounds, widths, rest, codes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwmpq.errors import UnsupportedError
from hwmpq.quant.fixed_powers import FixedPowers
from hwmpq.quant.learned_grid import GridSettings
from hwmpq.quant.learned_powers import LearnedPowers

PARAMETRIZATIONS = ["step_range", "bits_step", "bits_range"]
KINDS = [(True, False), (True, True), (False, True)]
"""Weights; activations with sign; activations without."""


def normal(count=500, scale=0.3):
    return torch.randn(count, generator=torch.Generator().manual_seed(0)) * scale


def started(bits=4, *, values=None, learn=True, signed=True, zero=False, **settings):
    grid = LearnedPowers(bits, signed=signed, zero=zero, settings=GridSettings(**settings))
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


def ends(grid):
    return tuple(float(p.detach()) for p in (grid.learned_step, grid.learned_range))


# 0.9 is nearest to 1; 2^(b-1) - 1 octaves below, or the authors' bound of 2^-8.
@pytest.mark.parametrize(("bits", "smallest"), [(2, 0.5), (3, 0.125), (4, 2.0**-7), (5, 2.0**-8)])
def test_the_first_grid_ends_at_the_maximum(bits, smallest):
    grid = started(bits, values=torch.tensor([0.9, -0.1]))
    assert ends(grid) == (smallest, 1)
    assert grid.bits == bits


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize(("signed", "zero"), KINDS)
def test_every_parametrisation_starts_on_the_same_grid(parametrization, signed, zero):
    values = normal() if signed else normal().abs()
    kind = {"values": values, "signed": signed, "zero": zero}
    grid = started(3, parametrization=parametrization, **kind)
    assert torch.equal(grid(values), started(3, **kind)(values))
    assert int(grid.needed_bits()) == 3


def test_ends_in_force_are_powers_of_two_and_what_is_learned_is_not():
    grid = started()
    put(grid, step=0.03, range=0.8)
    assert ends(grid) == pytest.approx((0.03, 0.8))
    found = grid(normal(2000)).abs()
    # 0.03 is nearest to 2^-5 and 0.8 to 1.
    assert sorted(set(found.tolist())) == [2.0**-k for k in range(5, -1, -1)]
    assert torch.equal(found.log2(), found.log2().round())


def test_learning_changes_the_width_and_holding_keeps_it():
    grid = started(4)
    put(grid, step=2.0**-8, range=2.0)
    # Nine octaves: log2(10) + 1.
    assert grid.bits == 5
    grid.set_bits(3)
    put(grid, step=2.0**-8, range=2.0)
    assert grid.bits == 3
    assert ends(grid) == (0.25, 2)
    assert grid(normal(2000, 1.0)).unique().numel() == 8


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize(("signed", "zero"), KINDS)
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_a_width_holds_no_more_codes_wherever_learning_went(bits, signed, zero, parametrization):
    values = normal(4000, 2.0) if signed else normal(4000, 2.0).abs()
    grid = started(5, values=values, signed=signed, zero=zero, parametrization=parametrization)
    generator = torch.Generator().manual_seed(bits)
    grid.set_bits(bits)
    for _ in range(30):
        with torch.no_grad():
            for parameter in grid.parameters():
                parameter.mul_(float(torch.exp2(4 * torch.rand((), generator=generator) - 2)))
        grid.project()
        assert grid(values).unique().numel() <= 2**bits


def test_ends_that_rounding_moved_apart_are_brought_back():
    grid = started(3, values=torch.tensor([1.0]), learn=False)
    # Three octaves apart, but halves round to even: to 4 and a quarter, four octaves apart.
    put(grid, step=2.0**-1.5, range=2.0**1.5)
    assert grid(normal(4000, 3.0)).abs().unique().tolist() == [0.5, 1, 2, 4]


def test_narrowing_gives_up_the_small_magnitudes():
    grid = started(5, values=torch.tensor([0.9, -0.1]))
    grid.set_bits(2)
    assert ends(grid) == (0.5, 1)


def test_projection_keeps_the_authors_bounds():
    grid = started(4)
    put(grid, step=-3.0, range=500.0)
    assert ends(grid) == (2.0**-8, 127)
    # 127 is nearest to 2^7: fifteen octaves.
    assert grid.bits == 5
    put(grid, step=1.0, range=1e-9)
    assert ends(grid) == (1, 1)
    assert grid.bits == 2


def test_gradients_are_clipped_to_the_smallest_magnitude():
    grid = started(3, values=torch.tensor([0.9, -0.1]))
    grid(torch.full((1000,), 5.0)).sum().backward()
    assert float(grid.learned_range.grad) == 1000
    grid.clip_gradients()
    assert float(grid.learned_range.grad) == 0.125


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize(("signed", "zero"), KINDS)
def test_a_grid_at_rest_gives_the_same_values_also_when_reloaded(parametrization, signed, zero):
    values = normal(2000) if signed else normal(2000).abs()
    grid = started(4, values=values, signed=signed, zero=zero, parametrization=parametrization)
    with torch.no_grad():
        for parameter in grid.parameters():
            parameter.mul_(1.3)
    grid.project()
    grid.settle()
    fixed = grid.at_rest(values)
    again = FixedPowers(grid.bits, (0, 0), signed=True, zero=False)
    again.load_state_dict(fixed.state_dict())
    for other in (fixed, again):
        assert torch.equal(other(values), grid(values))
        assert torch.equal(other.grid(values).step * other.codes(values), grid(values))
    assert (again.signed, again.zero) == (signed, zero)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(("signed", "zero"), KINDS)
def test_stored_codes_fit_into_the_bits_and_give_the_values_back(bits, signed, zero):
    values = normal(4000, 1.0) if signed else normal(4000, 1.0).abs()
    grid = started(bits, values=values, signed=signed, zero=zero, learn=False)
    found = grid.exponents(values)
    assert torch.equal(found.values(), grid(values))
    assert 0 <= int(found.packed.min()) <= int(found.packed.max()) < 2**bits
    # One whole number for each value and one value for each number.
    pairs = set(zip(found.packed.tolist(), grid(values).tolist(), strict=True))
    assert len(pairs) == found.packed.unique().numel() == grid(values).unique().numel()
    if zero:
        assert set(found.packed[grid(values) == 0].tolist()) == {0}


def test_stored_codes_by_hand():
    # Three bits, a sign and no zero: 2^-3, 2^-2, 2^-1, 1 are 0, 1, 2, 3, and 4 more if negative.
    weights = FixedPowers(3, (-3, 0), signed=True, zero=False)
    found = weights.exponents(torch.tensor([0.0, 0.25, -0.25, 1.0, -9.0]))
    assert found.packed.tolist() == [0, 1, 5, 3, 7]
    assert found.exponents.tolist() == [-3, -2, -2, 0, 0]
    assert found.signs.tolist() == [1, 1, -1, 1, -1]
    # Two bits with zero and no sign: 0, 2^-1, 1, 2.
    inputs = FixedPowers(2, (-1, 1), signed=False, zero=True)
    assert inputs.exponents(torch.tensor([0.1, 0.6, 1.1, 4.0])).packed.tolist() == [0, 1, 2, 3]


def test_a_saved_grid_brings_its_width_back():
    grid = started(4)
    put(grid, step=2.0**-8, range=2.0)
    again = LearnedPowers(4, signed=True, zero=False)
    again.learn()
    again.load_state_dict(grid.state_dict())
    assert again.bits == grid.bits == 5


def test_one_bit_cannot_hold_a_sign():
    with pytest.raises(UnsupportedError, match="needs at least 2 bits for a sign and a magnitude"):
        LearnedPowers(1, signed=True, zero=False)
    assert LearnedPowers(1, signed=False, zero=True).bits == 1


def test_bits_at_rest_stay():
    fixed = FixedPowers(3, (-3, 0), signed=True, zero=False)
    with pytest.raises(UnsupportedError, match="keeps its bits: the layer has 3, but got 2"):
        fixed.set_bits(2)


def test_learning_by_gradient_finds_a_better_grid():
    # A Gaussian on a grid whose smallest magnitude is eight times its deviation.
    values = normal(4000, 1.0)
    grid = started(2, values=torch.tensor([8.0]))
    optimizer = torch.optim.SGD(grid.parameters(), lr=0.1)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = nn.functional.mse_loss(grid(values), values)
        error.backward()
        grid.clip_gradients()
        optimizer.step()
        grid.project()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0]
