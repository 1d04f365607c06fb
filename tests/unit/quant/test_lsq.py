from __future__ import annotations

from math import sqrt

import pytest
import torch

from hwmpq.errors import UnsupportedError
from hwmpq.quant.grid import Codes, signed_codes, unsigned_codes
from hwmpq.quant.lsq import LsqQuantizer, initial_step, learned_step, step_gradient_scale


@pytest.mark.parametrize("codes", [signed_codes(3), unsigned_codes(3)])
def test_gradients_equal_the_closed_forms(codes):
    generator = torch.Generator().manual_seed(1)
    # Wide enough for values beyond both ends of the range.
    values = (torch.randn(500, generator=generator, dtype=torch.float64) * 2).requires_grad_()
    step = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    incoming = torch.randn(500, generator=generator, dtype=torch.float64)
    scale = step_gradient_scale(500, codes)
    learned_step(values, step, codes, scale).backward(incoming)

    scaled = (values / step).detach()
    below, above = scaled < codes.low, scaled > codes.high
    assert below.any()
    assert above.any()
    inside = ~(below | above)
    slope = torch.where(inside, scaled.round() - scaled, 0.0)
    slope = torch.where(below, float(codes.low), slope)
    slope = torch.where(above, float(codes.high), slope)
    assert values.grad is not None
    assert step.grad is not None
    assert torch.equal(values.grad, incoming * inside)
    assert float(step.grad) == pytest.approx(scale * float((slope * incoming).sum()), rel=1e-12)


def test_step_gradient_is_scaled_by_exactly_one_over_root_n_qp():
    values = torch.randn(64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    codes = signed_codes(4)
    found = []
    for scale in (1.0, step_gradient_scale(64, codes)):
        step = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        learned_step(values, step, codes, scale).sum().backward()
        assert step.grad is not None
        found.append(float(step.grad))
    assert found[1] / found[0] == pytest.approx(1 / sqrt(64 * 7), rel=1e-12)


def test_a_step_starts_from_the_first_tensor():
    values = torch.tensor([1.0, -3.0])
    quantizer = LsqQuantizer([2, 4], 4, signed=True)
    quantizer(values)
    assert quantizer.learned(4).item() == pytest.approx(2 * 2 / sqrt(7))
    assert quantizer.learned(2).item() == 0
    assert float(initial_step(torch.zeros(3), Codes(-8, 7))) > 0


def test_each_width_keeps_its_own_step():
    quantizer = LsqQuantizer([2, 4], 4, signed=True)
    values = torch.randn(100, generator=torch.Generator().manual_seed(3))
    quantizer(values)
    four = quantizer.learned(4).item()
    quantizer.set_bits(2)
    quantizer(values).sum().backward()
    assert quantizer.learned(2).item() > four
    assert quantizer.learned(4).grad is None
    quantizer.set_bits(4)
    assert float(quantizer.grid(values).step) == four


def test_a_negative_step_is_brought_back():
    quantizer = LsqQuantizer([4], 4, signed=True)
    values = torch.ones(3)
    quantizer(values)
    with torch.no_grad():
        quantizer.learned(4).fill_(-0.5)
    assert float(quantizer.grid(values).step) == pytest.approx(1e-5)


def test_activations_scale_by_the_features_of_one_sample():
    codes = unsigned_codes(4)
    values = torch.rand(8, 5, generator=torch.Generator().manual_seed(4))
    per_sample = LsqQuantizer([4], 4, signed=False, per_sample=True)
    per_sample(values).sum().backward()
    whole = LsqQuantizer([4], 4, signed=False)
    whole(values).sum().backward()
    first, second = per_sample.learned(4).grad, whole.learned(4).grad
    assert first is not None
    assert second is not None
    ratio = step_gradient_scale(5, codes) / step_gradient_scale(40, codes)
    assert float(first / second) == pytest.approx(ratio, rel=1e-5)


def test_a_width_without_step_is_refused():
    quantizer = LsqQuantizer([2, 4], 4, signed=True)
    with pytest.raises(UnsupportedError, match=r"holds steps for \[2, 4\] bits, but got 3"):
        quantizer.set_bits(3)
