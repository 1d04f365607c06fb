"""One forward pass of a network, in which the functions that multiply are found and quantised.

Torch shows every function call to a ``TorchFunctionMode``. A call's layer is found as the torch
front end names layers: by the innermost module that runs, the function, and how often the name
came up before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from hwmpq.errors import UnsupportedError
from hwmpq.quant.attention import OperandQuantizers, attention, multi_head_attention
from hwmpq.quant.multiplying import (
    ATTENTION,
    layer_label,
    multiplied,
    multiplies,
    reads_values,
    tensors_in,
    writes_in_place,
)
from hwmpq.quant.places import Place


class Watched:
    """What is known of a network whose functions are intercepted.

    Attributes:
        products: quantisers of products by the workload's name.
        places: where layers with weights lie, by the workload's name of the first use.
        exempt: products that stay in float; None if it is not known which exist.
        modules: the network's modules by name.
        hooked: layers whose module quantises its own input.
        path: names of the modules that run, the innermost last.
    """

    def __init__(
        self,
        products: Mapping[str, OperandQuantizers],
        places: Mapping[str, Place],
        exempt: Iterable[str] | None,
    ) -> None:
        self.products = dict(products)
        self.places = dict(places)
        self.exempt = None if exempt is None else frozenset(exempt)
        self.modules: dict[str, nn.Module] = {}
        self.hooked: set[str] = set()
        self.path: list[str] = []

    def quantize_input(self, name: str, values: Tensor) -> Tensor:
        """What a layer with a weight reads, quantised."""
        place = self.places[name]
        quantised: Tensor = getattr(self.modules[place.owner], place.input_quantizer)(values)
        return quantised


class ForwardPass(TorchFunctionMode):
    """One forward pass: which tensors depend on the network's input, which are weights."""

    def __init__(self, watched: Watched, inputs: object) -> None:
        super().__init__()
        self.watched = watched
        self.met: set[str] = set()
        self.functional = False
        self.counts: dict[str, int] = {}
        self.data = WeakTensorKeyDictionary()
        self.written: set[int] = set()
        self.weights = WeakTensorKeyDictionary()
        self.mark(inputs)

    def mark(self, values: object) -> None:
        """Note that tensors depend on the network's input."""
        for tensor in tensors_in(values):
            self.data[tensor] = True

    def quantize_input(self, name: str, values: Tensor) -> Tensor:
        """What a layer with a weight reads, quantised."""
        quantised = self.watched.quantize_input(name, values)
        self.met.add(name)
        self.mark(quantised)
        return quantised

    def _is_data(self, value: object) -> bool:
        if not isinstance(value, Tensor):
            return False
        if value in self.data:
            return True
        return bool(self.written) and value.untyped_storage().data_ptr() in self.written

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        given = dict(kwargs or {})
        if func is functional.multi_head_attention_forward:
            with self:
                return multi_head_attention(*args, **given)
        name = getattr(func, "__name__", "")
        label = name.strip("_")
        known = [*tensors_in(args), *tensors_in(given)]
        data = reads_values(label) and any(map(self._is_data, known))
        if data and label == ATTENTION:
            result = self._attention(func, args, given)
        elif data and multiplies(label):
            result = self._product(func, label, list(args), given)
        else:
            result = func(*args, **given)
        self._note(name, data, known, result)
        return result

    def _note(self, name: str, data: bool, known: list[Tensor], result: object) -> None:
        """Pass on what is known of the arguments to the result."""
        if not data:
            origins = {self.weights[tensor] for tensor in known if tensor in self.weights}
            if len(origins) == 1:
                for tensor in tensors_in(result):
                    self.weights[tensor] = next(iter(origins))
            return
        self.mark(result)
        if writes_in_place(name) and known and not self._is_data(known[0]):
            # Other views of the same memory see what was written, too.
            self.data[known[0]] = True
            self.written.add(known[0].untyped_storage().data_ptr())

    def _next(self, base: str) -> str:
        """What the workload calls the next product of a name."""
        count = self.counts.get(base, 0) + 1
        return base if count == 1 else f"{base}#{count}"

    def _quantizers(self, base: str) -> OperandQuantizers | None:
        """Quantisers of the next product of a name, None for one that stays in float."""
        name = self._next(base)
        self.counts[base] = self.counts.get(base, 0) + 1
        found = self.watched.products.get(name)
        exempt = self.watched.exempt
        if found is None and exempt is not None and name not in exempt:
            msg = (
                f"the network multiplies two activations in '{name}', which the workload does not "
                "have; trace the workload from this network as it is now"
            )
            raise UnsupportedError(msg)
        self.met.add(name)
        return found

    def _skip(self, base: str) -> None:
        """Count a product with a computed constant, which can only be exempt."""
        name = self._next(base)
        if name not in self.watched.products:
            self.counts[base] = self.counts.get(base, 0) + 1

    def _attention(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        operands = [*args, *(given[key] for key in ("query", "key", "value") if key in given)]
        base = self.watched.path[-1] or "attention"
        if not all(map(self._is_data, operands[:3])):
            return func(*args, **given)
        scores, values = self._quantizers(f"{base}.qk"), self._quantizers(f"{base}.av")
        return attention(scores, values, *args, **given)

    def _product(self, func: Any, label: str, args: list[Any], given: dict[str, Any]) -> Any:
        first, second, args = multiplied(label, args, given)
        both = (first, second)
        stored = [operand for operand in both if not self._is_data(operand.value)]
        if len(stored) == 2:
            return func(*args, **given)
        path = self.watched.path[-1]
        base = f"{path}.{layer_label(label)}".lstrip(".")
        if not stored:
            pair = self._quantizers(base)
            if pair is not None:
                first.value, second.value = pair(first.value, second.value)
            return func(*args, **given)
        name = self._layer_of(stored[0].value)
        if name is None:
            self._skip(base)
        elif not self._module_quantizes(name, path):
            operand = second if stored[0] is first else first
            operand.value = self.quantize_input(name, operand.value)
            self.functional = True
        return func(*args, **given)

    def _layer_of(self, weight: object) -> str | None:
        """The layer whose weight a constant is, or was made of."""
        return str(self.weights[weight]) if weight in self.weights else None

    def _module_quantizes(self, name: str, path: str) -> bool:
        """Whether the call is the module's own, whose input is quantised already."""
        watched = self.watched
        return name in watched.hooked and watched.places[name].owner == path
