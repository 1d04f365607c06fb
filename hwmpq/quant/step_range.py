"""DQ's uniform quantiser: step, range and bits, of which any two are learned.

Every parametrisation computes its step and range from what it learns and hands them to one
function; the chain rule does the rest. Only step and range have gradients that stay bounded and
never act together.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hwmpq.quant.grid import Codes, to_codes

_BELOW_WHOLE = 1e-6
"""Keeps the logarithm of a whole power of two from being rounded up to the next bit."""


class _StepAndRange(torch.autograd.Function):
    """Grid values forward; backward by table 3.1 of the paper, row U3."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, _limit: Tensor, codes: Codes) -> Tensor:
        quantised = to_codes(values, step, codes).mul_(step)
        ctx.save_for_backward(values, step, quantised)
        ctx.codes = codes
        return quantised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gradient = gradients[0]
        values, step, quantised = ctx.saved_tensors
        above = values > ctx.codes.high * step
        below = values < ctx.codes.low * step
        inside = ~(above | below)
        error = (quantised - values) * inside
        step_gradient = (gradient * error).sum() / step
        limit_gradient = (gradient * above).sum()
        if ctx.codes.low < 0:
            limit_gradient = limit_gradient - (gradient * below).sum()
        return gradient * inside, step_gradient, limit_gradient, None


def step_and_range(values: Tensor, step: Tensor, limit: Tensor, codes: Codes) -> Tensor:
    """Quantise with a step and a range that learn (parametrisation U3).

    With ``q`` the largest value of the grid, ``dQ/dx`` is 1 where ``|x| <= q`` and 0 outside,
    ``dQ/dstep`` is ``(Q - x) / step`` inside and 0 outside, ``dQ/drange`` is 0 inside and
    ``sign(x)`` outside. An unsigned grid sends negative values to zero, where nothing learns.

    Args:
        values: the tensor.
        step: of the grid.
        limit: the range; takes part through its gradient only, since the grid ends at its last
            whole code.
        codes: of the grid.

    References:
        S. Uhlich et al., "Mixed Precision DNNs: All you need is a good parametrization", ICLR
        2020, eq. 1, 2 and 5, and the authors' code for the range that is no multiple of the step.
    """
    return cast("Tensor", _StepAndRange.apply(values, step, limit, codes))  # type: ignore[no-untyped-call]


def _whole(values: Tensor) -> Tensor:
    """Nearest whole number, identity backward."""
    return values + (values.round() - values).detach()


def power_of_two(values: Tensor) -> Tensor:
    """Nearest power of two by logarithm, ``2^round(log2 v)``; identity backward.

    In the authors' code the gradient comes out as ``2^round(log2 v) / v``, between 0.71 and 1.41.
    """
    return values + (torch.exp2(values.log2().round()) - values).detach()


def codes_above_zero(step: Tensor, limit: Tensor) -> Tensor:
    """Codes on one side of zero, ``round(range / step)``, at least one; straight through."""
    return _whole(limit / step).clamp(min=1)


def fractional_bits(step: Tensor, limit: Tensor, *, signed: bool) -> Tensor:
    """Width that a grid needs, before it is rounded up.

    ``log2(k + 1)``, and one for the sign, with ``k = round(range / step)``. The range is rounded
    to the grid first: the paper's formula leaves that out and would charge a layer of
    ``range = (1 + 1e-5) (2^(b-1) - 1) step`` with one bit too many.
    """
    return torch.log2(codes_above_zero(step, limit) + 1) + int(signed)


def whole_bits(fractional: Tensor) -> Tensor:
    """Rounded up, identity backward."""
    return fractional + ((fractional - _BELOW_WHOLE).ceil() - fractional).detach()


def full_range(bits: Tensor, *, signed: bool) -> Tensor:
    """Codes on one side of zero that a width allows, ``2^(b-1) - 1``, or ``2^b - 1`` unsigned."""
    return torch.exp2(bits - int(signed)) - 1


def range_of(bits: Tensor, step: Tensor, *, signed: bool) -> Tensor:
    """Range of parametrisation U1, ``(2^(b-1) - 1) step``."""
    return full_range(bits, signed=signed) * step


def step_of(bits: Tensor, limit: Tensor, *, signed: bool) -> Tensor:
    """Step of parametrisation U2, ``range / (2^(b-1) - 1)``."""
    return limit / full_range(bits, signed=signed)
