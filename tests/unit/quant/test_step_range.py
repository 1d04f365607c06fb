"""DQ's uniform quantiser against the paper's gradients, and the widths that grids need."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from hwmpq.quant.step_range import (
    codes_above_zero,
    fractional_bits,
    full_range,
    power_of_two,
    step_and_range,
    whole_bits,
)

LN2 = math.log(2)


def symmetric(values, step, limit, bits):
    """The paper's grid at a width."""
    high = torch.tensor(2.0 ** (bits - 1) - 1)
    return step_and_range(values, step, limit, high, signed=True)


def range_of(bits, step):
    return full_range(bits, signed=True) * step


def step_of(bits, limit):
    return limit / full_range(bits, signed=True)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def wide_values(count=400, seed=1):
    """Values of which some lie beyond either end of a range of 1."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, generator=generator, dtype=torch.float64).requires_grad_()
    incoming = torch.randn(count, generator=generator, dtype=torch.float64)
    assert (values > 1).any()
    assert (values < -1).any()
    return values, incoming


def parts(values, limit):
    """Error inside the range, sign outside it, and whether a value is inside."""
    plain = values.detach()
    inside = plain.abs() <= limit
    return torch.where(inside, 0.0, plain.sign()), inside


BITS = 4
STEP = 1 / 7


def quantised(parametrization, values, first, second):
    if parametrization == "step_range":
        return symmetric(values, first, second, BITS)
    if parametrization == "bits_step":
        return symmetric(values, second, range_of(first, second), BITS)
    return symmetric(values, step_of(first, second), second, BITS)


@pytest.mark.parametrize("parametrization", ["step_range", "bits_step", "bits_range"])
def test_gradients_equal_the_papers_table(parametrization):
    values, incoming = wide_values()
    start = {
        "step_range": (STEP, 1.0),
        "bits_step": (float(BITS), STEP),
        "bits_range": (float(BITS), 1.0),
    }
    first, second = (scalar(value) for value in start[parametrization])
    found = quantised(parametrization, values, first, second)
    found.backward(incoming)
    sign, inside = parts(values, 1.0)
    error = torch.where(inside, found.detach() - values.detach(), 0.0)
    half = 2 ** (BITS - 1)
    expected = {
        "step_range": (error / STEP, sign),
        "bits_step": (half * LN2 * STEP * sign, error / STEP + (half - 1) * sign),
        "bits_range": (-half * LN2 / (half - 1) * error, error + sign),
    }[parametrization]
    for parameter, slope in zip((first, second), expected, strict=True):
        assert float(parameter.grad) == pytest.approx(float((slope * incoming).sum()), abs=1e-9)
    assert torch.equal(values.grad, incoming * inside)


def test_an_unsigned_grid_learns_nothing_below_zero():
    values = torch.tensor([-2.0, -0.1, 0.3, 0.9, 4.0], requires_grad=True)
    step, limit = torch.tensor(0.25, requires_grad=True), torch.tensor(0.75, requires_grad=True)
    found = step_and_range(values, step, limit, torch.tensor(3.0), signed=False)
    assert found.tolist() == [0, 0, 0.25, 0.75, 0.75]
    found.backward(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert values.grad.tolist() == [0, 0, 4, 0, 0]
    assert float(limit.grad) == 24
    assert float(step.grad) == pytest.approx(4 * (0.25 - 0.3) / 0.25)


def largest_norm(parametrization, bits):
    """Largest norm of the two gradients over inputs within twice the range, at a step of one."""
    half = 2 ** (bits - 1)
    start = {
        "step_range": (1.0, half - 1.0),
        "bits_step": (float(bits), 1.0),
        "bits_range": (float(bits), half - 1.0),
    }[parametrization]
    norms = []
    for x in torch.linspace(-2 * half, 2 * half, 101, dtype=torch.float64).tolist():
        first, second = (scalar(value) for value in start)
        value = torch.tensor([x], dtype=torch.float64)
        if parametrization == "step_range":
            step, limit = first, second
        elif parametrization == "bits_step":
            step, limit = second, range_of(first, second)
        else:
            step, limit = step_of(first, second), second
        symmetric(value, step, limit, bits).sum().backward()
        norms.append(math.hypot(float(first.grad), float(second.grad)))
    return max(norms)


def test_only_step_and_range_keep_gradients_bounded():
    # sqrt((2^(b-1) ln 2)^2 + (2^(b-1) - 1)^2) at a step of one.
    growing = [1.71, 4.09, 8.93, 18.65, 38.1, 77.1, 154.9]
    for bits, expected in zip(range(2, 9), growing, strict=True):
        assert largest_norm("step_range", bits) == pytest.approx(1.0)
        assert largest_norm("bits_step", bits) == pytest.approx(expected, rel=2e-3)
    ratios = [b / a for a, b in itertools.pairwise(growing[1:])]
    assert all(1.9 < ratio < 2.3 for ratio in ratios)


def test_bits_and_range_couple_through_the_step():
    # Inside the range both gradients are multiples of the same error; U3 has one of them at zero.
    value = torch.tensor([0.2], dtype=torch.float64)
    bits, limit = scalar(3.0), scalar(3.0)
    symmetric(value, step_of(bits, limit), limit, 3).sum().backward()
    assert float(limit.grad) == pytest.approx(-0.2 / 3)
    assert float(bits.grad) == pytest.approx(4 * LN2 / 3 * 0.2)


# Beyond 15 bits a hundred-thousandth of the range is more than half a code.
@pytest.mark.parametrize("bits", range(2, 16))
@pytest.mark.parametrize("excess", [0, 1e-5, -1e-5])
def test_inferred_bits_survive_a_range_beside_the_grid(bits, excess):
    step = torch.tensor(2.0**-5)
    limit = step * (2 ** (bits - 1) - 1) * (1 + excess)
    assert float(whole_bits(fractional_bits(step, limit, signed=True))) == bits
    unsigned = step * (2**bits - 1) * (1 + excess)
    assert float(whole_bits(fractional_bits(step, unsigned, signed=False))) == bits


def test_one_code_more_takes_one_bit_more():
    step = torch.tensor(0.5)
    widths = [int(whole_bits(fractional_bits(step, step * k, signed=True))) for k in range(1, 10)]
    # ceil(log2(k + 1)) + 1
    assert widths == [2, 3, 3, 4, 4, 4, 4, 5, 5]


def test_bits_pass_gradients_to_step_and_range():
    step, limit = scalar(0.5), scalar(3.5)
    whole_bits(fractional_bits(step, limit, signed=True)).backward()
    slope = 1 / ((7 + 1) * LN2)
    assert float(limit.grad) == pytest.approx(slope / 0.5)
    assert float(step.grad) == pytest.approx(-slope * 3.5 / 0.25)


def test_steps_round_to_powers_of_two_by_logarithm():
    values = torch.tensor([0.25, 0.3, 0.36, 1.4, 1.42, 0.0118], requires_grad=True)
    found = power_of_two(values)
    assert found.tolist() == [0.25, 0.25, 0.5, 1.0, 2.0, 0.0078125 * 2]
    found.sum().backward()
    assert values.grad.tolist() == [1] * 6


def test_a_range_below_half_a_step_still_has_one_code():
    assert float(codes_above_zero(torch.tensor(1.0), torch.tensor(0.2))) == 1
