"""HAWQ-V3: Hessian traces of the float network, one solve, fine-tuning.

The published program gives a layer's activations the bits of its weights; ties of a downsampling
convolution with the main path, per-channel scales and fixed-point rescaling belong to its
deployment and are left to the caller's groups.

References:
    Z. Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021, arXiv:2011.10680, and
    the code published with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from torch import nn

from hwmpq.errors import UnsupportedError
from hwmpq.methods.base import Schedule, Session, Task, require_epochs
from hwmpq.precision import Precision
from hwmpq.quant.insert import QuantizedModel, insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.hessian_trace import HessianTrace

_TRACE: Final = HessianTrace()


@dataclass(frozen=True, slots=True, kw_only=True)
class HAWQ:
    """Settings of the HAWQ baseline.

    Attributes:
        trace: how traces are estimated; the seed is the run's.
        same_bits: score weights only and give activations the bits of the layer's weights, as
            published. Otherwise both are chosen apart, activations by the trace at the layer's
            input.
        narrow_bits: up to this width the weights' step follows their mean magnitude.
        rate: share of the recipe's learning rate, since the network is trained already.
    """

    trace: HessianTrace = _TRACE
    same_bits: bool = True
    narrow_bits: int = 2
    rate: float = 0.1

    @property
    def name(self) -> str:
        """Registry name."""
        return "hawq"

    def schedule(self, epochs: int) -> Schedule:
        """Allocate on the float baseline, then fine-tune it.

        Raises:
            TrainingError: no epoch.
        """
        require_epochs("hawq", epochs, 1)
        return Schedule(
            epochs=epochs, warm_up=0, allocate_after=(0,), start="float", rate=self.rate
        )

    def prepare(self, model: nn.Module, task: Task) -> Session:
        """Keep a float copy to measure on, and insert the quantisers to fine-tune with."""
        untouched = deepcopy(model)
        quantizers = symmetric_and_clip(self.narrow_bits)
        quantised = insert_quantizers(model, task.workload, task.widest, quantizers)
        return HAWQSession(self, task, quantised, untouched)


class HAWQSession(Session):
    """Measures the float network once."""

    def __init__(
        self, method: HAWQ, task: Task, model: QuantizedModel, untouched: nn.Module
    ) -> None:
        super().__init__(model)
        self.method = method
        self.task = task
        self.untouched = untouched

    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """Mean trace times squared rounding error.

        Raises:
            UnsupportedError: bits must be equal and no candidate has equal ones.
        """
        metric = replace(self.method.trace, seed=self.task.seed)
        if self.method.same_bits:
            metric = replace(metric, activation_weight=0.0)
        table = metric.measure(self.untouched, self.task.workload, self.task.data, precisions)
        if not self.method.same_bits:
            return table
        equal = np.array([p.weight_bits == p.activation_bits for p in precisions])
        if not equal.any():
            msg = (
                "hawq gives weights and activations the same bits, but no candidate does; "
                "add one such as 4/4, or use same_bits=False"
            )
            raise UnsupportedError(msg)
        return replace(table, values=np.where(equal, table.values, np.inf))


METHOD = HAWQ()
