"""Uniform baseline: one precision for all layers, the widest that the budget allows.

Pinned layers keep their pins. The network is trained from scratch at that precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from hwmpq.allocate.base import Allocator
from hwmpq.allocate.uniform import Uniform as UniformAllocator
from hwmpq.methods.base import Schedule, Session, Task, require_epochs
from hwmpq.precision import Precision
from hwmpq.quant.insert import QuantizedModel, insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.bit_gradient import missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Settings of the uniform baseline.

    Attributes:
        narrow_bits: up to this width the weights' step follows their mean magnitude.
    """

    narrow_bits: int = 2

    @property
    def name(self) -> str:
        """Registry name."""
        return "uniform"

    def schedule(self, epochs: int) -> Schedule:
        """Choose before the first epoch, then train.

        Raises:
            TrainingError: no epoch.
        """
        require_epochs("uniform", epochs, 1)
        return Schedule(epochs=epochs, warm_up=0, allocate_after=(0,), start="scratch")

    def prepare(self, model: nn.Module, task: Task) -> Session:
        """Insert the quantisers of BMPQ, so that both are trained alike."""
        quantizers = symmetric_and_clip(self.narrow_bits)
        quantised = insert_quantizers(model, task.workload, task.widest, quantizers)
        return UniformSession(quantised)


class UniformSession(Session):
    """Knows no layer from another."""

    def __init__(self, model: QuantizedModel) -> None:
        super().__init__(model)
        self.layers = tuple(model.assignment)

    def allocator(self, seed: int) -> Allocator:
        """One precision for all."""
        del seed
        return UniformAllocator()

    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """The step lost by narrow codes, the same for every layer."""
        most = max(max(p.weight_bits, p.activation_bits) for p in precisions)
        row = [
            missing(p.weight_bits, most, "step") + missing(p.activation_bits, most, "step")
            for p in precisions
        ]
        return SensitivityTable(
            layers=self.layers,
            precisions=tuple(precisions),
            values=np.tile(np.array(row), (len(self.layers), 1)),
            metric="uniform",
        )


METHOD = Uniform()
