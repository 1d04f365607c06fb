"""Putting quantisers into a network that knows nothing of them, and switching its bits.

A layer's weight gets its quantiser as a torch parametrisation, its input as a forward pre-hook, so
module names, the forward code and the float weights behind (the shadow weights) stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.base import FakeQuantizer, Grid
from hwmpq.quant.fixed import FixedQuantizer
from hwmpq.quant.grid import Codes
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import MatMul, MultiplyLayer

INPUT_QUANTIZER = "input_quantizer"
"""Name under which a layer's module holds the quantiser of the activation it reads."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place for quantisers.

    Attributes:
        layer: the operator of the workload.
        weight: the float weight.
        signed_input: whether the activation it reads may be negative.
        precision: bits to start with.
    """

    layer: MultiplyLayer
    weight: Tensor
    signed_input: bool
    precision: Precision


QuantizerPair = tuple[FakeQuantizer, FakeQuantizer]
"""Quantisers of a layer's weight and of the activation it reads."""

QuantizerFactory = Callable[[Site], QuantizerPair]


@dataclass(frozen=True, slots=True)
class QuantizedLayer:
    """A layer with its quantisers.

    Attributes:
        names: the workload's names of it; several when the module runs several times.
        module: the torch module.
        weight: quantiser of the weight.
        activation: quantiser of the input.
    """

    names: tuple[str, ...]
    module: nn.Module
    weight: FakeQuantizer
    activation: FakeQuantizer

    @property
    def shadow(self) -> nn.Parameter:
        """The float weight that training updates."""
        return cast("Any", self.module).parametrizations.weight.original  # type: ignore[no-any-return]

    @property
    def precision(self) -> Precision:
        """Bits in force."""
        return Precision(self.weight.bits, self.activation.bits)

    def codes(self) -> Tensor:
        """Integer codes of the weight."""
        return self.weight.codes(self.shadow)


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A network with quantisers in it.

    Attributes:
        module: the network, to be called as before.
        layers: layers with quantisers by the module's qualified name.
    """

    module: nn.Module
    layers: Mapping[str, QuantizedLayer]

    def layer(self, name: str) -> QuantizedLayer:
        """A layer by its name in the workload."""
        return self.layers[module_name(name)]

    @property
    def assignment(self) -> dict[str, Precision]:
        """Bits in force by the workload's layer names."""
        return {name: layer.precision for layer in self.layers.values() for name in layer.names}

    def apply(self, assignment: Assignment) -> None:
        """Change bits in place; float weights and quantiser parameters are kept.

        Raises:
            UnsupportedError: a layer has no entry, or two uses of one module differ in weight or
                activation bits.
        """
        for layer in self.layers.values():
            wanted = {assignment[name] for name in layer.names if name in assignment}
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
    """Replace every quantiser by a `FixedQuantizer` on the grid it has now, in place.

    Outputs stay exactly the same; bits cannot be switched afterwards.
    """
    layers = {}
    for name, layer in quantised.layers.items():
        weight = FixedQuantizer(
            layer.weight.bits, layer.weight.grid(layer.shadow), signed=layer.weight.signed
        )
        # The step of an activation quantiser that has seen data no longer depends on a tensor.
        grid = layer.activation.grid(torch.zeros(1, device=layer.shadow.device))
        activation = FixedQuantizer(layer.activation.bits, grid, signed=layer.activation.signed)
        cast("Any", layer.module).parametrizations.weight[0] = weight
        setattr(layer.module, INPUT_QUANTIZER, activation)
        layers[name] = QuantizedLayer(layer.names, layer.module, weight, activation)
    return QuantizedModel(quantised.module, layers)


def module_name(layer_name: str) -> str:
    """Qualified name of the module behind a workload's layer; ``conv#2`` is its second use.

    >>> module_name("block.conv#2")
    'block.conv'
    """
    return layer_name.partition("#")[0]


def quantized_sites(model: nn.Module, workload: Workload) -> dict[str, tuple[str, ...]]:
    """Modules that get quantisers: qualified name -> the workload's names of it.

    Raises:
        UnsupportedError: a multiplying layer has no module of its own with a weight.
    """
    modules = dict(model.named_modules())
    found: dict[str, tuple[str, ...]] = {}
    for layer in workload.multiply_layers:
        name = module_name(layer.name)
        module = modules.get(name)
        if isinstance(layer, MatMul) or not isinstance(getattr(module, "weight", None), Tensor):
            msg = (
                f"layer '{layer.name}' ({layer.op}) of '{workload.name}' is no module with a "
                "weight in the network, so no quantiser can be put there; make it a module or "
                "exempt it"
            )
            raise UnsupportedError(msg)
        found[name] = (*found.get(name, ()), layer.name)
    return found


def _quantize_input(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    quantizer = cast("FakeQuantizer", getattr(module, INPUT_QUANTIZER))
    return (quantizer(arguments[0]), *arguments[1:])


def insert_quantizers(
    model: nn.Module, workload: Workload, assignment: Assignment, factory: QuantizerFactory
) -> QuantizedModel:
    """Put quantisers on the weight and the input of every multiplying layer, in place.

    Whether an activation is quantised with or without sign is told by the workload's tensors.

    Args:
        model: the network; its modules carry the names of the workload's layers.
        workload: its graph.
        assignment: bits to start with.
        factory: makes the two quantisers of a site.

    Raises:
        UnsupportedError: a layer has no module, has quantisers already, or has no entry.
    """
    modules = dict(model.named_modules())
    layers: dict[str, QuantizedLayer] = {}
    for name, uses in quantized_sites(model, workload).items():
        if uses[0] not in assignment:
            msg = f"layer '{uses[0]}' has no precision to start with"
            raise UnsupportedError(msg)
        layer = cast("MultiplyLayer", workload.layer(uses[0]))
        signed = any(workload.inputs_of(use)[0].signed for use in uses)
        weight = cast("Tensor", modules[name].weight)
        site = Site(layer, weight.detach(), signed, assignment[uses[0]])
        layers[name] = _attach(modules[name], uses, factory(site))
    quantised = QuantizedModel(model, layers)
    quantised.apply(assignment)
    return quantised


def insert_empty(model: nn.Module, assignment: Assignment) -> QuantizedModel:
    """Put quantisers at rest into a network, to load the saved state of a frozen one into.

    Raises:
        UnsupportedError: the network has no such layer with a weight.
    """
    modules = dict(model.named_modules())
    uses: dict[str, tuple[str, ...]] = {}
    for name in assignment:
        found = module_name(name)
        if not isinstance(getattr(modules.get(found), "weight", None), Tensor):
            msg = f"the network has no layer '{found}' with a weight; is it another architecture?"
            raise UnsupportedError(msg)
        uses[found] = (*uses.get(found, ()), name)
    grid = Grid(torch.ones(()), Codes(0, 0))
    layers = {}
    for name, names in uses.items():
        bits = assignment[names[0]]
        weight = FixedQuantizer(bits.weight_bits, grid, signed=True)
        activation = FixedQuantizer(bits.activation_bits, grid, signed=True)
        layers[name] = _attach(modules[name], names, (weight, activation))
    return QuantizedModel(model, layers)


def _attach(module: nn.Module, uses: tuple[str, ...], pair: QuantizerPair) -> QuantizedLayer:
    if hasattr(module, INPUT_QUANTIZER) or parametrize.is_parametrized(module, "weight"):
        msg = f"layer '{uses[0]}' already has quantisers or parametrisations of its weight"
        raise UnsupportedError(msg)
    weight, activation = pair
    parametrize.register_parametrization(module, "weight", weight)
    module.add_module(INPUT_QUANTIZER, activation)
    module.register_forward_pre_hook(_quantize_input)
    return QuantizedLayer(uses, module, weight, activation)
