from __future__ import annotations

import pytest
import torch

from hwmpq.quant.grid import symmetric_codes, unsigned_codes
from hwmpq.quant.pact import PactQuantizer, learned_clip


def test_unsigned_gradients_go_inside_to_the_input_and_above_to_the_clip():
    values = torch.tensor([-1.0, 0.2, 0.9, 2.0, 3.0], requires_grad=True)
    clip = torch.tensor(1.0, requires_grad=True)
    incoming = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    learned_clip(values, clip, unsigned_codes(4)).backward(incoming)
    assert values.grad is not None
    assert clip.grad is not None
    assert values.grad.tolist() == [0, 2, 3, 0, 0]
    assert float(clip.grad) == pytest.approx(9, rel=1e-5)


def test_signed_gradients_count_both_ends():
    values = torch.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    clip = torch.tensor(1.0, requires_grad=True)
    learned_clip(values, clip, symmetric_codes(4)).backward(torch.tensor([1.0, 2.0, 3.0, 5.0]))
    assert values.grad is not None
    assert clip.grad is not None
    assert values.grad.tolist() == [0, 2, 3, 0]
    assert float(clip.grad) == pytest.approx(4, rel=1e-5)


def test_values_are_multiples_of_clip_over_the_last_code():
    quantised = learned_clip(torch.tensor([0.4, 2.0]), torch.tensor(1.5), unsigned_codes(2))
    assert quantised.tolist() == [0.5, 1.5]


def test_the_clip_starts_at_the_largest_magnitude_and_survives_a_change_of_width():
    quantizer = PactQuantizer(4, signed=False)
    quantizer(torch.tensor([0.0, 3.0, 1.0]))
    assert quantizer.clip.item() == 3
    quantizer.set_bits(2)
    assert float(quantizer.grid(torch.zeros(1)).step) == 1


def test_a_clip_driven_below_zero_is_brought_back():
    quantizer = PactQuantizer(4, signed=False)
    quantizer(torch.ones(2))
    with torch.no_grad():
        quantizer.clip.fill_(-1.0)
    assert bool((quantizer(torch.ones(2)) > 0).all())


@pytest.mark.parametrize(("signed", "count"), [(False, 4), (True, 3)])
def test_number_of_values(signed, count):
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert PactQuantizer(2, signed=signed)(values).unique().numel() == count


def test_the_clip_s_gradient_is_exact_in_large_tensors_and_beside_infinity():
    values = torch.rand(1 << 22, generator=torch.Generator().manual_seed(0)) * 0.9
    values[:10] = 2.0
    values[10] = float("inf")
    clip = torch.tensor(1.0, requires_grad=True)
    weights = torch.full_like(values, 1e-3)
    learned_clip(values, clip, unsigned_codes(4)).backward(weights)
    assert clip.grad is not None
    assert float(clip.grad) == pytest.approx(11e-3, rel=1e-5)
