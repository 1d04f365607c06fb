"""Quantisation error weighted by squared gradients, the diagonal of the empirical Fisher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from typing import Any, Final

import torch
from torch import Tensor, nn

from hwmpq.data.base import Batch, calibration_batches
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.gradients import operand_gradients
from hwmpq.sensitivity.noise import (
    Granularity,
    input_tops,
    quantised_activation,
    quantised_weight,
    read_only,
)
from hwmpq.sensitivity.probe import (
    UNHEARD,
    Parts,
    Probe,
    Progress,
    add_to,
    additive_table,
    probing,
    require_finite,
)
from hwmpq.sensitivity.taps import Block, Kind, Operand, widths_of
from hwmpq.workload.graph import Workload

_DRAWN: Final = 64
"""Samples drawn from the data at a time."""


def weighted_error(fisher: Tensor, quantised: Tensor, values: Tensor) -> float:
    """``sum_j F_j (Q(v)_j - v_j)^2``."""
    return float((fisher * (quantised - values).square()).double().sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fisher:
    """Sensitivity ``sum_j F_j (Q_b(w)_j - w_j)^2`` with ``F_j`` the mean of ``(dL_i/dw_j)^2``.

    Twice the second-order increase of the loss if the Hessian is taken to be the diagonal of the
    empirical Fisher matrix. Gradients are those of single samples: squaring the mean gradient of a
    mini-batch instead would measure its noise. An activation is weighted sample by sample, by the
    gradients at its own elements.

    Attributes:
        samples: samples at most; each is one backward pass.
        granularity: what shares a step of the weights' quantiser.
        activation_weight: factor of the activations' part; zero leaves them unmeasured.
        seed: which samples are drawn.
        progress: is told of each sample.

    References:
        B. Zandonati et al., "FIT: A Metric for Model Sensitivity", ICLR 2023, arXiv:2210.08502,
        has one Fisher trace a layer; weighting element by element is ours.
    """

    samples: int = 256
    granularity: Granularity = "tensor"
    activation_weight: float = 1.0
    seed: int = 0
    progress: Progress = field(default=UNHEARD, compare=False, repr=False)

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Go through the samples once and weigh the errors of each width.

        Raises:
            UnsupportedError: a layer takes no quantiser.
            TrainingError: the loss is not finite or there are no data.
        """
        held = self._samples(data)
        with probing(model, workload, seed=self.seed) as probe:
            widths = widths_of(precisions)
            operands = probe.operands(self.activation_weight)
            fisher, parts = self._weigh(probe, held, operands, widths)
            for operand in operands:
                if operand.stored is None:
                    continue
                weight = operand.stored.detach()
                for bits in widths["weights"]:
                    quantised = quantised_weight(weight, bits, self.granularity)
                    error = weighted_error(fisher[operand.block], quantised, weight)
                    what = f"the Fisher information of layer '{operand.layer}'"
                    parts[operand.block, bits] = require_finite(error, what)
            return additive_table(
                probe.layers,
                parts,
                precisions,
                metric="fisher",
                meta={"seed": self.seed, "samples": len(held), "granularity": self.granularity},
                activation_weight=self.activation_weight,
            )

    def _samples(self, data: Any) -> tuple[Batch, ...]:
        batches = calibration_batches(
            data, batches=ceil(self.samples / _DRAWN), batch_size=_DRAWN, seed=self.seed
        )
        single = (
            (inputs[index : index + 1], labels[index : index + 1])
            for inputs, labels in batches
            for index in range(len(labels))
        )
        return tuple(islice(single, self.samples))

    def _weigh(
        self,
        probe: Probe,
        held: Sequence[Batch],
        operands: Sequence[Operand],
        widths: Mapping[Kind, Sequence[int]],
    ) -> tuple[dict[Block, Tensor], Parts]:
        """Fisher diagonal of each stored weight, and the weighted errors of activations."""
        reading = read_only(operands)
        tops = input_tops(probe, held, reading) if reading else {}
        fisher = {o.block: torch.zeros_like(o.stored) for o in operands if o.stored is not None}
        parts = {(o.block, bits): 0.0 for o in reading for bits in widths[o.kind]}
        share = 1 / len(held)
        self.progress.start("Fisher samples", len(held))
        for sample in held:
            for operand, values, gradient in operand_gradients(probe, sample, operands):
                if gradient is None:
                    continue
                block = operand.block
                if block in fisher:
                    fisher[block].addcmul_(gradient, gradient, value=share)
                    continue
                read, weights = values.detach(), gradient.square()
                for bits in widths[operand.kind]:
                    rounded = quantised_activation(read, bits, tops[block], signed=operand.signed)
                    error = weighted_error(weights, rounded, read)
                    add_to(parts, (block, bits), error * share)
            self.progress.advance("Fisher samples")
        return fisher, parts


METRIC = Fisher()
