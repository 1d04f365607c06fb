"""The seam of methods: what differs between BMPQ, LIMPQ, DQ, BSQ and the baselines.

A `Method` holds settings and is never changed. For each run it prepares a `Session`, which holds
the quantised network and whatever the method learns about it. The loop trains the session's
network, asks for sensitivities, allocates, and hands the answer back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from torch import Tensor, nn

from hwmpq.allocate.base import Allocator, Resource
from hwmpq.allocate.ilp import ILP
from hwmpq.cost.table import CostTable
from hwmpq.data.base import Data
from hwmpq.errors import TrainingError
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.insert import QuantizedModel
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.workload.graph import Workload

Phase: TypeAlias = Literal["warm-up", "search", "fine-tune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a method allocates.

    Attributes:
        epochs: epochs of the quantised network.
        warm_up: of these, epochs before the method starts to learn sensitivities.
        allocate_after: numbers of finished epochs after which bits are allocated, increasing. The
            last allocation stays for the rest of training.
        start: weights to begin with: the network's own, or those of the trained float baseline.
        rate: share of the recipe's learning rate, for networks that are trained already.
    """

    epochs: int
    warm_up: int
    allocate_after: tuple[int, ...]
    start: Literal["scratch", "float"]
    rate: float = 1.0

    def phase(self, epoch: int) -> Phase:
        """Phase of an epoch, counted from 0."""
        if epoch >= self.allocate_after[-1]:
            return "fine-tune"
        return "warm-up" if epoch < self.warm_up else "search"

    def epochs_of(self, phase: Phase) -> range:
        """Epochs of a phase."""
        last = self.allocate_after[-1]
        warm_up = min(self.warm_up, last)
        return {
            "warm-up": range(warm_up),
            "search": range(warm_up, last),
            "fine-tune": range(last, self.epochs),
        }[phase]


def require_epochs(method: str, epochs: int, least: int) -> None:
    """Check that a training is long enough.

    Raises:
        TrainingError: it is not.
    """
    if epochs < least:
        msg = f"{method} needs at least {least} epochs, but got {epochs}; train longer"
        raise TrainingError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a method is asked to do.

    Attributes:
        workload: the network as a graph.
        data: the data set; methods look at its training part only.
        costs: the accelerator's cost table.
        resources: budgets as rows over the choosable layers of the cost table.
        candidates: precisions the allocator may choose from.
        fixed: pinned layers -> precision.
        seed: of everything random.
        float_state: weights of the trained float baseline, on the CPU.
        schedule: when bits are allocated in this run; None where there is no run.
    """

    workload: Workload
    data: Data
    costs: CostTable
    resources: tuple[Resource, ...]
    candidates: tuple[Precision, ...]
    fixed: Assignment
    seed: int
    float_state: Mapping[str, Tensor] = field(default_factory=dict)
    schedule: Schedule | None = None

    @property
    def widest(self) -> dict[str, Precision]:
        """Every layer at the largest candidate widths, pinned layers at their own."""
        most = Precision(
            max(precision.weight_bits for precision in self.candidates),
            max(precision.activation_bits for precision in self.candidates),
        )
        layers = (layer.name for layer in self.workload.multiply_layers)
        return {name: self.fixed.get(name, most) for name in layers}


class Hooks:
    """What may happen around a training step; as it stands, nothing, which is plain training."""

    def begin_epoch(self, phase: Phase) -> None:
        """Is told the phase before an epoch's first step."""

    def passes(self) -> Iterator[None]:
        """One item for each forward and backward pass of a step; set widths before yielding."""
        yield

    def loss_penalty(self) -> Tensor | None:
        """Extra term of the loss in each pass, such as a price on hardware cost."""
        return None

    def before_step(self) -> None:
        """Look at, or change, the gradients before the optimiser uses them."""

    def after_step(self) -> None:
        """Project parameters after the optimiser has changed them."""

    def end_epoch(self) -> None:
        """Close an epoch, such as by adjusting what the method learns."""

    def wants_fresh_optimizer(self) -> bool:
        """Whether the epoch's end changed parameters so that their momentum means nothing now."""
        return False

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the network."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""


class Session(Hooks, ABC):
    """A method at work on one network.

    Attributes:
        model: the network with quantisers.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model

    @abstractmethod
    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """What the allocator minimises, from what was seen since the last allocation."""

    def allocator(self, seed: int) -> Allocator:
        """Who allocates: the exact solver."""
        return ILP(seed=seed)

    def apply(self, assignment: Assignment) -> None:
        """Change bits in place and begin a new interval; float weights are kept."""
        self.model.apply(assignment)

    def fine_tuning(self, assignment: Assignment) -> Session:
        """The session for the epochs after the last allocation; a new one if parameters change."""
        self.apply(assignment)
        return self

    def note(self, assignment: Assignment) -> str:
        """What the method has to say about a round that put an assignment in force."""
        del assignment
        return ""


class Method(Protocol):
    """A way to find bits.

    A module of ``hwmpq/methods`` that defines ``METHOD`` is such a method; its registry name is
    the module name.
    """

    @property
    def name(self) -> str:
        """Registry name."""
        ...

    def schedule(self, epochs: int) -> Schedule:
        """When to allocate in a training of so many epochs.

        Raises:
            TrainingError: too few epochs.
        """
        ...

    def prepare(self, model: nn.Module, task: Task) -> Session:
        """Insert the method's quantisers into the network, in place.

        Raises:
            UnsupportedError: a layer takes no quantiser.
        """
        ...
