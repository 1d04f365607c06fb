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
from hwmpq.sensitivity.gradients import block_gradients, blocks_of
from hwmpq.sensitivity.noise import Granularity, input_tops, quantised_activation, quantised_weight
from hwmpq.sensitivity.probe import (
    UNHEARD,
    Parts,
    Probe,
    Progress,
    activation_widths,
    add_to,
    additive_table,
    probing,
    require_finite,
    weight_widths,
)
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
            UnsupportedError: a layer is no module with a weight.
            TrainingError: the loss is not finite or there are no data.
        """
        held = self._samples(data)
        with probing(model, workload, seed=self.seed) as probe:
            widths = activation_widths(precisions) if self.activation_weight else ()
            tops = input_tops(probe, held) if widths else {}
            fisher, parts = self._weigh(probe, held, widths, tops)
            with torch.no_grad():
                for layer in probe.layers:
                    for bits in weight_widths(precisions):
                        quantised = quantised_weight(layer.weight, bits, self.granularity)
                        error = weighted_error(fisher[layer.name], quantised, layer.weight)
                        what = f"the Fisher information of layer '{layer.name}'"
                        parts.weights[layer.name, bits] = require_finite(error, what)
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
        self, probe: Probe, held: Sequence[Batch], widths: Sequence[int], tops: Mapping[str, float]
    ) -> tuple[dict[str, Tensor], Parts]:
        """Fisher diagonal of each weight, and the weighted errors of activations."""
        signed = {layer.name: layer.signed for layer in probe.layers}
        fisher = {layer.name: torch.zeros_like(layer.weight) for layer in probe.layers}
        parts = Parts(activations=dict.fromkeys(((n, b) for n in signed for b in widths), 0.0))
        wanted = blocks_of(probe, self.activation_weight)
        share = 1 / len(held)
        self.progress.start("Fisher samples", len(held))
        for sample in held:
            found = block_gradients(probe, sample, wanted)
            for (kind, name), values, gradient in found:
                if gradient is None:
                    continue
                if kind == "weights":
                    fisher[name].addcmul_(gradient, gradient, value=share)
                    continue
                for bits in widths:
                    rounded = quantised_activation(
                        values.detach(), bits, tops[name], signed=signed[name]
                    )
                    error = weighted_error(gradient.square(), rounded, values.detach())
                    add_to(parts.activations, (name, bits), error * share)
            self.progress.advance("Fisher samples")
        return fisher, parts


METRIC = Fisher()
