"""LIMPQ's indicator: learned step sizes, one per layer and width, trained jointly.

A larger learned step means that the layer needs a coarser grid, and suffers more from few bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from hwmpq.data.base import calibration_batches
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.joint_steps import JointSteps, StepOptions, table_from_steps
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
    """

    options: StepOptions = _DEFAULTS
    batches: int = 80
    batch_size: int = 64
    learning_rate: float = 0.01
    seed: int = 0

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Train steps and weights of a copy, then read the steps.

        Raises:
            UnsupportedError: there is no layer to measure.
        """
        if not workload.multiply_layers:
            msg = f"workload '{workload.name}' has no layer with a bit-width to choose"
            raise UnsupportedError(msg)
        network = deepcopy(model).requires_grad_()
        joint = JointSteps(network, workload, precisions, {}, self.seed)
        drawn = list(
            calibration_batches(
                data, batches=self.batches, batch_size=self.batch_size, seed=self.seed
            )
        )
        joint.start_steps(drawn[0])
        optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate, momentum=0.9)
        network.train()
        for index in range(self.batches):
            inputs, labels = drawn[index % len(drawn)]
            optimizer.zero_grad()
            for _ in joint.passes():
                loss = nn.functional.cross_entropy(network(inputs), labels)
                loss.backward()  # type: ignore[no-untyped-call]
            joint.clip_gradients()
            optimizer.step()
        return table_from_steps(joint, drawn[0], precisions, self.options)


METRIC = StepSize()
