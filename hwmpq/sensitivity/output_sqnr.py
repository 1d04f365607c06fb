"""Noise at the network's output when one layer is quantised, over the output's own power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hwmpq.errors import TrainingError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.noise import Granularity, input_tops, read_only, squared_error
from hwmpq.sensitivity.perturb import quantised
from hwmpq.sensitivity.probe import (
    UNHEARD,
    Parts,
    Progress,
    add_to,
    additive_table,
    hold_batches,
    probing,
    require_finite,
)
from hwmpq.sensitivity.taps import widths_of
from hwmpq.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSqnr:
    """Sensitivity ``sum ||f_b(x) - f(x)||^2 / sum ||f(x)||^2``, that is ``10^(-SQNR/10)``.

    ``f_b`` has one layer's weights, or the activation it reads, at ``b`` bits and all else in
    float. Ratios of power add up where decibels would not; that weights and activations of a layer
    are measured apart and added is ours.

    Attributes:
        batches: mini-batches at most; one forward pass of each for every layer and width.
        batch_size: samples of a mini-batch.
        granularity: what shares a step of the weights' quantiser.
        activation_weight: factor of the activations' part; zero leaves them unmeasured.
        seed: which samples are drawn.
        progress: is told of each mini-batch and layer.
    """

    batches: int = 2
    batch_size: int = 128
    granularity: Granularity = "tensor"
    activation_weight: float = 1.0
    seed: int = 0
    progress: Progress = field(default=UNHEARD, compare=False, repr=False)

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Quantise one layer after the other and compare outputs.

        Raises:
            UnsupportedError: a layer takes no quantiser.
            TrainingError: outputs are not finite, or all zero, or there are no data.
        """
        held = hold_batches(data, batches=self.batches, batch_size=self.batch_size, seed=self.seed)
        widths = widths_of(precisions)
        noise: Parts = {}
        signal = 0.0
        with probing(model, workload, seed=self.seed) as probe, torch.no_grad():
            tops = input_tops(probe, held, read_only(probe.operands(self.activation_weight)))
            self.progress.start("output noise", len(held) * len(probe.layers))
            for inputs, _ in held:
                exact = probe.outputs(inputs)
                power = float(exact.double().square().sum())
                signal += require_finite(power, "the power of the network's output")
                for layer in probe.layers:
                    for operand in layer.operands(self.activation_weight):
                        for bits in widths[operand.kind]:
                            with quantised(probe, {operand.block: bits}, tops, self.granularity):
                                error = squared_error(probe.outputs(inputs), exact)
                            what = f"the output's noise from {operand}"
                            add_to(noise, (operand.block, bits), require_finite(error, what))
                    self.progress.advance("output noise", layer.name)
            if signal == 0:
                msg = "the network answers zero to all calibration samples; is it trained?"
                raise TrainingError(msg)
            parts = {key: error / signal for key, error in noise.items()}
            return additive_table(
                probe.layers,
                parts,
                precisions,
                metric="output_sqnr",
                meta={
                    "seed": self.seed,
                    "batches": len(held),
                    "batch_size": self.batch_size,
                    "granularity": self.granularity,
                },
                activation_weight=self.activation_weight,
            )


METRIC = OutputSqnr()
