from __future__ import annotations

import math

import pytest
import torch

from hwmpq.quant.power_of_two import (
    fractional_bits,
    largest_of,
    learned_bits,
    smallest_and_largest,
    smallest_of,
)

LN2 = math.log(2)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def test_values_are_signed_powers_of_two_between_the_ends():
    values = torch.tensor([0.01, 0.2, 0.34, 0.36, 0.75, 1.4, 1.42, 9.0, -0.3, -5.0])
    found = smallest_and_largest(values, torch.tensor(0.25), torch.tensor(2.0))
    assert found.tolist() == [0.25, 0.25, 0.25, 0.5, 1, 1, 2, 2, -0.25, -2]


def test_each_end_learns_from_the_values_beyond_it():
    values = torch.tensor([0.1, -0.2, 0.3, -1.5, 5.0, -7.0], requires_grad=True)
    smallest, largest = torch.tensor(0.25), torch.tensor(2.0)
    smallest.requires_grad_()
    largest.requires_grad_()
    incoming = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 64.0])
    smallest_and_largest(values, smallest, largest).backward(incoming)
    assert float(smallest.grad) == 1 - 2
    assert float(largest.grad) == 16 - 64
    # 2^floor(0.5 + log2|x|) / |x| between, nothing beyond.
    slopes = torch.tensor([0, 0, 0.25 / 0.3, 2 / 1.5, 0, 0])
    torch.testing.assert_close(values.grad, incoming * slopes)


@pytest.mark.parametrize("bits", range(2, 6))
def test_bits_and_one_end_give_the_other(bits):
    smallest = torch.tensor(2.0**-6, dtype=torch.float64)
    largest = largest_of(torch.tensor(float(bits), dtype=torch.float64), smallest)
    assert float(largest / smallest) == 2 ** (2 ** (bits - 1) - 1)
    assert float(smallest_of(torch.tensor(float(bits)), largest)) == pytest.approx(2**-6)
    assert float(learned_bits(smallest, largest)) == bits


def test_largest_by_bits_has_a_gradient_that_explodes():
    # d largest / d bits = largest ln2 2^(b-1) ln2, doubly exponential in the bits.
    found = []
    for bits in range(2, 6):
        width = scalar(float(bits))
        largest_of(width, torch.tensor(2.0**-8)).backward()
        half = 2 ** (bits - 1)
        assert float(width.grad) == pytest.approx(2.0**-8 * 2 ** (half - 1) * LN2**2 * half)
        found.append(float(width.grad))
    assert found[-1] / found[0] > 2**15


def test_both_ends_share_the_gradient_of_bits():
    smallest, largest = scalar(2.0**-3), scalar(2.0**4)
    fractional_bits(smallest, largest).backward()
    slope = 1 / (8 * LN2) / LN2
    assert float(largest.grad) == pytest.approx(slope / 2**4)
    assert float(smallest.grad) == pytest.approx(-slope / 2**-3)
