"""What every fake quantiser is: a module between a tensor and its user, with bits to switch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from hwmpq.errors import UnsupportedError
from hwmpq.quant.grid import Codes, to_codes

FLOAT_BITS: Final = 32
"""From this width on a tensor is left as it is: 32 bits stand for the float network."""

GradientObserver: TypeAlias = Callable[[Tensor], None]
"""Is shown the gradient of the loss at the quantised tensor in each backward pass."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid in force: quantised values are ``step * code``."""

    step: Tensor
    codes: Codes


class FakeQuantizer(nn.Module, ABC):
    """Maps a tensor to the nearest values of a uniform grid.

    Attributes:
        bits: width in force; `set_bits` changes it in place.
        signed: whether the tensor may be negative.
        decays: whether weight decay applies to the quantiser's own parameters.
        needs_stored: whether the grid follows a stored tensor, so that an activation cannot take
            the place of the weight, as it does in a product of two activations.
        enabled: whether it quantises; a disabled one passes tensors through.
        observer: is shown the gradient at the output of each backward pass, if set.
    """

    decays = False
    needs_stored = False

    def __init__(self, bits: int, *, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.enabled = True
        self.observer: GradientObserver | None = None
        self.set_bits(bits)

    @property
    def passes(self) -> bool:
        """Whether tensors pass unchanged: it is disabled, or has the width of floats."""
        return not self.enabled or self.bits >= FLOAT_BITS

    def set_bits(self, bits: int) -> None:
        """Change the width; parameters and the tensor behind stay as they are.

        Raises:
            UnsupportedError: the quantiser has no such width.
        """
        self.codes_at(bits)
        self.bits = bits

    @abstractmethod
    def codes_at(self, bits: int) -> Codes:
        """Codes of a width."""

    @abstractmethod
    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """Step for a tensor at a width, without gradient."""

    @abstractmethod
    def quantize(self, values: Tensor) -> Tensor:
        """The tensor on the grid, with the quantiser's gradient."""

    def grid(self, values: Tensor) -> Grid:
        """The grid in force for a tensor."""
        with torch.no_grad():
            return Grid(self.step_at(self.bits, values), self.codes_at(self.bits))

    def codes(self, values: Tensor) -> Tensor:
        """Integer codes of a tensor.

        Raises:
            UnsupportedError: it is left in float.
        """
        if self.bits >= FLOAT_BITS:
            msg = f"a tensor of {self.bits} bits is left in float and has no codes"
            raise UnsupportedError(msg)
        grid = self.grid(values)
        with torch.no_grad():
            return to_codes(values, grid.step, grid.codes).to(torch.int64)

    def forward(self, values: Tensor) -> Tensor:
        """Quantise, and let the observer see the gradient that comes back."""
        quantised = values if self.passes else self.quantize(values)
        if self.observer is not None and quantised.requires_grad:
            if quantised is values:
                # A hook of its own: hooks on a parameter would pile up from pass to pass.
                quantised = values.view_as(values)
            quantised.register_hook(self.observer)  # type: ignore[no-untyped-call]
        return quantised

    def extra_repr(self) -> str:
        """Width and sign, for printing the model."""
        return f"bits={self.bits}, signed={self.signed}"
