"""Mean Hessian trace times quantisation error (HAWQ-V2, HAWQ-V3), by Hutchinson's probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from hwmpq.data.base import Batch
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.hutchinson import RunningMean, estimate_traces
from hwmpq.sensitivity.noise import Granularity, operand_noise
from hwmpq.sensitivity.probe import (
    UNHEARD,
    Probe,
    Progress,
    additive_table,
    hold_batches,
    probing,
)
from hwmpq.sensitivity.taps import Block, Operand, widths_of
from hwmpq.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class HessianTrace:
    """Sensitivity ``Tr(H) / P * ||Q_b(W) - W||^2`` of a layer's weights, and its like for inputs.

    That activations are scored by the same law is ours: the Hessian is then that of one sample's
    loss by the activation which the layer reads, averaged over samples. Both operands of a product
    of activations are scored so.

    Attributes:
        tolerance: a trace is probed until its standard error is at most this share of its
            magnitude.
        most_probes: probes at most; ``meta`` of the table tells what error was left.
        batches: mini-batches at most.
        batch_size: samples of a mini-batch; the graph of one is held in memory.
        granularity: what shares a step of the weights' quantiser; HAWQ-V3 has one a channel.
        activation_weight: factor of the activations' part; zero leaves them unmeasured.
        seed: of the probes and of which samples are drawn.
        progress: is told of each round of probes.

    References:
        Z. Dong et al., "HAWQ-V2", NeurIPS 2020, arXiv:1911.03852; Z. Yao et al., "HAWQ-V3", ICML
        2021, arXiv:2011.10680. Judging convergence by the trace's magnitude follows PyHessian,
        Z. Yao et al., arXiv:1912.07145.
    """

    tolerance: float = 0.1
    most_probes: int = 32
    batches: int = 2
    batch_size: int = 128
    granularity: Granularity = "tensor"
    activation_weight: float = 1.0
    seed: int = 0
    progress: Progress = field(default=UNHEARD, compare=False, repr=False)

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Estimate the traces and multiply them by the errors of each width.

        A negative trace counts as zero: noise there does not raise the loss to second order, and
        fewer bits must not look better than more.

        Raises:
            UnsupportedError: a layer takes no quantiser, or the network has no second derivative.
            TrainingError: the loss is not finite or there are no data.
        """
        held = self._batches(data)
        with probing(model, workload, seed=self.seed) as probe:
            operands = probe.operands(self.activation_weight)
            traces = self._traces(probe, held, operands)
            noise = operand_noise(probe, held, operands, widths_of(precisions), self.granularity)
            parts = {
                (block, bits): max(0.0, traces[block].mean) / noise.elements[block] * error
                for (block, bits), error in noise.squares.items()
            }
            return additive_table(
                probe.layers,
                parts,
                precisions,
                metric="hessian_trace",
                meta={**self._settings(), **_found(traces)},
                activation_weight=self.activation_weight,
            )

    def weight_traces(
        self, model: nn.Module, workload: Workload, data: Any
    ) -> Mapping[str, RunningMean]:
        """Trace of each weight's block of the Hessian with its error, by layer; signs kept.

        Raises:
            UnsupportedError: a layer takes no quantiser, or the network has no second derivative.
            TrainingError: the loss is not finite or there are no data.
        """
        held = self._batches(data)
        with probing(model, workload, seed=self.seed) as probe:
            traces = self._traces(probe, held, probe.operands(activation_weight=0.0))
            return {name: trace for (_, name), trace in traces.items()}

    def _batches(self, data: Any) -> tuple[Batch, ...]:
        return hold_batches(data, batches=self.batches, batch_size=self.batch_size, seed=self.seed)

    def _traces(
        self, probe: Probe, batches: Sequence[Batch], operands: Sequence[Operand]
    ) -> Mapping[Block, RunningMean]:
        return estimate_traces(
            probe,
            batches,
            operands,
            tolerance=self.tolerance,
            most_probes=self.most_probes,
            seed=self.seed,
            progress=self.progress,
        )

    def _settings(self) -> dict[str, object]:
        names = ("seed", "batches", "batch_size", "granularity", "tolerance", "most_probes")
        return {name: getattr(self, name) for name in names}


def _found(traces: Mapping[Block, RunningMean]) -> dict[str, str]:
    """How far the estimates got: probes used, worst relative error, blocks counted as flat."""
    worst = max(
        (trace.standard_error / abs(trace.mean) for trace in traces.values() if trace.mean),
        default=0.0,
    )
    flat = sorted(f"{kind} of {name}" for (kind, name), t in traces.items() if t.mean < 0)
    return {
        "probes": str(max(trace.count for trace in traces.values())),
        "largest_relative_error": f"{worst:.3g}",
        "negative_traces": ", ".join(flat),
    }


METRIC = HessianTrace()
