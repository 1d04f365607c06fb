"""BMPQ: bit gradients score layers during training from scratch; bits are re-allocated on the way.

Reconstructed from the paper's abstract; see ``docs/models/bmpq.md`` for what is the paper's and
what is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from hwmpq.errors import TrainingError
from hwmpq.methods.base import Phase, Schedule, Session, Task
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.insert import QuantizedModel, insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.bit_gradient import (
    BitGradientRecorder,
    ScoreOptions,
    Scores,
    table_from_scores,
)
from hwmpq.workload.graph import Workload

_SHARE_OF_INTERVAL: Final = 0.1
"""The paper re-allocates every 20 of 200 epochs."""
_SCORES: Final = ScoreOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class BMPQ:
    """Settings of BMPQ.

    Attributes:
        warm_up: epochs at the widest candidates before scores are kept; None is a tenth.
        interval: epochs between allocations; None is a tenth of all.
        frozen_share: share of the epochs, at the end, whose bits stay.
        scores: how bit gradients become sensitivities.
        narrow_bits: up to this width the weights' step follows their mean magnitude instead of
            their maximum, which would round nearly all of them to zero.
    """

    warm_up: int | None = None
    interval: int | None = None
    frozen_share: float = 0.25
    scores: ScoreOptions = _SCORES
    narrow_bits: int = 2

    @property
    def name(self) -> str:
        """Registry name."""
        return "bmpq"

    def schedule(self, epochs: int) -> Schedule:
        """Warm up, then allocate every interval until the frozen share begins.

        Raises:
            TrainingError: no allocation fits into so few epochs.
        """
        tenth = max(1, round(_SHARE_OF_INTERVAL * epochs))
        warm_up = tenth if self.warm_up is None else self.warm_up
        interval = tenth if self.interval is None else self.interval
        last = epochs - max(1, round(self.frozen_share * epochs))
        if warm_up + interval > last:
            msg = (
                f"bmpq needs a warm-up ({warm_up}), an interval ({interval}) and frozen epochs "
                f"({epochs - last}), but the training has {epochs} epochs; train longer"
            )
            raise TrainingError(msg)
        allocations = tuple(range(warm_up + interval, last + 1, interval))
        return Schedule(
            epochs=epochs, warm_up=warm_up, allocate_after=allocations, start="scratch"
        )

    def prepare(self, model: nn.Module, task: Task) -> Session:
        """Insert symmetric weight quantisers and clipped activations at the widest candidates."""
        quantizers = symmetric_and_clip(self.narrow_bits)
        quantised = insert_quantizers(model, task.workload, task.widest, quantizers)
        return BMPQSession(quantised, task.workload, self.scores)


class BMPQSession(Session):
    """Keeps bit gradients while it trains."""

    def __init__(self, model: QuantizedModel, workload: Workload, options: ScoreOptions) -> None:
        super().__init__(model)
        self.workload = workload
        self.options = options
        self.recorder = BitGradientRecorder(model, own_width=options.own_width)
        self.phase: Phase = "warm-up"

    def begin_epoch(self, phase: Phase) -> None:
        """Scores of the warm-up are not kept."""
        self.phase = phase

    def before_step(self) -> None:
        """Add the batch's bit gradients to the scores of the interval."""
        self.recorder.close_batch(keep=self.phase == "search")

    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """Epoch-normalised bit gradients times missing bits."""
        return table_from_scores(
            self.recorder.scores, self.model, self.workload, precisions, self.options
        )

    def apply(self, assignment: Assignment) -> None:
        """Switch bits and start a new interval."""
        self.model.apply(assignment)
        self.recorder.reset()

    def state(self) -> dict[str, Tensor]:
        """The interval's running sums."""
        scores = self.recorder.scores
        names = list(self.model.layers)
        sums = [
            [found.get(name, 0.0) for name in names]
            for found in (scores.weights, scores.activations)
        ]
        return {
            "sums": torch.tensor(sums, dtype=torch.float64),
            "batches": torch.tensor(scores.batches),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the running sums back."""
        weights, activations = state["sums"].tolist()
        names = list(self.model.layers)
        self.recorder.scores = Scores(
            weights=dict(zip(names, weights, strict=True)),
            activations=dict(zip(names, activations, strict=True)),
            batches=int(state["batches"]),
        )


METHOD = BMPQ()
