"""A copy of a network to experiment on: what its layers multiply, its answers, its loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from hwmpq.data.base import Batch, Data, calibration_batches
from hwmpq.data.loss import cross_entropy
from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.quant.insert import insert_quantizers
from hwmpq.sensitivity.base import FloatArray, SensitivityTable
from hwmpq.sensitivity.taps import AT_REST, Block, Operand, ProbedLayer, taps
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


Visitor: TypeAlias = Callable[[Operand, Tensor], Tensor | None]
"""Is shown each operand that is watched; what it returns, if anything, is multiplied instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A network to experiment on, in evaluation mode.

    Attributes:
        module: the copy, with a tap at each operand.
        layers: its multiplying layers.
    """

    module: nn.Module
    layers: tuple[ProbedLayer, ...]

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return device_of(self.module)

    def operands(self, activation_weight: float = 1.0) -> tuple[Operand, ...]:
        """What is measured of all layers; activations only if they count."""
        return tuple(o for layer in self.layers for o in layer.operands(activation_weight))

    def outputs(self, inputs: Tensor) -> Tensor:
        """What the network answers."""
        return cast("Tensor", self.module(inputs.to(self.device)))

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of a batch.

        Raises:
            TrainingError: it is not finite.
        """
        inputs, labels = batch
        loss = cross_entropy(self.outputs(inputs), labels.to(self.device))
        require_finite(float(loss.detach()), "the loss of a calibration batch")
        return loss

    @contextmanager
    def watching(self, visit: Visitor, operands: Iterable[Operand]) -> Iterator[None]:
        """Show a visitor some operands whenever they are multiplied.

        A forward pass in which a layer is never run is an error of its own.
        """
        watched = tuple(operands)
        try:
            for operand in watched:
                operand.tap.look = partial(visit, operand)
            yield
        finally:
            for operand in watched:
                operand.tap.look = None


def device_of(module: nn.Module) -> torch.device:
    """Where a network's tensors lie; the CPU if it has none."""
    tensors = chain(module.parameters(), module.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


@contextmanager
def probing(model: nn.Module, workload: Workload, *, seed: int) -> Iterator[Probe]:
    """Copy a network for experiments; the network and torch's random state stay as they are.

    Taps are put where training puts quantisers, so that whatever can be quantised can be measured:
    bare parameters, what functions multiply, the operands of attention.

    Raises:
        UnsupportedError: a multiplying layer has no place in the network, or quantisers already.
    """
    start = {layer.name: AT_REST for layer in workload.multiply_layers}
    if not start:
        msg = f"'{workload.name}' has no layer with a bit-width to choose"
        raise UnsupportedError(msg)
    inserted = insert_quantizers(copy.deepcopy(model).eval(), workload, start, taps)
    inserted.module.requires_grad_(False)
    layers = tuple(ProbedLayer.of(name, layer) for name, layer in inserted.layers.items())
    with own_random_state(device_of(inserted.module), seed):
        yield Probe(inserted.module, layers)


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


Parts: TypeAlias = dict[tuple[Block, int], float]
"""Sensitivities of operands at widths, before they are added up."""


def add_to(sums: Parts, key: tuple[Block, int], value: float) -> None:
    """Add to an entry that may not be there yet."""
    sums[key] = sums.get(key, 0.0) + value


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
    parts: Mapping[tuple[Block, int], float],
    precisions: Sequence[Precision],
    *,
    metric: str,
    meta: Mapping[str, object],
    activation_weight: float,
) -> SensitivityTable:
    """Sensitivity ``weights(w) + activation_weight * activations(a)``."""

    def row(layer: ProbedLayer) -> list[float]:
        return [
            parts[layer.weights.block, precision.weight_bits]
            + activation_weight
            * parts.get((layer.activations.block, precision.activation_bits), 0.0)
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
