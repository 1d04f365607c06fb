"""LIMPQ's indicator: learned step sizes, one per layer and width, trained jointly.

A larger learned step means that the layer needs a coarser grid, and suffers more from few bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import torch
from torch import nn

from hwmpq.data.base import Batch, Data, calibration_batches
from hwmpq.data.loss import cross_entropy
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.joint_steps import JointSteps, StepOptions, table_from_steps
from hwmpq.sensitivity.probe import UNHEARD, Progress, own_random_state, require_finite
from hwmpq.workload.graph import Workload

_DEFAULTS: Final = StepOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSize:
    """Steps learned jointly on a copy of the network.

    Attributes:
        options: how steps become sensitivities.
        batches: mini-batches to train on.
        batch_size: samples of a mini-batch.
        learning_rate: of plain SGD with momentum.
        seed: of samples and widths.
        progress: is told of each mini-batch.
    """

    options: StepOptions = _DEFAULTS
    batches: int = 80
    batch_size: int = 64
    learning_rate: float = 0.01
    seed: int = 0
    progress: Progress = field(default=UNHEARD, compare=False, repr=False)

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Train steps and weights of a copy, then read the steps.

        Raises:
            UnsupportedError: there is no layer to measure.
            TrainingError: the loss is not finite or there are no data.
        """
        if not workload.multiply_layers:
            msg = f"workload '{workload.name}' has no layer with a bit-width to choose"
            raise UnsupportedError(msg)
        network = deepcopy(model).requires_grad_()
        device = next(network.parameters()).device
        with own_random_state(device, self.seed):
            joint = JointSteps(network, workload, precisions, {}, self.seed)
            first = next(self._drawn(data, device))
            joint.start_steps(first)
            self._train(network, joint, self._drawn(data, device))
            return table_from_steps(joint, precisions, self.options)

    def _drawn(self, data: Any, device: torch.device) -> Iterator[Batch]:
        """As many mini-batches as wanted, from the start again where the data end."""
        source = data if isinstance(data, Data) else tuple(islice(data, self.batches))
        left = self.batches
        while left:
            for inputs, labels in calibration_batches(
                source, batches=left, batch_size=self.batch_size, seed=self.seed
            ):
                left -= 1
                yield inputs.to(device), labels.to(device)

    def _train(self, network: nn.Module, joint: JointSteps, drawn: Iterator[Batch]) -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate, momentum=0.9)
        network.train()
        self.progress.start("joint steps", self.batches)
        for inputs, labels in drawn:
            optimizer.zero_grad()
            for _ in joint.passes():
                loss = cross_entropy(network(inputs), labels)
                require_finite(float(loss.detach()), "the loss of the joint training of steps")
                loss.backward()  # type: ignore[no-untyped-call]
            joint.clip_gradients()
            optimizer.step()
            self.progress.advance("joint steps")


METRIC = StepSize()
