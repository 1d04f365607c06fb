"""Symmetric uniform weights whose step is a statistic of the tensor, recomputed in every pass."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.grid import TINY_STEP, Codes, straight_through, symmetric_codes


def max_step(values: Tensor, codes: Codes) -> Tensor:
    """Step that puts the largest magnitude on the last code, ``max|W| / (2^(q-1)-1)``.

    References:
        S. Kundu et al., "BMPQ", DATE 2022, arXiv:2112.13843, as reconstructed in
        ``docs/models/bmpq.md``.
    """
    return (values.abs().amax() / codes.high).clamp_(min=TINY_STEP)


def mean_step(values: Tensor, codes: Codes) -> Tensor:
    """Step from the mean magnitude, ``2 mean|W| / sqrt(2^(q-1)-1)``.

    The same law that starts LSQ's learned step; larger weights saturate. At two bits the step by
    the maximum rounds nearly all weights to zero, this one does not.

    References:
        S. K. Esser et al., "Learned Step Size Quantization", ICLR 2020, section 2.1.
    """
    return (values.abs().mean() * (2 / sqrt(codes.high))).clamp_(min=TINY_STEP)


class SymmetricQuantizer(FakeQuantizer):
    """Symmetric codes at a step that is not learned; the gradient passes unchanged.

    Args:
        bits: width to start with.
        narrow_bits: up to this width the step follows the mean magnitude, above it the maximum.
            Zero is the step by the maximum at every width.
    """

    needs_stored = True

    def __init__(self, bits: int, *, narrow_bits: int = 0) -> None:
        self.narrow_bits = narrow_bits
        super().__init__(bits, signed=True)

    def codes_at(self, bits: int) -> Codes:
        """Symmetric codes, without the most negative one of two's complement."""
        return symmetric_codes(bits)

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """Step from the tensor's maximum or mean magnitude."""
        law = mean_step if bits <= self.narrow_bits else max_step
        return law(values, self.codes_at(bits))

    def quantize(self, values: Tensor) -> Tensor:
        """Round to the grid, identity backward."""
        with torch.no_grad():
            step = self.step_at(self.bits, values)
        return straight_through(values, step, self.codes_at(self.bits))
