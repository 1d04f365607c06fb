"""Quantising what functions multiply, while a network runs.

A module's weight and input can be quantised where they are; the operands of ``q @ k`` cannot, they
belong to no module. While the network runs, torch shows every function call to a
`TorchFunctionMode`, which finds the layer's name as the torch front end does: the innermost module
that runs, the function, and how often the name came up before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MethodType
from typing import Any, Final, TypeAlias, cast

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from hwmpq.errors import UnsupportedError
from hwmpq.quant.attention import OperandQuantizers, attention, multi_head_attention
from hwmpq.quant.places import Place

Operand: TypeAlias = tuple[int, str]
"""Position and keyword of an argument."""

_FILTERS: Final[tuple[Operand, Operand]] = ((0, "input"), (1, "weight"))
_OPERANDS: Final[Mapping[str, tuple[Operand, Operand]]] = {
    "linear": _FILTERS,
    "conv1d": _FILTERS,
    "conv2d": _FILTERS,
    "conv_transpose1d": _FILTERS,
    "conv_transpose2d": _FILTERS,
    "matmul": ((0, "input"), (1, "other")),
    "rmatmul": ((1, "other"), (0, "input")),
    "mm": ((0, "input"), (1, "mat2")),
    "bmm": ((0, "input"), (1, "mat2")),
    "mv": ((0, "input"), (1, "vec")),
    "dot": ((0, "input"), (1, "tensor")),
    "addmm": ((1, "mat1"), (2, "mat2")),
    "baddbmm": ((1, "batch1"), (2, "batch2")),
    "addmv": ((1, "mat"), (2, "vec")),
    "einsum": ((1, "operands"), (2, "operands")),
}
_SAME_NAME: Final = {"rmatmul": "matmul"}
_ATTENTION: Final = "scaled_dot_product_attention"
_SHAPES_ONLY: Final = frozenset(
    [f"{what}_like" for what in ("zeros", "ones", "full", "empty")]
    + [f"new_{what}" for what in ("zeros", "ones", "full", "empty")]
)
"""Functions that take only the shape of their argument; what they return is known beforehand."""


def _tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


class Interceptor:
    """Finds and quantises what functions of one network multiply.

    Args:
        products: quantisers of products by the workload's name.
        places: where layers with weights lie, by the workload's name of the first use.
        exempt: products that stay in float; None if it is not known which exist.
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
        self.run: _Run | None = None
        self.idle = False

    def attach(self, model: nn.Module, names: Mapping[str, nn.Module]) -> None:
        """Watch a network: which of its own modules runs, and what it is called with."""
        self.modules = dict(names)
        for path, module in names.items():
            module.register_forward_pre_hook(_Enter(self, path), prepend=True)
            module.register_forward_hook(_Leave(self), always_call=True)
        forward = model.forward
        # A bound method, which torch can trace and a copy of the network binds to its own state.
        vars(model)["forward"] = MethodType(_caller(forward), _Forward(self, forward))

    def quantize_input(self, name: str, values: Tensor) -> Tensor:
        """What a layer with a weight reads, quantised."""
        place = self.places[name]
        quantised: Tensor = getattr(self.modules[place.owner], place.input_quantizer)(values)
        if self.run is not None:
            self.run.met.add(name)
            self.run.mark(quantised)
        return quantised

    def finished(self, run: _Run, *, training: bool) -> None:
        """Check that every layer came up; a training pass may skip some.

        Raises:
            UnsupportedError: one did not.
        """
        expected = {*self.products, *self.places}
        missed = sorted(expected - run.met)
        if missed and not training:
            msg = (
                f"the network's forward pass never runs layer '{missed[0]}' on what comes from "
                "its input, so it cannot be quantised; trace the workload from this network, or "
                "exempt the layer"
            )
            raise UnsupportedError(msg)
        # Where modules see to everything there is nothing to intercept.
        self.idle = not (missed or self.products or run.functional)


def _caller(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the signature of a network's ``forward`` and nothing of the network."""

    @functools.wraps(getattr(forward, "__func__", forward))
    def call(self: _Forward, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    return call


class _Forward:
    """The network's forward pass, with its functions intercepted."""

    def __init__(self, interceptor: Interceptor, forward: Callable[..., Any]) -> None:
        self.interceptor = interceptor
        self.plain = forward

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The network's answer."""
        interceptor = self.interceptor
        if interceptor.idle or interceptor.run is not None:
            return self.plain(*args, **kwargs)
        run = _Run(interceptor, (args, kwargs))
        interceptor.run, interceptor.path = run, [""]
        try:
            with run:
                result = self.plain(*args, **kwargs)
        finally:
            interceptor.run = None
        interceptor.finished(run, training=cast("Any", self.plain).__self__.training)
        return result


class _Enter:
    """Notes that a module begins to run."""

    def __init__(self, interceptor: Interceptor, path: str) -> None:
        self.interceptor = interceptor
        self.path = path

    def __call__(self, _module: nn.Module, _arguments: object) -> None:
        if self.interceptor.run is not None:
            self.interceptor.path.append(self.path)


class _Leave:
    """Notes that a module has run."""

    def __init__(self, interceptor: Interceptor) -> None:
        self.interceptor = interceptor

    def __call__(self, _module: nn.Module, _arguments: object, _result: object) -> None:
        if self.interceptor.run is not None:
            self.interceptor.path.pop()


class QuantizeInput:
    """Quantises the first argument of a module that multiplies it with its weight."""

    def __init__(self, interceptor: Interceptor, name: str) -> None:
        self.interceptor = interceptor
        self.name = name
        interceptor.hooked.add(name)

    def __call__(self, _module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The module's arguments, the first quantised."""
        first = self.interceptor.quantize_input(self.name, arguments[0])
        return (first, *arguments[1:])


class MarkWeight:
    """Notes of which layer a quantised weight is, so that its users are known."""

    def __init__(self, interceptor: Interceptor, name: str) -> None:
        self.interceptor = interceptor
        self.name = name

    def __call__(self, _module: nn.Module, _arguments: object, weight: Tensor) -> None:
        """Look at a weight that was just quantised."""
        if self.interceptor.run is not None:
            self.interceptor.run.weights[weight] = self.name


class _Run(TorchFunctionMode):
    """One forward pass: which tensors depend on the network's input, which are weights."""

    def __init__(self, interceptor: Interceptor, inputs: object) -> None:
        super().__init__()
        self.interceptor = interceptor
        self.met: set[str] = set()
        self.functional = False
        self.counts: dict[str, int] = {}
        self.data = WeakTensorKeyDictionary()
        self.written: set[int] = set()
        self.weights = WeakTensorKeyDictionary()
        self.mark(inputs)

    def mark(self, values: object) -> None:
        """Note that tensors depend on the network's input."""
        for tensor in _tensors(values):
            self.data[tensor] = True

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
        known = [*_tensors(args), *_tensors(given)]
        data = label not in _SHAPES_ONLY and any(map(self._is_data, known))
        if data and label == _ATTENTION:
            result = self._attention(func, args, given)
        elif data and label in _OPERANDS:
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
                for tensor in _tensors(result):
                    self.weights[tensor] = next(iter(origins))
            return
        self.mark(result)
        in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if in_place and known and not self._is_data(known[0]):
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
        found = self.interceptor.products.get(name)
        exempt = self.interceptor.exempt
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
        if name not in self.interceptor.products:
            self.counts[base] = self.counts.get(base, 0) + 1

    def _attention(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        operands = [*args, *(given[key] for key in ("query", "key", "value") if key in given)]
        base = self.interceptor.path[-1] or "attention"
        if not all(map(self._is_data, operands[:3])):
            return func(*args, **given)
        scores, values = self._quantizers(f"{base}.qk"), self._quantizers(f"{base}.av")
        if scores is None or values is None:
            return func(*args, **given)
        return attention(scores, values, *args, **given)

    def _product(self, func: Any, label: str, args: list[Any], given: dict[str, Any]) -> Any:
        if label == "einsum" and isinstance(args[1], list | tuple):
            args = [args[0], *args[1]]
        both = [_Argument(args, given, *operand) for operand in _OPERANDS[label]]
        stored = [operand for operand in both if not self._is_data(operand.value)]
        if len(stored) == 2:
            return func(*args, **given)
        path = self.interceptor.path[-1]
        base = f"{path}.{_SAME_NAME.get(label, label)}".lstrip(".")
        if not stored:
            pair = self._quantizers(base)
            if pair is not None:
                both[0].value, both[1].value = pair(both[0].value, both[1].value)
            return func(*args, **given)
        name = self._layer_of(stored[0].value)
        if name is None:
            self._skip(base)
        elif not self._module_quantizes(name, path):
            operand = both[1] if stored[0] is both[0] else both[0]
            operand.value = self.interceptor.quantize_input(name, operand.value)
            self.functional = True
        return func(*args, **given)

    def _layer_of(self, weight: object) -> str | None:
        """The layer whose weight a constant is, or was made of."""
        return str(self.weights[weight]) if weight in self.weights else None

    def _module_quantizes(self, name: str, path: str) -> bool:
        """Whether the call is the module's own, whose input is quantised already."""
        interceptor = self.interceptor
        return name in interceptor.hooked and interceptor.places[name].owner == path


class _Argument:
    """One argument of a call, given by position or by keyword."""

    def __init__(
        self, args: list[Any], given: dict[str, Any], position: int, keyword: str
    ) -> None:
        self.where: Any = args if position < len(args) else given
        self.key: Any = position if position < len(args) else keyword

    @property
    def value(self) -> Any:
        """What is passed."""
        return self.where[self.key]

    @value.setter
    def value(self, value: Tensor) -> None:
        self.where[self.key] = value
