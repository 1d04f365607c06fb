"""DQ's uniform grid as a module."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hwmpq.quant.base import Grid
from hwmpq.quant.grid import Codes, symmetric_codes, unsigned_codes
from hwmpq.quant.learned_grid import LARGEST_STEP, SMALLEST, GridSettings, LearnedGrid
from hwmpq.quant.step_range import (
    codes_above_zero,
    fractional_bits,
    full_range,
    power_of_two,
    step_and_range,
)

_APART: Final = 1e-5
_FLOOR_UP_TO: Final = 4
"""Up to this width the first step is rounded down to a power of two, above it up."""
_SETTINGS: Final = GridSettings()


class LearnedUniform(LearnedGrid):
    """A uniform grid whose width is learned.

    Args:
        bits: width to start with; held until `learn` is called.
        signed: whether the tensor may be negative.
        settings: what is learned, and how wide.
        power_of_two_step: whether the step in force is the nearest power of two.
    """

    def __init__(
        self,
        bits: int,
        *,
        signed: bool,
        settings: GridSettings = _SETTINGS,
        power_of_two_step: bool = True,
    ) -> None:
        self.power_of_two_step = power_of_two_step
        super().__init__(bits, signed=signed, settings=settings)

    def codes_at(self, bits: int) -> Codes:
        """All codes of a width, symmetric or unsigned."""
        return symmetric_codes(bits) if self.signed else unsigned_codes(bits)

    def reach(self, bits: Tensor) -> Tensor:
        """Codes on one side of zero."""
        return full_range(bits, signed=self.signed)

    def bits_between(self, step: Tensor, limit: Tensor) -> Tensor:
        """``log2(range / step + 1)``, and one for the sign."""
        return fractional_bits(step, limit, signed=self.signed)

    def step_in_force(self, step: Tensor) -> Tensor:
        """The nearest power of two, unless steps are free."""
        return power_of_two(step) if self.power_of_two_step else step

    def range_in_force(self, limit: Tensor) -> Tensor:
        """The range itself; the grid ends at the code nearest to it."""
        return limit

    def first_grid(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The authors' start from a float network: a step that covers about the maximum.

        Theirs starts activations at a step of an eighth; here they start like weights.
        """
        high = self.codes_at(self.bits).high
        exponent = (values.abs().amax().clamp(min=SMALLEST) / high).log2()
        rounded = exponent.floor() if self.bits <= _FLOOR_UP_TO else exponent.ceil()
        step = torch.exp2(rounded).clamp(SMALLEST, LARGEST_STEP)
        return step, step * high

    def project_pair(self, most_bits: int) -> None:
        """A width above the limit costs resolution, not range."""
        self.learned_step.clamp_(min=self.learned_range / self.codes_at(most_bits).high)
        self.learned_range.clamp_(min=self.learned_step + _APART)

    def give_up(self, bits: int) -> None:
        """Range and resolution alike."""
        excess = codes_above_zero(*self.grid_parameters()) / self.codes_at(bits).high
        factor = excess.clamp(min=1).sqrt()
        self.learned_step.mul_(factor)
        self.learned_range.div_(factor)

    def grid(self, values: Tensor) -> Grid:
        """The grid in force; it may end before the width's last code."""
        with torch.no_grad():
            self.start(values)
            step, limit = self.grid_parameters()
            high = int(self._high(step, limit))
            return Grid(step.detach(), Codes(-high if self.signed else 0, high))

    def _high(self, step: Tensor, limit: Tensor) -> Tensor:
        """The last code in force."""
        whole = self.codes_at(self.widest_in_force).high
        return codes_above_zero(step, limit).detach().clamp(max=whole)

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """The step in force; at another width, the step of the same range."""
        grid = self.grid(values)
        if bits == self.bits:
            return grid.step
        return grid.step * grid.codes.high / self.codes_at(bits).high

    def quantize(self, values: Tensor) -> Tensor:
        """Quantise; gradients go to the tensor and to the two parameters."""
        self.start(values)
        step, limit = self.grid_parameters()
        return step_and_range(values, step, limit, self._high(step, limit), signed=self.signed)
