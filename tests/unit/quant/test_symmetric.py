from __future__ import annotations

import pytest
import torch

from hwmpq.quant.grid import symmetric_codes
from hwmpq.quant.symmetric import SymmetricQuantizer, max_step, mean_step


def test_largest_magnitude_lands_on_the_last_code():
    # max|W| = 1.4 on 2^(3-1)-1 = 3 positive codes: step 1.4 / 3.
    weights = torch.tensor([0.1, -1.4, 0.7])
    assert float(max_step(weights, symmetric_codes(3))) == pytest.approx(1.4 / 3)
    assert SymmetricQuantizer(3).codes(weights).tolist() == [0, -3, 2]


def test_two_bits_by_the_maximum_round_most_gaussian_weights_to_zero_and_by_the_mean_do_not():
    weights = torch.randn(10000, generator=torch.Generator().manual_seed(0))
    by_maximum = SymmetricQuantizer(2).codes(weights)
    by_mean = SymmetricQuantizer(2, narrow_bits=2).codes(weights)
    assert float((by_maximum == 0).float().mean()) > 0.9
    # Half a step is mean|W| = 0.798 sigma: 57.5 % of a Gaussian lies below.
    assert float((by_mean == 0).float().mean()) == pytest.approx(0.575, abs=0.02)


def test_mean_step_is_twice_the_mean_over_the_root_of_the_last_code():
    weights = torch.tensor([1.0, -3.0])
    assert float(mean_step(weights, symmetric_codes(3))) == pytest.approx(2 * 2 / 3**0.5)


def test_an_all_zero_tensor_stays_zero():
    quantizer = SymmetricQuantizer(4)
    assert torch.equal(quantizer(torch.zeros(5)), torch.zeros(5))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_at_most_two_to_the_bits_values(bits):
    weights = torch.randn(5000, generator=torch.Generator().manual_seed(bits))
    assert SymmetricQuantizer(bits, narrow_bits=2)(weights).unique().numel() <= 2**bits - 1


def test_gradient_is_the_identity():
    weights = torch.randn(50, requires_grad=True)
    gradient = torch.randn(50)
    SymmetricQuantizer(3, narrow_bits=3)(weights).backward(gradient)
    assert weights.grad is not None
    assert torch.equal(weights.grad, gradient)
