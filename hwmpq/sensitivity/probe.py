"""A copy of a network to experiment on: its layers, what they read, its loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwmpq.data.base import Batch, Data, calibration_batches
from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.quant.insert import INPUT_QUANTIZER, quantized_sites
from hwmpq.sensitivity.base import FloatArray, SensitivityTable
from hwmpq.workload.graph import Workload


class Progress(Protocol):
    """Is told how a measurement gets on; whoever listens to a run can listen to one."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase of ``total`` steps begins, ``done`` of them finished earlier."""
        ...

    def advance(self, phase: str, remark: str = "") -> None:
        """One step of a phase is finished; an empty remark leaves the last one standing."""
        ...


class Unheard:
    """Ignores everything."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Nothing."""

    def advance(self, phase: str, remark: str = "") -> None:
        """Nothing."""


UNHEARD = Unheard()


@dataclass(frozen=True, slots=True, eq=False)
class ProbedLayer:
    """A multiplying layer of the copy.

    Attributes:
        name: the module's qualified name.
        uses: the workload's names of it; several when the module runs several times.
        module: the torch module.
        signed: whether the activation it reads may be negative.
    """

    name: str
    uses: tuple[str, ...]
    module: nn.Module
    signed: bool

    @property
    def weight(self) -> nn.Parameter:
        """The float weight."""
        return cast("nn.Parameter", self.module.weight)


Visitor: TypeAlias = Callable[[ProbedLayer, Tensor], Tensor | None]
"""Is shown each activation that a layer reads; what it returns, if anything, is read instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A network to experiment on, in evaluation mode.

    Attributes:
        module: the copy.
        layers: its multiplying layers.
    """

    module: nn.Module
    layers: tuple[ProbedLayer, ...]

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.layers[0].weight.device

    def outputs(self, inputs: Tensor) -> Tensor:
        """What the network answers."""
        return cast("Tensor", self.module(inputs.to(self.device)))

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of a batch.

        Raises:
            TrainingError: it is not finite.
        """
        inputs, labels = batch
        loss = nn.functional.cross_entropy(self.outputs(inputs), labels.to(self.device))
        require_finite(float(loss.detach()), "the loss of a calibration batch")
        return loss

    @contextmanager
    def watching(
        self, visit: Visitor, layers: Sequence[ProbedLayer] | None = None
    ) -> Iterator[None]:
        """Show a visitor all activations that layers read.

        Raises:
            UnsupportedError: a layer was not called, or without a tensor as first argument.
        """
        called: set[str] = set()

        def hook(layer: ProbedLayer) -> Callable[..., Any]:
            def see(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
                called.add(layer.name)
                if not arguments or not isinstance(arguments[0], Tensor):
                    msg = (
                        f"layer '{layer.name}' is not called with its input as first positional "
                        "argument, so the activation it reads cannot be measured"
                    )
                    raise UnsupportedError(msg)
                replaced = visit(layer, arguments[0])
                return None if replaced is None else (replaced, *arguments[1:])

            return see

        watched = self.layers if layers is None else layers
        with ExitStack() as stack:
            for layer in watched:
                handle = layer.module.register_forward_pre_hook(hook(layer))
                stack.callback(handle.remove)
            yield
        missed = [layer.name for layer in watched if layer.name not in called]
        if missed:
            msg = (
                f"the network's forward pass never calls layer '{missed[0]}', so its sensitivity "
                "cannot be measured; call the module instead of using its weight, or exempt it"
            )
            raise UnsupportedError(msg)


@contextmanager
def probing(model: nn.Module, workload: Workload, *, seed: int) -> Iterator[Probe]:
    """Copy a network for experiments; the network and torch's random state stay as they are.

    Raises:
        UnsupportedError: a multiplying layer has no module with a float weight of its own.
    """
    probe = copy.deepcopy(model).eval()
    modules = dict(probe.named_modules())
    layers = []
    for name, uses in quantized_sites(probe, workload).items():
        module = modules[name]
        if hasattr(module, INPUT_QUANTIZER) or parametrize.is_parametrized(module, "weight"):
            msg = (
                f"layer '{name}' already has quantisers or parametrisations of its weight; "
                "measure the float network"
            )
            raise UnsupportedError(msg)
        signed = any(workload.inputs_of(use)[0].signed for use in uses)
        layers.append(ProbedLayer(name, uses, module, signed))
    if not layers:
        msg = f"'{workload.name}' has no layer with a bit-width to choose"
        raise UnsupportedError(msg)
    probe.requires_grad_(False)
    with own_random_state(layers[0].weight.device, seed):
        yield Probe(probe, tuple(layers))


@contextmanager
def own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from a seed; torch's random state is put back afterwards."""
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield


def hold_batches(
    data: Data | Iterable[Batch], *, batches: int, batch_size: int, seed: int
) -> tuple[Batch, ...]:
    """The calibration set, kept because a measurement goes through it several times."""
    return tuple(calibration_batches(data, batches=batches, batch_size=batch_size, seed=seed))


def samples(batches: Iterable[Batch]) -> int:
    """Number of samples."""
    return sum(len(labels) for _, labels in batches)


def require_finite(value: float, what: str) -> float:
    """Give back a number that is one.

    Raises:
        TrainingError: it is infinite or NaN.
    """
    if not math.isfinite(value):
        msg = (
            f"{what} is {value}; the network has diverged or its weights or the data hold "
            "values that are no numbers"
        )
        raise TrainingError(msg)
    return value


def add_to(sums: dict[tuple[str, int], float], key: tuple[str, int], value: float) -> None:
    """Add to an entry that may not be there yet."""
    sums[key] = sums.get(key, 0.0) + value


def weight_widths(precisions: Iterable[Precision]) -> tuple[int, ...]:
    """The weight bits among columns, each once, rising."""
    return tuple(sorted({precision.weight_bits for precision in precisions}))


def activation_widths(precisions: Iterable[Precision]) -> tuple[int, ...]:
    """The activation bits among columns, each once, rising."""
    return tuple(sorted({precision.activation_bits for precision in precisions}))


@dataclass(slots=True)
class Parts:
    """Sensitivities of weights and of activations apart, by ``(module, bits)``."""

    weights: dict[tuple[str, int], float] = field(default_factory=dict)
    activations: dict[tuple[str, int], float] = field(default_factory=dict)


def spread_rows(
    layers: Iterable[ProbedLayer], row_of: Callable[[ProbedLayer], Sequence[float]]
) -> tuple[tuple[str, ...], FloatArray]:
    """Names and rows of a table from one row a module.

    A module that runs several times is one thing to quantise: its uses share the row evenly.
    """
    rows: list[FloatArray] = []
    names: list[str] = []
    for layer in layers:
        row = np.array(row_of(layer), dtype=np.float64) / len(layer.uses)
        names += layer.uses
        rows += [row] * len(layer.uses)
    return tuple(names), np.array(rows)


def additive_table(
    layers: Iterable[ProbedLayer],
    parts: Parts,
    precisions: Sequence[Precision],
    *,
    metric: str,
    meta: Mapping[str, object],
    activation_weight: float,
) -> SensitivityTable:
    """Sensitivity ``weights(w) + activation_weight * activations(a)``."""

    def row(layer: ProbedLayer) -> list[float]:
        return [
            parts.weights[layer.name, precision.weight_bits]
            + activation_weight
            * parts.activations.get((layer.name, precision.activation_bits), 0.0)
            for precision in precisions
        ]

    names, values = spread_rows(layers, row)
    told = {**meta, "activation_weight": activation_weight}
    return SensitivityTable(
        layers=names,
        precisions=tuple(precisions),
        values=values,
        metric=metric,
        meta={name: str(value) for name, value in told.items()},
    )
