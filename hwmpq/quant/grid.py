"""Uniform grids of integer codes and the rounding that training can pass gradients through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from hwmpq.errors import UnsupportedError

TINY_STEP = 1e-12
"""Smallest step: an all-zero tensor keeps a finite step and codes of zero."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The integer codes of a width: every whole number from ``low`` to ``high``."""

    low: int
    high: int

    @property
    def count(self) -> int:
        """Number of codes."""
        return self.high - self.low + 1


def signed_codes(bits: int) -> Codes:
    """Two's complement, ``-2^(b-1) .. 2^(b-1)-1``.

    Raises:
        UnsupportedError: fewer than two bits.

    >>> signed_codes(4)
    Codes(low=-8, high=7)
    """
    high = 2 ** (_at_least(bits, 2) - 1) - 1
    return Codes(-high - 1, high)


def symmetric_codes(bits: int) -> Codes:
    """Symmetric signed codes, ``-(2^(b-1)-1) .. 2^(b-1)-1``.

    Raises:
        UnsupportedError: fewer than two bits.

    >>> symmetric_codes(2)
    Codes(low=-1, high=1)
    """
    high = 2 ** (_at_least(bits, 2) - 1) - 1
    return Codes(-high, high)


def unsigned_codes(bits: int) -> Codes:
    """Codes of a tensor that is never negative, ``0 .. 2^b-1``.

    >>> unsigned_codes(2)
    Codes(low=0, high=3)
    """
    return Codes(0, 2 ** _at_least(bits, 1) - 1)


def activation_codes(bits: int, *, signed: bool) -> Codes:
    """Symmetric codes, or unsigned ones for an activation that is never negative.

    >>> activation_codes(2, signed=True), activation_codes(2, signed=False)
    (Codes(low=-1, high=1), Codes(low=0, high=3))
    """
    return symmetric_codes(bits) if signed else unsigned_codes(bits)


def _at_least(bits: int, least: int) -> int:
    if bits < least:
        kind = "signed" if least == 2 else "unsigned"
        msg = (
            f"a uniform {kind} grid needs at least {least} bits, but got {bits}; "
            "leave narrower widths out of the candidates"
        )
        raise UnsupportedError(msg)
    return bits


def to_codes(values: Tensor, step: Tensor, codes: Codes) -> Tensor:
    """Nearest codes as whole-valued floats: ``round(clip(values / step, low, high))``."""
    return torch.div(values, step).clamp_(codes.low, codes.high).round_()


class _StraightThrough(torch.autograd.Function):
    """Grid values forward, identity backward, inside the grid's range and outside."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor, step: Tensor, codes: Codes) -> Tensor:
        return to_codes(values, step, codes).mul_(step)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


def straight_through(values: Tensor, step: Tensor, codes: Codes) -> Tensor:
    """Round to a grid whose step is a given constant; the gradient passes unchanged.

    The result is exactly ``step * code``: adding the rounding error to the input instead, as is
    often done, would leave values an ulp beside the grid.
    """
    return cast("Tensor", _StraightThrough.apply(values, step, codes))  # type: ignore[no-untyped-call]
