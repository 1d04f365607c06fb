"""A network with quantisers in it: its layers, their bits, and what they become at rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.fixed import FixedQuantizer, Untouched
from hwmpq.quant.fixed_powers import EXPONENTS, FixedPowers
from hwmpq.quant.learned_powers import LearnedPowers
from hwmpq.quant.places import Place, module_name
from hwmpq.workload.layer import Layer, MatMul

NO_WEIGHT: Final = torch.zeros(1)
"""What stands for the weight of a product of two activations."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place for quantisers.

    Attributes:
        layer: the operator of the workload.
        weight: the float weight; a product of two activations has none, and a zero stands for it.
        signed_input: whether the activation it reads may be negative.
        precision: bits to start with.
        signed_weight: whether what takes the weight path may be negative.
    """

    layer: Layer
    weight: Tensor
    signed_input: bool
    precision: Precision
    signed_weight: bool = True

    @property
    def is_product(self) -> bool:
        """Whether both operands are activations."""
        return isinstance(self.layer, MatMul)


QuantizerPair = tuple[FakeQuantizer, FakeQuantizer]
"""Quantisers of a layer's weight and of the activation it reads."""

QuantizerFactory = Callable[[Site], QuantizerPair]


@dataclass(frozen=True, slots=True)
class QuantizedLayer:
    """A layer with its quantisers.

    Attributes:
        names: the workload's names of it; several when the module runs several times.
        module: the torch module; of a product, the one that holds its quantisers.
        weight: quantiser of the weight, or of a product's operand on the weight path.
        activation: quantiser of the input.
        places: modules and attributes that hold the weight, its own first; none for a product.
    """

    names: tuple[str, ...]
    module: nn.Module
    weight: FakeQuantizer
    activation: FakeQuantizer
    places: tuple[tuple[nn.Module, Place], ...] = ()

    @property
    def is_product(self) -> bool:
        """Whether both operands are activations, so that nothing is stored."""
        return not self.places

    @property
    def shadow(self) -> nn.Parameter:
        """The float weight that training updates; a product stores none, a zero stands for it."""
        if self.is_product:
            return nn.Parameter(NO_WEIGHT.clone(), requires_grad=False)
        module, place = self.places[0]
        return parametrizations(module, place).original  # type: ignore[no-any-return]

    @property
    def precision(self) -> Precision:
        """Bits in force."""
        return Precision(self.weight.bits, self.activation.bits)

    def codes(self) -> Tensor:
        """Integer codes of the weight."""
        return self.weight.codes(self.shadow)

    def replaced(self, weight: FakeQuantizer, activation: FakeQuantizer) -> QuantizedLayer:
        """Put other quantisers in the places of these, in the network too."""
        if self.is_product:
            self.module.weight, self.module.activation = weight, activation
        for module, place in self.places:
            parametrizations(module, place)[0] = weight
        if self.places and not isinstance(activation, Untouched):
            setattr(self.module, self.places[0][1].input_quantizer, activation)
        return replace(self, weight=weight, activation=activation)


def parametrizations(module: nn.Module, place: Place) -> Any:
    """The list of a weight's parametrisations; the first is its quantiser."""
    return cast("Any", module).parametrizations[place.tensor]


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A network with quantisers in it.

    Attributes:
        module: the network, to be called as before.
        layers: layers with quantisers by the module's qualified name; products by their own.
    """

    module: nn.Module
    layers: Mapping[str, QuantizedLayer]

    def layer(self, name: str) -> QuantizedLayer:
        """A layer by its name in the workload."""
        return self.layers[name if name in self.layers else module_name(name)]

    @property
    def assignment(self) -> dict[str, Precision]:
        """Bits in force by the workload's layer names."""
        return {name: layer.precision for layer in self.layers.values() for name in layer.names}

    def apply(self, assignment: Assignment) -> None:
        """Change bits in place; float weights and quantiser parameters are kept.

        An embedding without an entry keeps its bits, since its width is nobody's choice.

        Raises:
            UnsupportedError: a layer has no entry, or two uses of one module differ in weight or
                activation bits.
        """
        for layer in self.layers.values():
            wanted = {assignment[name] for name in layer.names if name in assignment}
            if not wanted and isinstance(layer.activation, Untouched):
                continue
            if len(wanted) != 1:
                found = ", ".join(sorted(map(str, wanted))) or "none"
                msg = (
                    f"layer '{layer.names[0]}' needs one precision, "
                    f"but the assignment gives {found}"
                )
                raise UnsupportedError(msg)
            (precision,) = wanted
            layer.weight.set_bits(precision.weight_bits)
            layer.activation.set_bits(precision.activation_bits)


def freeze(quantised: QuantizedModel) -> QuantizedModel:
    """Replace every quantiser by one at rest on the grid it has now, in place.

    Outputs stay exactly the same; bits cannot be switched afterwards.
    """

    def fixed(quantizer: FakeQuantizer, values: Tensor) -> FakeQuantizer:
        if isinstance(quantizer, Untouched):
            return quantizer
        if isinstance(quantizer, LearnedPowers):
            return quantizer.at_rest(values)
        return FixedQuantizer(quantizer.bits, quantizer.grid(values), signed=quantizer.signed)

    layers = {}
    for name, layer in quantised.layers.items():
        # The step of an activation quantiser that has seen data no longer depends on a tensor.
        activation = fixed(layer.activation, torch.zeros(1, device=layer.shadow.device))
        layers[name] = layer.replaced(fixed(layer.weight, layer.shadow), activation)
    return QuantizedModel(quantised.module, layers)


def with_powers(quantised: QuantizedModel, state: Mapping[str, Tensor]) -> QuantizedModel:
    """Make those quantisers at rest power-of-two ones that a saved state has as such, in place."""
    names = {id(module): name for name, module in quantised.module.named_modules()}

    def fitting(quantizer: FakeQuantizer) -> FakeQuantizer:
        untouched = isinstance(quantizer, Untouched)  # stands in no module
        if untouched or f"{names[id(quantizer)]}.{EXPONENTS}" not in state:
            return quantizer
        return FixedPowers(quantizer.bits, (0, 0), signed=quantizer.signed, zero=False)

    layers = {
        name: layer.replaced(fitting(layer.weight), fitting(layer.activation))
        for name, layer in quantised.layers.items()
    }
    return QuantizedModel(quantised.module, layers)
