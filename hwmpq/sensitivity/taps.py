"""The two operands of every layer, each with a tap where its quantiser would stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from hwmpq.precision import Precision
from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.grid import Codes, activation_codes
from hwmpq.quant.insert import QuantizedLayer, QuantizerPair, Site

Kind: TypeAlias = Literal["weights", "activations"]
Block: TypeAlias = tuple[Kind, str]
"""An operand's name: which of the two, and the layer's."""

KINDS: Final[tuple[Kind, Kind]] = ("weights", "activations")
AT_REST: Final = Precision(8, 8)
"""Bits of taps, which do not round."""


class Tap(FakeQuantizer):
    """Stands where a quantiser would stand and shows the tensor there to whoever looks.

    Attributes:
        look: is shown each tensor that passes; what it returns, if anything, is read instead.
    """

    look: Callable[[Tensor], Tensor | None] | None = None

    def codes_at(self, bits: int) -> Codes:
        """Symmetric codes, or unsigned ones for a tensor that is never negative."""
        return activation_codes(bits, signed=self.signed)

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """One."""
        del bits
        return torch.ones((), device=values.device)

    def quantize(self, values: Tensor) -> Tensor:
        """The tensor as it is, or what the one who looks makes of it."""
        replaced = None if self.look is None else self.look(values)
        return values if replaced is None else replaced


def taps(site: Site) -> QuantizerPair:
    """Taps for a layer's two operands."""
    return (
        Tap(AT_REST.weight_bits, signed=site.signed_weight),
        Tap(AT_REST.activation_bits, signed=site.signed_input),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """One of the two tensors that a layer multiplies.

    Attributes:
        block: ``weights`` for what has the layer's weight bits, ``activations`` for the other,
            with the layer's name.
        tap: where the layer reads it.
        stored: the float weight; None for an activation, which exists only while the network
            runs. A product of two activations has two of those.
    """

    block: Block
    tap: Tap
    stored: nn.Parameter | None

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self.block[1]

    @property
    def kind(self) -> Kind:
        """Which of the two bit-widths of the layer is its own."""
        return self.block[0]

    @property
    def signed(self) -> bool:
        """Whether it may be negative."""
        return self.tap.signed

    def __str__(self) -> str:
        """For messages."""
        return f"the {self.kind} of layer '{self.layer}'"


@dataclass(frozen=True, slots=True, eq=False)
class ProbedLayer:
    """A multiplying layer of a network to experiment on.

    Attributes:
        name: the module's qualified name; of a product, the workload's.
        uses: the workload's names of it; several when the module runs several times.
        weights: the stored weight, or the ``[k, n]`` operand of a product of two activations.
        activations: what it reads; of a product, the ``[m, k]`` operand.
    """

    name: str
    uses: tuple[str, ...]
    weights: Operand
    activations: Operand

    @classmethod
    def of(cls, name: str, layer: QuantizedLayer) -> ProbedLayer:
        """A layer that has taps."""
        stored = None if layer.is_product else layer.shadow
        return cls(
            name,
            layer.names,
            Operand(("weights", name), cast("Tap", layer.weight), stored),
            Operand(("activations", name), cast("Tap", layer.activation), None),
        )

    def operands(self, activation_weight: float) -> tuple[Operand, ...]:
        """What is measured of the layer; activations only if they count."""
        return (self.weights, self.activations) if activation_weight else (self.weights,)


def widths_of(precisions: Sequence[Precision]) -> dict[Kind, tuple[int, ...]]:
    """The bits of both kinds among columns, each once, rising."""
    return {
        "weights": tuple(sorted({precision.weight_bits for precision in precisions})),
        "activations": tuple(sorted({precision.activation_bits for precision in precisions})),
    }
