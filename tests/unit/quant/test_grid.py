from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.errors import UnsupportedError
from hwmpq.quant.grid import (
    Codes,
    signed_codes,
    straight_through,
    symmetric_codes,
    to_codes,
    unsigned_codes,
)


def test_codes_of_four_bits():
    assert signed_codes(4) == Codes(-8, 7)
    assert symmetric_codes(4) == Codes(-7, 7)
    assert unsigned_codes(4) == Codes(0, 15)
    assert signed_codes(4).count == 16


@pytest.mark.parametrize("codes", [signed_codes, symmetric_codes])
def test_one_signed_bit_is_refused_with_a_way_out(codes):
    with pytest.raises(UnsupportedError, match=r"at least 2 bits, but got 1; leave"):
        codes(1)


def test_values_go_to_the_nearest_code_and_saturate():
    values = torch.tensor([-9.0, -1.3, -0.2, 0.3, 0.8, 5.0])
    codes = to_codes(values, torch.tensor(0.5), Codes(-3, 3))
    assert codes.tolist() == [-3, -3, 0, 1, 2, 3]


def test_straight_through_is_exactly_step_times_code():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4096, generator=generator)
    step = torch.tensor(0.1)
    quantised = straight_through(values, step, Codes(-7, 7))
    assert torch.equal(quantised, to_codes(values, step, Codes(-7, 7)) * step)
    assert quantised.unique().numel() == 15


def test_straight_through_passes_the_gradient_even_outside_the_range():
    values = torch.tensor([-5.0, 0.1, 5.0], requires_grad=True)
    gradient = torch.tensor([1.0, 2.0, 3.0])
    straight_through(values, torch.tensor(0.5), Codes(-1, 1)).backward(gradient)
    assert values.grad is not None
    assert torch.equal(values.grad, gradient)


@given(
    bits=st.integers(2, 8),
    step=st.floats(1e-3, 10),
    values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20),
)
@settings(max_examples=50, deadline=None)
def test_error_is_at_most_half_a_step_inside_the_range(bits, step, values):
    codes = symmetric_codes(bits)
    tensor, scale = torch.tensor(values, dtype=torch.float64), torch.tensor(step).double()
    inside = tensor.abs() <= scale * codes.high
    error = (straight_through(tensor, scale, codes) - tensor).abs()
    assert bool((error[inside] <= scale / 2 * (1 + 1e-9)).all())
