"""DQ's power-of-two quantiser: smallest and largest magnitude and bits, two of which are learned.

A value is ``sign * smallest * 2^k`` with ``k`` from 0 to the number of octaves between smallest
and largest, and, where the grid holds zero, zero.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

_TINY = 1e-30
"""Stands for zero under a logarithm."""
_ZERO_BELOW = 2.0**-0.5
"""Share of the smallest magnitude below which a value becomes zero, where the grid holds zero."""


def nearest_powers(magnitudes: Tensor) -> Tensor:
    """``2^floor(1/2 + log2 |x|)``, the nearest power of two by logarithm.

    >>> nearest_powers(torch.tensor([0.7, 0.72, 3.0])).tolist()
    [0.5, 1.0, 4.0]
    """
    return torch.exp2((magnitudes.clamp(min=_TINY).log2() + 0.5).floor())


class _SmallestAndLargest(torch.autograd.Function):
    """Powers of two forward; backward by section 3.2 of the paper, row P3."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, smallest: Tensor, largest: Tensor, signed: bool, zero: bool
    ) -> Tensor:
        magnitudes = values.abs() if signed else values
        between = nearest_powers(magnitudes)
        ctx.save_for_backward(values, smallest, largest, between)
        ctx.signed, ctx.zero = signed, zero
        clipped = torch.minimum(torch.maximum(between, smallest), largest)
        # Without a code for zero, zero takes the positive one.
        found = torch.where(values < 0, -clipped, clipped) if signed else clipped
        return found.masked_fill(magnitudes < _ZERO_BELOW * smallest, 0) if zero else found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        values, smallest, largest, between = ctx.saved_tensors
        magnitudes = values.abs() if ctx.signed else values
        below, above = magnitudes <= smallest, magnitudes > largest
        slope = between / magnitudes.clamp(min=_TINY)
        passed = (gradient * slope).masked_fill(below | above, 0)
        outward = torch.where(values < 0, -gradient, gradient) if ctx.signed else gradient
        if ctx.zero:
            below = below & (magnitudes >= _ZERO_BELOW * smallest)
        return passed, (outward * below).sum(), (outward * above).sum(), None, None


def smallest_and_largest(
    values: Tensor,
    smallest: Tensor,
    largest: Tensor,
    *,
    signed: bool = True,
    zero: bool = False,
) -> Tensor:
    """Quantise to powers of two between two learned magnitudes (parametrisation P3).

    ``dQ/dx`` is 0, ``2^floor(0.5 + log2|x|) / |x|`` and 0 below, between and above; the gradient
    of the smallest magnitude is ``sign(x)`` below and that of the largest ``sign(x)`` above. What
    has become zero gives no gradient to anything.

    Args:
        values: the tensor.
        smallest: magnitude, itself a power of two.
        largest: magnitude, itself a power of two.
        signed: whether there are negative codes; without, negative values go to the least one.
        zero: whether values below ``smallest / sqrt(2)`` become exactly zero, as the authors' code
            has it for activations.

    References:
        S. Uhlich et al., ICLR 2020, section 2.2 and eq. 3.
    """
    found = _SmallestAndLargest.apply(values, smallest, largest, signed, zero)  # type: ignore[no-untyped-call]
    return cast("Tensor", found)


def octaves_of(bits: Tensor, *, signed: bool = True, zero: bool = False) -> Tensor:
    """Octaves from the smallest to the largest magnitude that a width has codes for.

    ``2^(b-1) - 1`` with a sign and without zero, as in the paper. Zero takes a code, of each sign
    where there is one, so that the codes of both signs stay alike.

    >>> octaves_of(torch.tensor(4.0)), octaves_of(torch.tensor(4.0), signed=False, zero=True)
    (tensor(7.), tensor(14.))
    """
    return torch.exp2(bits - int(signed)) - 1 - int(zero)


def octaves_between(smallest: Tensor, largest: Tensor) -> Tensor:
    """Whole octaves between two magnitudes, at least none; straight through the rounding."""
    ratio = (largest / smallest).log2()
    return (ratio + (ratio.round() - ratio).detach()).clamp(min=0)


def fractional_bits(
    smallest: Tensor, largest: Tensor, *, signed: bool = True, zero: bool = False
) -> Tensor:
    """Width of a power-of-two grid before it is rounded up.

    ``log2(log2(largest / smallest) + 1) + 1`` with a sign and without zero. The octaves are
    rounded before the outer logarithm, as the uniform grid's range is: else a ratio of
    ``(1 + 1e-5) 2^(2^(b-1) - 1)`` would be charged with one bit too many.
    """
    octaves = octaves_between(smallest, largest)
    return torch.log2(octaves + 1 + int(zero)) + int(signed)
