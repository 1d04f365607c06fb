"""DQ's power-of-two quantiser: smallest and largest value and bits, two of which are learned."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hwmpq.quant.step_range import whole_bits


class _SmallestAndLargest(torch.autograd.Function):
    """Signed powers of two forward; backward by section 3.2 of the paper, row P3."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, smallest: Tensor, largest: Tensor) -> Tensor:
        magnitudes = values.abs()
        between = torch.exp2((magnitudes.clamp(min=1e-30).log2() + 0.5).floor())
        ctx.save_for_backward(values, smallest, largest, between)
        clipped = torch.minimum(torch.maximum(between, smallest), largest)
        # Zero has no sign of its own and takes the positive code.
        return torch.where(values < 0, -clipped, clipped)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gradient = gradients[0]
        values, smallest, largest, between = ctx.saved_tensors
        magnitudes = values.abs()
        below, above = magnitudes <= smallest, magnitudes > largest
        inside = ~(below | above)
        signed = torch.where(values < 0, -gradient, gradient)
        slope = between / magnitudes.clamp(min=1e-30)
        return gradient * inside * slope, (signed * below).sum(), (signed * above).sum()


def smallest_and_largest(values: Tensor, smallest: Tensor, largest: Tensor) -> Tensor:
    """Quantise to signed powers of two between two learned magnitudes (parametrisation P3).

    ``dQ/dx`` is 0, ``2^floor(0.5 + log2|x|) / |x|`` and 0 below, between and above; the gradient
    of the smallest magnitude is ``sign(x)`` below and that of the largest ``sign(x)`` above.

    References:
        S. Uhlich et al., ICLR 2020, section 2.2 and eq. 3.
    """
    return cast("Tensor", _SmallestAndLargest.apply(values, smallest, largest))  # type: ignore[no-untyped-call]


def largest_of(bits: Tensor, smallest: Tensor) -> Tensor:
    """Largest magnitude of P2 (bits, smallest), ``2^(2^(b-1) - 1) smallest``."""
    return smallest * torch.exp2(torch.exp2(bits - 1) - 1)


def smallest_of(bits: Tensor, largest: Tensor) -> Tensor:
    """Smallest magnitude of P1 (bits, largest), ``2^-(2^(b-1) - 1) largest``."""
    return largest * torch.exp2(1 - torch.exp2(bits - 1))


def fractional_bits(smallest: Tensor, largest: Tensor) -> Tensor:
    """Width of a power-of-two grid with sign, ``log2(log2(largest / smallest) + 1) + 1``."""
    ratio = (largest / smallest).log2()
    octaves = ratio + (ratio.round() - ratio).detach()
    return torch.log2(octaves + 1) + 1


def learned_bits(smallest: Tensor, largest: Tensor) -> Tensor:
    """Rounded up, identity backward."""
    return whole_bits(fractional_bits(smallest, largest))
