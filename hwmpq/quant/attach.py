"""Where quantisers go in a torch network: parametrisations, hooks and what is intercepted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from torch import nn
from torch.nn.utils import parametrize

from hwmpq.errors import UnsupportedError
from hwmpq.quant.attention import OperandQuantizers
from hwmpq.quant.fixed import Untouched
from hwmpq.quant.forward_pass import Watched
from hwmpq.quant.interception import Interceptor, MarkWeight, QuantizeInput
from hwmpq.quant.places import Place, holders, module_name, product_owner
from hwmpq.quant.quantized import (
    QuantizedLayer,
    QuantizedModel,
    QuantizerPair,
    parametrizations,
)

_CALLED: Final = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
)
"""Modules that multiply their first argument with their weight."""


class Insertion:
    """Puts quantisers into one network."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self.layers: dict[str, QuantizedLayer] = {}
        self.products: dict[str, OperandQuantizers] = {}
        self.places: dict[str, Place] = {}
        self.claimed: set[int] = set()

    def add_product(self, name: str, pair: QuantizerPair) -> None:
        """Quantisers of a product's operands, held by the module that runs it."""
        weight, activation = pair
        if weight.needs_stored:
            msg = (
                f"layer '{name}' is a product of two activations, and the weight quantiser "
                f"{type(weight).__name__} follows a stored tensor; take one that holds its "
                "step, or exempt the product"
            )
            raise UnsupportedError(msg)
        place = product_owner(self.modules, name)
        owner = self.modules[place.owner]
        if hasattr(owner, place.tensor):
            raise _occupied(name)
        operands = OperandQuantizers(weight, activation)
        owner.add_module(place.tensor, operands)
        self.products[name] = operands
        self.layers[name] = QuantizedLayer((name,), operands, weight, activation)

    def add_weight(self, uses: tuple[str, ...], place: Place, pair: QuantizerPair) -> None:
        """Quantisers of a stored weight, wherever the network holds it, and of what it meets.

        An embedding whose table a layer multiplies with needs none of its own.
        """
        weight, activation = pair
        key, module = module_name(uses[0]), self.modules[place.owner]
        original = getattr(module, place.tensor)
        if isinstance(activation, Untouched) and id(original) in self.claimed:
            return
        self.claimed.add(id(original))
        others = [other for other in holders(self.model, original) if other != place]
        held = tuple(
            (self.modules[other.owner], other)
            for other in (place, *others)
            if other == place or isinstance(self.modules[other.owner], nn.Embedding)
        )
        for holder, where in held:
            if parametrize.is_parametrized(holder, where.tensor):
                raise _occupied(uses[0])
        if hasattr(module, place.input_quantizer):
            raise _occupied(uses[0])
        if not isinstance(activation, Untouched):
            module.add_module(place.input_quantizer, activation)
            self.places[key] = place
        self.layers[key] = QuantizedLayer(uses, module, weight, activation, held)

    def finish(self, exempt: Iterable[str] | None) -> QuantizedModel:
        """Set hooks and parametrisations."""
        interceptor = Interceptor(Watched(self.products, self.places, exempt))
        interceptor.attach(self.model, self.modules)
        for key, layer in self.layers.items():
            if key in self.places and type(layer.module) in _CALLED:
                hook = QuantizeInput(interceptor, key)
                layer.module.register_forward_pre_hook(hook, with_kwargs=True)
            for module, place in layer.places:
                parametrize.register_parametrization(module, place.tensor, layer.weight)
                if key in self.places:
                    mark = MarkWeight(interceptor, key)
                    parametrizations(module, place).register_forward_hook(mark)
        return QuantizedModel(self.model, self.layers)


def _occupied(name: str) -> UnsupportedError:
    msg = f"layer '{name}' already has quantisers or parametrisations of its weight"
    return UnsupportedError(msg)
