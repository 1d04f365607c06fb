"""DQ's power-of-two grid as a module.

Its step is the smallest magnitude and its range the largest one; both are powers of two in force,
as the paper's hardware has it, and so is everything between.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hwmpq.quant.base import Grid
from hwmpq.quant.fixed_powers import FixedPowers, PowerCodes, integer_codes
from hwmpq.quant.grid import Codes
from hwmpq.quant.learned_grid import LARGEST_STEP, SMALLEST, GridSettings, LearnedGrid
from hwmpq.quant.power_of_two import (
    fractional_bits,
    octaves_between,
    octaves_of,
    smallest_and_largest,
)
from hwmpq.quant.step_range import power_of_two

MOST_BITS: Final = 6
"""The authors' bounds lie 15 octaves apart, 16 without sign: no grid has use for more bits."""
_SETTINGS: Final = GridSettings()


class LearnedPowers(LearnedGrid):
    """A power-of-two grid whose width is learned.

    Args:
        bits: width to start with; held until `learn` is called.
        signed: whether the tensor may be negative.
        zero: whether a code is spent on exact zero, as for activations.
        settings: what is learned, and how wide; beyond `MOST_BITS` nothing is learned.
    """

    def __init__(
        self, bits: int, *, signed: bool, zero: bool, settings: GridSettings = _SETTINGS
    ) -> None:
        self.zero = zero
        super().__init__(bits, signed=signed, settings=settings)

    def _octaves(self, bits: int) -> int:
        """Octaves that a width has codes for, of those that lie between the bounds."""
        width = torch.tensor(float(min(bits, MOST_BITS)))
        return int(octaves_of(width, signed=self.signed, zero=self.zero))

    def codes_at(self, bits: int) -> Codes:
        """First and last integer multiple of the smallest magnitude; not all between are codes.

        Raises:
            UnsupportedError: too narrow for a sign and a magnitude.
        """
        return integer_codes(bits, self._octaves(bits), signed=self.signed)

    def reach(self, bits: Tensor) -> Tensor:
        """``2^octaves``."""
        return torch.exp2(octaves_of(bits, signed=self.signed, zero=self.zero))

    def bits_between(self, step: Tensor, limit: Tensor) -> Tensor:
        """``log2(octaves + 1)``, and one for the sign; zero counts as a magnitude."""
        return fractional_bits(step, limit, signed=self.signed, zero=self.zero)

    def step_in_force(self, step: Tensor) -> Tensor:
        """The nearest power of two."""
        return power_of_two(step)

    def range_in_force(self, limit: Tensor) -> Tensor:
        """The nearest power of two."""
        return power_of_two(limit)

    def first_grid(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The largest magnitude is the power of two nearest to the maximum."""
        limit = power_of_two(values.abs().amax().clamp(min=SMALLEST))
        step = torch.ldexp(limit, torch.tensor(-self._octaves(self.bits), device=limit.device))
        return step.clamp(SMALLEST, LARGEST_STEP), limit

    def project_pair(self, most_bits: int) -> None:
        """What is beyond a width is taken from the small magnitudes."""
        self.learned_step.clamp_(min=self.learned_range / 2.0 ** self._octaves(most_bits))
        self.learned_range.clamp_(min=self.learned_step)

    def give_up(self, bits: int) -> None:
        """The small magnitudes, as projecting at the width does."""

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest magnitude in force, no further apart than the width has codes."""
        step, limit = self.grid_parameters()
        nearest = limit.detach() / 2.0 ** self._octaves(self.widest_in_force)
        # Rounding both by logarithm may have moved them an octave apart.
        least = torch.maximum(step.detach(), nearest)
        return step + (least - step).detach(), limit

    def grid(self, values: Tensor) -> Grid:
        """The grid in force as multiples of its smallest magnitude."""
        with torch.no_grad():
            self.start(values)
            smallest, largest = self._ends()
            octaves = int(octaves_between(smallest, largest))
            return Grid(smallest, integer_codes(self.bits, octaves, signed=self.signed))

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """The smallest magnitude in force; at another width, that of the same range."""
        grid = self.grid(values)
        if bits == self.bits:
            return grid.step
        return grid.step * (grid.codes.high / 2.0 ** self._octaves(bits))

    def at_rest(self, values: Tensor) -> FixedPowers:
        """The same grid with its ends as constants."""
        grid = self.grid(values)
        first = int(grid.step.log2())
        last = first + grid.codes.high.bit_length() - 1
        return FixedPowers(self.bits, (first, last), signed=self.signed, zero=self.zero)

    def codes(self, values: Tensor) -> Tensor:
        """Integer multiples of the smallest magnitude: a sign times a power of two, or zero."""
        return self.at_rest(values).codes(values)

    def exponents(self, values: Tensor) -> PowerCodes:
        """Signs and exponents of a tensor, as hardware would store them."""
        return self.at_rest(values).exponents(values)

    def quantize(self, values: Tensor) -> Tensor:
        """Quantise; gradients go to the tensor and to the two parameters."""
        self.start(values)
        smallest, largest = self._ends()
        return smallest_and_largest(values, smallest, largest, signed=self.signed, zero=self.zero)
