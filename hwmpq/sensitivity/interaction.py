"""Pairs of layers: how much more, or less, two quantised layers cost than one plus the other.

Additive sensitivities take each layer's error to meet a network in float. What a pair adds is
measured on the loss itself, for `hwmpq.allocate.interaction` to minimise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import nn

from hwmpq.data.base import Batch
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import FloatArray, SensitivityTable
from hwmpq.sensitivity.noise import Granularity, input_tops, read_only
from hwmpq.sensitivity.perturb import operand_widths, quantised
from hwmpq.sensitivity.probe import (
    UNHEARD,
    Probe,
    Progress,
    hold_batches,
    probing,
    samples,
    spread_rows,
)
from hwmpq.sensitivity.taps import Block, ProbedLayer
from hwmpq.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuadraticSensitivity:
    """Increases of the loss, by one layer and by two.

    Attributes:
        single: increase with one layer quantised, ``[layers, precisions]``.
        pairs: ``(first, second) -> [precisions, precisions]``, what both together add to the sum
            of their single increases; `hwmpq.allocate.interaction.pairwise` takes it.
    """

    single: SensitivityTable
    pairs: Mapping[tuple[str, str], FloatArray]

    def predict(self, columns: Mapping[str, int]) -> float:
        """Increase of the loss for one column a layer, as the model has it."""
        row = {name: index for index, name in enumerate(self.single.layers)}
        terms = [float(self.single.values[row[name], column]) for name, column in columns.items()]
        terms += [
            float(values[columns[first], columns[second]])
            for (first, second), values in self.pairs.items()
        ]
        return math.fsum(terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseLoss:
    """Measures ``L(i,j) - L(i) - L(j) + L`` for pairs of layers and all their precisions.

    ``L(i)`` is the mean loss with layer ``i`` quantised. A layer's weights and the activation it
    reads are quantised together.

    Attributes:
        reach: pairs are those at most so many layers apart in execution order; None is all pairs.
        batches: mini-batches at most; each is one forward pass for every pair of choices.
        batch_size: samples of a mini-batch.
        granularity: what shares a step of the weights' quantiser.
        seed: which samples are drawn.
        progress: is told of each layer and pair.

    References:
        Z. Deng et al., "CLADO", arXiv:2307.05657, for weights; it also makes the matrix of terms
        positive semidefinite, which a linearised search does not need. Activations are ours.
    """

    reach: int | None = None
    batches: int = 2
    batch_size: int = 128
    granularity: Granularity = "tensor"
    seed: int = 0
    progress: Progress = field(default=UNHEARD, compare=False, repr=False)

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> QuadraticSensitivity:
        """Measure all layers alone and all pairs within reach.

        Raises:
            UnsupportedError: a layer takes no quantiser, or no pair is within reach.
            TrainingError: the loss is not finite or there are no data.
        """
        held = hold_batches(data, batches=self.batches, batch_size=self.batch_size, seed=self.seed)
        with probing(model, workload, seed=self.seed) as probe, torch.no_grad():
            tops = input_tops(probe, held, read_only(probe.operands()))
            bench = _Bench(probe, held, tops, self.granularity)
            pairs = list(self._within_reach(probe.layers))
            self.progress.start("pairs of layers", len(probe.layers) + len(pairs))
            exact = bench.loss({})
            single: dict[str, FloatArray] = {}
            for layer in probe.layers:
                losses = [bench.loss({layer.name: column}) for column in precisions]
                single[layer.name] = np.array(losses) - exact
                self.progress.advance("pairs of layers", layer.name)
            terms = {}
            for first, second in pairs:
                both = [
                    [bench.loss({first.name: one, second.name: other}) for other in precisions]
                    for one in precisions
                ]
                alone = single[first.name][:, None] + single[second.name][None, :]
                # Uses of one module are tied, so that its first use can stand for all.
                terms[first.uses[0], second.uses[0]] = np.array(both) - exact - alone
                self.progress.advance("pairs of layers", f"{first.name}, {second.name}")
            names, values = spread_rows(probe.layers, lambda layer: single[layer.name].tolist())
        meta = {
            "seed": self.seed,
            "batches": len(held),
            "batch_size": self.batch_size,
            "granularity": self.granularity,
            "reach": self.reach,
            "loss": exact,
        }
        table = SensitivityTable(
            layers=names,
            precisions=tuple(precisions),
            values=values,
            metric="loss_increase",
            meta={name: str(value) for name, value in meta.items()},
        )
        return QuadraticSensitivity(single=table, pairs=terms)

    def _within_reach(
        self, layers: Sequence[ProbedLayer]
    ) -> Iterator[tuple[ProbedLayer, ProbedLayer]]:
        if self.reach is not None and self.reach < 1:
            msg = f"reach must be at least 1 layer, or None for all pairs, but got {self.reach}"
            raise UnsupportedError(msg)
        for (row, first), (other_row, second) in combinations(enumerate(layers), 2):
            if self.reach is None or other_row - row <= self.reach:
                yield first, second


@dataclass(frozen=True, slots=True)
class _Bench:
    """Losses of a network with some layers quantised."""

    probe: Probe
    batches: Sequence[Batch]
    tops: Mapping[Block, float]
    granularity: Granularity

    def loss(self, columns: Mapping[str, Precision]) -> float:
        """Mean loss over all samples."""
        with quantised(self.probe, operand_widths(columns), self.tops, self.granularity):
            losses = (float(self.probe.loss(b).double()) * len(b[1]) for b in self.batches)
            return math.fsum(losses) / samples(self.batches)
