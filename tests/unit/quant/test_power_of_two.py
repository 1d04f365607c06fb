"""DQ's power-of-two quantiser against plain autograd and the paper's gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from hwmpq.quant.power_of_two import (
    fractional_bits,
    octaves_of,
    smallest_and_largest,
)
from hwmpq.quant.step_range import whole_bits

LN2 = math.log(2)
BITS = 3
SMALLEST, LARGEST = 2.0**-3, 1.0
PARAMETRIZATIONS = ["step_range", "bits_step", "bits_range"]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def wide_values(count=400):
    """Values below, between and above the ends, of both signs."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(count, generator=generator, dtype=torch.float64).mul(0.8)
    incoming = torch.randn(count, generator=generator, dtype=torch.float64)
    for sign in (1, -1):
        assert (sign * values > LARGEST).any()
        assert ((sign * values > 0) & (sign * values < SMALLEST)).any()
    return values.requires_grad_(), incoming


def ends(parametrization, first, second):
    """Smallest and largest magnitude of two parameters."""
    if parametrization == "step_range":
        return first, second
    reach = torch.exp2(octaves_of(first))
    return (second, second * reach) if parametrization == "bits_step" else (second / reach, second)


def by_autograd(values, smallest, largest):
    """The quantiser as an expression whose derivative torch finds by itself."""
    size, sign = values.abs(), values.sign().detach()
    between = torch.exp2(torch.floor(torch.log2(size) + 0.5))
    inside = values * (between / size).detach()
    return torch.where(
        size <= smallest, sign * smallest, torch.where(size > largest, sign * largest, inside)
    )


def test_values_are_signed_powers_of_two_between_the_ends():
    values = torch.tensor([0.01, 0.2, 0.34, 0.36, 0.75, 1.4, 1.42, 9.0, -0.3, -5.0, 0.0])
    found = smallest_and_largest(values, torch.tensor(0.25), torch.tensor(2.0))
    assert found.tolist() == [0.25, 0.25, 0.25, 0.5, 1, 1, 2, 2, -0.25, -2, 0.25]


@pytest.mark.parametrize("signed", [True, False])
def test_with_zero_what_is_below_the_smallest_by_half_an_octave_is_zero(signed):
    values = torch.tensor([0.0, 0.17, 0.18, -0.17, -0.18, -3.0, 9.0], requires_grad=True)
    smallest, largest = scalar(0.25), scalar(2.0)
    found = smallest_and_largest(
        values, smallest.float(), largest.float(), signed=signed, zero=True
    )
    negative = [-0.25, -2] if signed else [0, 0]
    assert found.tolist() == [0, 0, 0.25, 0, *negative, 2]
    assert str(found[3].item()) == "0.0"
    found.backward(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]))
    # What became zero follows neither end; of the others each follows the end it lies beyond.
    assert float(smallest.grad) == (4 - 16 if signed else 4)
    assert float(largest.grad) == (64 - 32 if signed else 64)
    assert values.grad.tolist() == [0] * 7


def test_without_sign_and_zero_all_that_is_negative_takes_the_smallest():
    values, smallest = torch.tensor([-3.0, 0.1]), torch.tensor(0.25, requires_grad=True)
    found = smallest_and_largest(values, smallest, torch.tensor(2.0), signed=False)
    assert found.tolist() == [0.25, 0.25]
    found.sum().backward()
    assert float(smallest.grad) == 2


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_gradients_equal_autograd_and_the_closed_form(parametrization):
    start = {
        "step_range": (SMALLEST, LARGEST),
        "bits_step": (float(BITS), SMALLEST),
        "bits_range": (float(BITS), LARGEST),
    }[parametrization]
    values, incoming = wide_values()
    grads = []
    for quantise in (smallest_and_largest, by_autograd):
        values.grad = None
        first, second = (scalar(value) for value in start)
        found = quantise(values, *ends(parametrization, first, second))
        found.backward(incoming)
        grads.append((found.detach(), values.grad, first.grad, second.grad))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    plain = values.detach()
    below = torch.where(plain.abs() <= SMALLEST, plain.sign(), 0)
    above = torch.where(plain.abs() > LARGEST, plain.sign(), 0)
    half, reach = 2 ** (BITS - 1), 2 ** (2 ** (BITS - 1) - 1)
    bent = LN2**2 * half
    expected = {
        "step_range": (below, above),
        "bits_step": (LARGEST * bent * above, below + reach * above),
        "bits_range": (-SMALLEST * bent * below, below / reach + above),
    }[parametrization]
    for found, slope in zip(grads[0][2:], expected, strict=True):
        assert float(found) == pytest.approx(float((slope * incoming).sum()), abs=1e-9)


def largest_norm(parametrization, bits):
    """Largest norm of the two gradients over inputs within twice the range, smallest at one."""
    largest = 2.0 ** (2 ** (bits - 1) - 1)
    start = {
        "step_range": (1.0, largest),
        "bits_step": (float(bits), 1.0),
        "bits_range": (float(bits), largest),
    }[parametrization]
    norms = []
    for x in (0.5, 0.7 * largest, 2 * largest):
        first, second = (scalar(value) for value in start)
        value = torch.tensor([x], dtype=torch.float64)
        smallest_and_largest(value, *ends(parametrization, first, second)).sum().backward()
        norms.append(math.hypot(float(first.grad), float(second.grad)))
    return max(norms)


def test_only_the_two_ends_keep_gradients_bounded():
    # Above the range: sqrt((largest ln2^2 2^(b-1))^2 + (largest / smallest)^2) of bits and
    # smallest. Below it: smallest ln2^2 2^(b-1), and 1 above, of bits and largest.
    for bits in range(2, 6):
        half, largest = 2 ** (bits - 1), 2.0 ** (2 ** (bits - 1) - 1)
        assert largest_norm("step_range", bits) == 1
        doubly = largest * math.hypot(LN2**2 * half, 1)
        assert largest_norm("bits_step", bits) == pytest.approx(doubly)
        singly = max(1, math.hypot(LN2**2 * half, 1 / largest))
        assert largest_norm("bits_range", bits) == pytest.approx(singly)
    norms = [largest_norm("bits_step", bits) for bits in range(2, 6)]
    assert norms[-1] / norms[0] > 2**15
    assert all(b > 4 * a for a, b in itertools.pairwise(norms))


@pytest.mark.parametrize("bits", range(2, 8))
@pytest.mark.parametrize("excess", [0, 1e-5, -1e-5])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_inferred_bits_survive_a_range_beside_an_octave(bits, excess, zero, signed):
    octaves = 2 ** (bits - signed) - 1 - zero
    assert float(octaves_of(torch.tensor(float(bits)), signed=signed, zero=zero)) == octaves
    # At 7 bits the ratio is up to 2^127.
    smallest = torch.tensor(2.0**-40, dtype=torch.float64)
    largest = smallest * 2.0**octaves * (1 + excess)
    assert float(whole_bits(fractional_bits(smallest, largest, signed=signed, zero=zero))) == bits


def test_one_octave_more_takes_one_bit_more():
    def widths(**kind):
        return [
            int(whole_bits(fractional_bits(torch.tensor(1.0), torch.tensor(2.0**k), **kind)))
            for k in range(9)
        ]

    # ceil(log2(octaves + 1)) + 1, and with zero ceil(log2(octaves + 2)).
    assert widths() == [1, 2, 3, 3, 4, 4, 4, 4, 5]
    assert widths(signed=False, zero=True) == [1, 2, 2, 3, 3, 3, 3, 4, 4]


def test_both_ends_share_the_gradient_of_bits():
    smallest, largest = scalar(2.0**-3), scalar(2.0**4)
    whole_bits(fractional_bits(smallest, largest)).backward()
    slope = 1 / (8 * LN2) / LN2
    assert float(largest.grad) == pytest.approx(slope / 2**4)
    assert float(smallest.grad) == pytest.approx(-slope / 2**-3)
