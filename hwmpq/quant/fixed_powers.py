"""A power-of-two quantiser at rest: how a trained network is saved, and what its codes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor

from hwmpq.errors import UnsupportedError
from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.fixed import require_kept_bits
from hwmpq.quant.grid import Codes
from hwmpq.quant.power_of_two import smallest_and_largest

EXPONENTS: Final = "exponent_range"
"""Buffer that tells a saved power-of-two grid from a uniform one."""


@dataclass(frozen=True, slots=True, eq=False)
class PowerCodes:
    """A tensor as signs and exponents, ``sign * 2^exponent``.

    Attributes:
        signs: -1, 0 or 1; 0 is exact zero.
        exponents: of two; that of a zero is the least of the grid and means nothing.
        packed: both in one whole number below ``2^bits``. The sign is the highest bit; below it
            is the exponent less the least one, plus one where the grid holds zero, which is 0.
    """

    signs: Tensor
    exponents: Tensor
    packed: Tensor

    def values(self) -> Tensor:
        """The numbers that they stand for."""
        return torch.ldexp(self.signs.to(torch.get_default_dtype()), self.exponents)


def integer_codes(bits: int, octaves: int, *, signed: bool) -> Codes:
    """First and last code as multiples of the smallest magnitude.

    Raises:
        UnsupportedError: too few bits for a sign and a magnitude.

    >>> integer_codes(4, 7, signed=True)
    Codes(low=-128, high=128)
    """
    least = 2 if signed else 1
    if bits < least:
        kind = "a sign and a magnitude" if signed else "a magnitude"
        msg = (
            f"a power-of-two grid needs at least {least} bits for {kind}, but got {bits}; leave "
            "narrower widths out of the candidates"
        )
        raise UnsupportedError(msg)
    high = 2**octaves
    return Codes(-high if signed else 0, high)


class FixedPowers(FakeQuantizer):
    """A power-of-two grid that no longer changes.

    Exponents and flags are buffers, so a saved state holds the whole grid.

    Args:
        bits: width.
        ends: exponents of the smallest and of the largest magnitude.
        signed: whether there are negative codes.
        zero: whether there is a code for zero.
    """

    def __init__(self, bits: int, ends: tuple[int, int], *, signed: bool, zero: bool) -> None:
        self._octaves = ends[1] - ends[0]
        self.zero = zero
        super().__init__(bits, signed=signed)
        self.register_buffer(EXPONENTS, torch.tensor(ends))
        self.register_buffer("sign_and_zero", torch.tensor([signed, zero]))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *arguments: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        first, last = cast("Tensor", self.exponent_range).tolist()
        self._octaves = last - first
        self.signed, self.zero = cast("Tensor", self.sign_and_zero).tolist()

    def codes_at(self, bits: int) -> Codes:
        """First and last code as multiples of the smallest magnitude.

        Raises:
            UnsupportedError: another width than the stored one.
        """
        require_kept_bits(self, bits)
        return integer_codes(bits, self._octaves, signed=self.signed)

    def _ends(self, values: Tensor) -> tuple[Tensor, Tensor]:
        ends = torch.exp2(cast("Tensor", self.exponent_range).to(values))
        return ends[0], ends[1]

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """The smallest magnitude."""
        del bits
        return self._ends(values)[0]

    def quantize(self, values: Tensor) -> Tensor:
        """Round to the stored grid, with the quantiser's gradient."""
        smallest, largest = self._ends(values)
        return smallest_and_largest(values, smallest, largest, signed=self.signed, zero=self.zero)

    def codes(self, values: Tensor) -> Tensor:
        """Integer multiples of the smallest magnitude: a sign times a power of two, or zero."""
        with torch.no_grad():
            quantised = self.quantize(values)
            return (quantised / self._ends(values)[0]).round().to(torch.int64)

    def exponents(self, values: Tensor) -> PowerCodes:
        """Signs and exponents of a tensor, as hardware would store them."""
        multiples = self.codes(values)
        above = multiples.abs().clamp(min=1).to(torch.float64).log2().to(torch.int64)
        signs = multiples.sign()
        stored = torch.where(signs == 0, 0, above + int(self.zero))
        sign_bit = (signs < 0) * 2 ** (self.bits - 1)
        first = cast("Tensor", self.exponent_range)[0]
        return PowerCodes(signs, above + first, stored + sign_bit)
