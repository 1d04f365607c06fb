"""Quantising what functions multiply, while a network runs.

A module's weight and input can be quantised where they are; the operands of ``q @ k`` cannot, they
belong to no module. The network's ``forward`` is replaced by one that runs it as a `ForwardPass`,
and hooks tell that pass which module runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, cast

from torch import Tensor, nn

from hwmpq.errors import UnsupportedError
from hwmpq.quant.forward_pass import ForwardPass, Watched


class Interceptor:
    """Finds and quantises what functions of one network multiply.

    Args:
        watched: what is known of the network.
    """

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.run: ForwardPass | None = None
        self.idle = False

    def attach(self, model: nn.Module, names: Mapping[str, nn.Module]) -> None:
        """Watch a network: which of its own modules runs, and what it is called with."""
        self.watched.modules = dict(names)
        for path, module in names.items():
            module.register_forward_pre_hook(_Enter(self, path), prepend=True)
            module.register_forward_hook(_Leave(self), always_call=True)
        forward = model.forward
        # A bound method, which torch can trace and a copy of the network binds to its own state.
        vars(model)["forward"] = MethodType(_caller(forward), _Forward(self, forward))

    def quantize_input(self, name: str, values: Tensor) -> Tensor:
        """What a layer with a weight reads, quantised."""
        return (self.run or self.watched).quantize_input(name, values)

    def finished(self, run: ForwardPass, *, training: bool) -> None:
        """Check that every layer came up; a training pass may skip some.

        Raises:
            UnsupportedError: one did not.
        """
        watched = self.watched
        missed = sorted({*watched.products, *watched.places} - run.met)
        if missed and not training:
            msg = (
                f"the network's forward pass never runs layer '{missed[0]}' on what comes from "
                "its input, so it cannot be quantised; trace the workload from this network, or "
                "exempt the layer"
            )
            raise UnsupportedError(msg)
        # Where modules see to everything there is nothing to intercept.
        self.idle = not (missed or watched.products or run.functional)


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
        run = ForwardPass(interceptor.watched, (args, kwargs))
        interceptor.run, interceptor.watched.path = run, [""]
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
            self.interceptor.watched.path.append(self.path)


class _Leave:
    """Notes that a module has run."""

    def __init__(self, interceptor: Interceptor) -> None:
        self.interceptor = interceptor

    def __call__(self, _module: nn.Module, _arguments: object, _result: object) -> None:
        if self.interceptor.run is not None:
            self.interceptor.watched.path.pop()


class QuantizeInput:
    """Quantises what a module multiplies with its weight: its first argument, or ``input``."""

    def __init__(self, interceptor: Interceptor, name: str) -> None:
        self.interceptor = interceptor
        self.name = name
        interceptor.watched.hooked.add(name)

    def __call__(
        self, _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The module's arguments, what it reads quantised."""
        if not arguments:
            quantised = self.interceptor.quantize_input(self.name, named["input"])
            return arguments, {**named, "input": quantised}
        first = self.interceptor.quantize_input(self.name, arguments[0])
        return (first, *arguments[1:]), named


class MarkWeight:
    """Notes of which layer a quantised weight is, so that its users are known."""

    def __init__(self, interceptor: Interceptor, name: str) -> None:
        self.interceptor = interceptor
        self.name = name

    def __call__(self, _module: nn.Module, _arguments: object, weight: Tensor) -> None:
        """Look at a weight that was just quantised."""
        if self.interceptor.run is not None:
            self.interceptor.run.weights[weight] = self.name
