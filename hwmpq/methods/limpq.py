"""LIMPQ: learn one step size per layer and width, solve once, fine-tune from the float network.

References:
    C. Tang et al., "Mixed-Precision Neural Network Quantization via Learned Layer-wise
    Importance", ECCV 2022, arXiv:2203.08368, and the code published with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from hwmpq.methods.base import Phase, Schedule, Session, Task, require_epochs
from hwmpq.methods.fine_tuning import FineTuning
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pairs import learned_steps
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.joint_steps import Indicator, JointSteps, StepOptions, table_from_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class LIMPQ:
    """Settings of LIMPQ.

    Attributes:
        search: epochs of joint training; None is a sixth of all. Each costs one pass a width and
            one more.
        alpha: factor of the weights' steps in the objective.
        indicator: ``step`` is the paper's; see `hwmpq.sensitivity.joint_steps.StepOptions`.
        rate: share of the recipe's learning rate, since the network is trained already.
    """

    search: int | None = None
    alpha: float = 2.0
    indicator: Indicator = "step"
    rate: float = 0.1

    @property
    def name(self) -> str:
        """Registry name."""
        return "limpq"

    def schedule(self, epochs: int) -> Schedule:
        """Learn steps jointly, allocate once, fine-tune from the float baseline.

        Raises:
            TrainingError: too few epochs.
        """
        search = max(1, round(epochs / 6)) if self.search is None else self.search
        require_epochs("limpq", epochs, search + 1)
        return Schedule(
            epochs=epochs, warm_up=0, allocate_after=(search,), start="float", rate=self.rate
        )

    def prepare(self, model: nn.Module, task: Task) -> Session:
        """Insert learned steps for all candidate widths, and norms with a copy for each."""
        untouched = deepcopy(model)
        joint = JointSteps(model, task.workload, task.candidates, task.fixed, task.seed)
        generator = torch.Generator().manual_seed(task.seed)
        batch = next(islice(task.data.train.batches(64, generator=generator), 1))
        device = next(model.parameters()).device
        joint.start_steps((batch[0].to(device), batch[1].to(device)))
        return LIMPQSession(self, task, joint, untouched)


class LIMPQSession(Session):
    """Trains all widths at once."""

    def __init__(self, method: LIMPQ, task: Task, joint: JointSteps, untouched: nn.Module) -> None:
        super().__init__(joint.model)
        self.method = method
        self.task = task
        self.joint = joint
        self.untouched = untouched
        self.first_steps = joint.steps()

    def begin_epoch(self, phase: Phase) -> None:
        """Widths of an epoch are drawn from the seed and the epochs done."""
        del phase
        self.joint.begin_epoch()

    def passes(self) -> Iterator[None]:
        """Each width once, then random ones."""
        yield from self.joint.passes()

    def before_step(self) -> None:
        """Clip gradients as the published code does."""
        self.joint.clip_gradients()

    def end_epoch(self) -> None:
        """Leave the widest level in force, which validation scores."""
        self.joint.set_level(0)

    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """Learned steps."""
        options = StepOptions(alpha=self.method.alpha, indicator=self.method.indicator)
        return table_from_steps(self.joint, precisions, options)

    def note(self, assignment: Assignment) -> str:
        """How far the steps have moved from where they started."""
        del assignment
        steps = self.joint.steps()
        moves = [abs(steps[key] - start) / start for key, start in self.first_steps.items()]
        text = f"steps moved by up to {max(moves):.1%} from their start"
        if max(moves) < 0.01:
            text += "; this is little, so the scores are those of the start: train longer"
        return text

    def apply(self, assignment: Assignment) -> None:
        """Nothing: all widths are in training until the fine-tuning begins."""
        del assignment

    def fine_tuning(self, assignment: Assignment) -> Session:
        """A fresh network with the float baseline's weights and plain LSQ."""
        quantised = insert_quantizers(
            self.untouched,
            self.task.workload,
            assignment,
            learned_steps(assignment.values()),
        )
        return FineTuning(quantised)

    def state(self) -> dict[str, Tensor]:
        """Sums of gradients and the number of passes and epochs."""
        return self.joint.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the sums back."""
        self.joint.load_state(state)


METHOD = LIMPQ()
