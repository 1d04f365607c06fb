"""DQ's uniform quantiser: step, range and bits, of which any two are learned.

Every parametrisation computes its step and range from what it learns and hands them to one
function; the chain rule does the rest. Only step and range have gradients that stay bounded and
never act together.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

_BELOW_WHOLE = 1e-6
"""Keeps the logarithm of a whole power of two from being rounded up to the next bit."""


class _StepAndRange(torch.autograd.Function):
    """Grid values forward; backward by table 3.1 of the paper, row U3."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, step: Tensor, _limit: Tensor, high: Tensor, signed: bool
    ) -> Tensor:
        low = -high if signed else torch.zeros_like(high)
        quantised = torch.div(values, step).clamp_(low, high).round_().mul_(step)
        ctx.save_for_backward(values, step, quantised, low, high)
        return quantised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        values, step, quantised, low, high = ctx.saved_tensors
        above = values > high * step
        below = values < low * step
        inside = ~(above | below)
        error = (quantised - values) * inside
        step_gradient = (gradient * error).sum() / step
        # Of an unsigned grid the lower end is zero at any range: its sign is zero.
        limit_gradient = (gradient * above).sum() + low.sign() * (gradient * below).sum()
        return gradient * inside, step_gradient, limit_gradient, None, None


def step_and_range(
    values: Tensor, step: Tensor, limit: Tensor, high: Tensor, *, signed: bool
) -> Tensor:
    """Quantise with a step and a range that learn (parametrisation U3).

    With ``q`` the largest value of the grid, ``dQ/dx`` is 1 where ``|x| <= q`` and 0 outside,
    ``dQ/dstep`` is ``(Q - x) / step`` inside and 0 outside, ``dQ/drange`` is 0 inside and
    ``sign(x)`` outside. An unsigned grid sends negative values to zero, where nothing learns.

    Args:
        values: the tensor.
        step: of the grid.
        limit: the range; takes part through its gradient only, since the grid ends at its last
            whole code.
        high: the last code, a scalar on the device of the values: reading it there would make
            each pass wait.
        signed: whether the grid is symmetric, or begins at zero.

    References:
        S. Uhlich et al., "Mixed Precision DNNs: All you need is a good parametrization", ICLR
        2020, eq. 1, 2 and 5, and the authors' code for the range that is no multiple of the step.
    """
    found = _StepAndRange.apply(values, step, limit, high, signed)  # type: ignore[no-untyped-call]
    return cast("Tensor", found)


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
    """Codes on one side of zero that a width allows, ``2^(b-1) - 1``, or ``2^b - 1`` unsigned.

    With bits and step learned (U1) the range is so many steps; with bits and range (U2) the step
    is the range over so many.
    """
    return torch.exp2(bits - int(signed)) - 1
