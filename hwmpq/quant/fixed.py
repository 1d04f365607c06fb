"""A quantiser at rest: a stored step, the form in which every trained network is saved."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from hwmpq.errors import UnsupportedError
from hwmpq.quant.base import FakeQuantizer, Grid
from hwmpq.quant.grid import Codes, straight_through, unsigned_codes


def require_kept_bits(quantizer: FakeQuantizer, bits: int) -> None:
    """Check that a quantiser at rest is asked for the width that it holds.

    Raises:
        UnsupportedError: another width; before it has one, none is.
    """
    held = getattr(quantizer, "bits", bits)
    if bits != held:
        msg = f"a finished network keeps its bits: the layer has {held}, but got {bits}"
        raise UnsupportedError(msg)


class FixedQuantizer(FakeQuantizer):
    """A grid that no longer changes; the same arithmetic as the quantiser it was taken from.

    The step and the first and last code are buffers, so a saved state holds the whole grid.
    """

    fixed_step: Tensor

    def __init__(self, bits: int, grid: Grid, *, signed: bool) -> None:
        self._codes = grid.codes
        super().__init__(bits, signed=signed)
        self.register_buffer("fixed_step", grid.step.detach().clone())
        self.register_buffer("code_range", torch.tensor([grid.codes.low, grid.codes.high]))

    def codes_at(self, bits: int) -> Codes:
        """The stored codes.

        Raises:
            UnsupportedError: another width than the stored one.
        """
        require_kept_bits(self, bits)
        return self._codes

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *arguments: object
    ) -> None:
        stored = state_dict.get(f"{prefix}fixed_step")
        if stored is not None:
            # As exact as it was saved, whatever numbers stand here so far.
            self.fixed_step = self.fixed_step.to(stored.dtype)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        low, high = cast("Tensor", self.code_range).tolist()
        self._codes = Codes(int(low), int(high))
        self.signed = self._codes.low < 0

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """The stored step."""
        del bits, values
        return self.fixed_step

    def quantize(self, values: Tensor) -> Tensor:
        """Round to the stored grid, identity backward."""
        return straight_through(values, self.step_at(self.bits, values), self._codes)


class Untouched(FakeQuantizer):
    """Stands where a quantiser is asked for and there is nothing to quantise, such as indices."""

    def __init__(self, bits: int) -> None:
        super().__init__(bits, signed=False)
        self.enabled = False

    def codes_at(self, bits: int) -> Codes:
        """Whole numbers of a width."""
        return unsigned_codes(bits)

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """One."""
        del bits
        return torch.ones((), device=values.device)

    def quantize(self, values: Tensor) -> Tensor:
        """The tensor as it is."""
        return values
