"""DQ: steps and ranges are learned, widths follow; the accelerator's costs are part of the loss.

Grids are uniform, or of powers of two between a smallest and a largest magnitude. The budgets'
costs at the widths being learned are penalised by gradient, then the exact solver snaps the widths
to precisions that the accelerator supports, inside the budgets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from hwmpq.allocate.base import Allocation, AllocationProblem, Allocator
from hwmpq.allocate.ilp import ILP
from hwmpq.errors import UnsupportedError
from hwmpq.methods.base import Phase, Schedule, Session, Task, require_epochs
from hwmpq.methods.fractional_cost import FractionalBudgets
from hwmpq.methods.learned_bits import distance_table, snapping_note
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.insert import (
    QuantizedModel,
    QuantizerFactory,
    QuantizerPair,
    Site,
    insert_quantizers,
)
from hwmpq.quant.learned_grid import GridSettings, LearnedGrid, Parametrization
from hwmpq.quant.learned_powers import MOST_BITS, LearnedPowers
from hwmpq.quant.learned_uniform import LearnedUniform
from hwmpq.sensitivity.base import SensitivityTable

Quantizer: TypeAlias = Literal["uniform", "power_of_two"]
_QUANTIZERS: Final = ("uniform", "power_of_two")
_PARAMETRIZATIONS: Final = ("step_range", "bits_step", "bits_range")
_STAND_IN: Final = (
    "power-of-two codes: memory and traffic are those of the bits, but cycles and energy of "
    "products are the accelerator's for integers of as many bits, which stand in for shifts that "
    "it does not model; pinned layers are integers"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DQ:
    """Settings of DQ.

    Attributes:
        quantizer: ``uniform`` grids, or ``power_of_two``: then the step is the smallest magnitude
            and the range the largest, and pinned layers stay uniform.
        parametrization: which two of step, range and bits are learned.
        penalty_weight: weight of ``(spent / limit - 1)^2`` of each budget that is overspent.
        start_bits: width that learning starts from.
        rate: learning rate of steps and ranges, as a share of that of the weights.
        power_of_two_step: whether steps of uniform grids are powers of two, so that requantising
            is a shift. Powers of two have no other.
        frozen_share: share of the epochs, at the end, whose bits stay.
    """

    quantizer: Quantizer = "uniform"
    parametrization: Parametrization = "step_range"
    penalty_weight: float = 10.0
    start_bits: int = 4
    rate: float = 0.1
    power_of_two_step: bool = True
    frozen_share: float = 0.25

    def __post_init__(self) -> None:
        _require_known("quantises by", "quantizer", self.quantizer, _QUANTIZERS)
        _require_known("learns", "parametrization", self.parametrization, _PARAMETRIZATIONS)
        if self.quantizer == "power_of_two" and not self.power_of_two_step:
            msg = (
                "the ends of power-of-two grids are powers of two; power_of_two_step=False needs "
                "quantizer='uniform'"
            )
            raise UnsupportedError(msg)

    @property
    def name(self) -> str:
        """Registry name."""
        return "dq"

    def schedule(self, epochs: int) -> Schedule:
        """Learn bits from the float network, snap them once, then train at the snapped bits.

        Raises:
            TrainingError: fewer than two epochs.
        """
        require_epochs("dq", epochs, 2)
        last = epochs - max(1, round(self.frozen_share * epochs))
        return Schedule(epochs=epochs, warm_up=0, allocate_after=(last,), start="float")

    def prepare(self, model: nn.Module, task: Task) -> Session:
        """Insert learned grids; pinned layers keep their width."""
        start = {
            name: task.fixed.get(name, Precision(self.start_bits, self.start_bits))
            for name in task.widest
        }
        device = next(model.parameters()).device
        quantised = insert_quantizers(model, task.workload, start, self._quantizers(task))
        return DQSession(quantised, task, self, device)

    def _quantizers(self, task: Task) -> QuantizerFactory:
        most = Precision(
            max(p.weight_bits for p in task.candidates),
            max(p.activation_bits for p in task.candidates),
        )

        def make(site: Site) -> QuantizerPair:
            of_powers = self.quantizer == "power_of_two" and site.layer.name not in task.fixed
            make_grid = self._powers if of_powers else self._uniform
            weight, activation = site.precision.weight_bits, site.precision.activation_bits
            return (
                make_grid(weight, most.weight_bits, site.signed_weight, site.is_product),
                make_grid(activation, most.activation_bits, site.signed_input, True),
            )

        return make

    def _uniform(self, bits: int, most_bits: int, signed: bool, _zero: bool) -> LearnedGrid:
        settings = GridSettings(parametrization=self.parametrization, most_bits=most_bits)
        shift = self.power_of_two_step
        return LearnedUniform(bits, signed=signed, settings=settings, power_of_two_step=shift)

    def _powers(self, bits: int, most_bits: int, signed: bool, zero: bool) -> LearnedGrid:
        settings = GridSettings(
            parametrization=self.parametrization, most_bits=min(most_bits, MOST_BITS)
        )
        return LearnedPowers(bits, signed=signed, zero=zero, settings=settings)


def _require_known(verb: str, field: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        msg = f"dq {verb} {', '.join(known)}, but the {field} is '{given}'"
        raise UnsupportedError(msg)


@dataclass(frozen=True, slots=True)
class _StandIn:
    """The exact solver, whose answer says what the costs of power-of-two codes are."""

    solver: ILP

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Solve, and say it.

        Raises:
            InfeasibleError: no assignment meets the budgets.
            BudgetError: none was found in the time allowed.
        """
        found = self.solver.solve(problem)
        return replace(found, notes=(*found.notes, _STAND_IN))


class DQSession(Session):
    """Learns grids under a penalty on what they cost."""

    def __init__(
        self, model: QuantizedModel, task: Task, options: DQ, device: torch.device
    ) -> None:
        super().__init__(model)
        self.options = options
        self.layers = task.costs.choosable_layers
        self.fixed = frozenset(task.fixed)
        budgets = FractionalBudgets.of(task.resources, task.costs.precisions)
        self.budgets = budgets.to(device)
        self.phase: Phase = "search"
        for name in self.layers:
            if name not in self.fixed:
                for grid in self._grids(name):
                    grid.learn()

    def _grids(self, name: str) -> tuple[LearnedGrid, LearnedGrid]:
        layer = self.model.layer(name)
        return cast("LearnedGrid", layer.weight), cast("LearnedGrid", layer.activation)

    def _every_grid(self) -> Iterator[LearnedGrid]:
        for layer in self.model.layers.values():
            yield cast("LearnedGrid", layer.weight)
            yield cast("LearnedGrid", layer.activation)

    def _needed(self) -> tuple[Tensor, Tensor]:
        """Whole bits of weights and of activations with gradient, ``[layers]`` each."""
        pairs = [self._grids(name) for name in self.layers]
        return (
            torch.stack([weight.needed_bits() for weight, _ in pairs]),
            torch.stack([activation.needed_bits() for _, activation in pairs]),
        )

    def begin_epoch(self, phase: Phase) -> None:
        """The penalty ends with the search."""
        self.phase = phase

    def loss_penalty(self) -> Tensor | None:
        """What the widths being learned overspend of the budgets."""
        if self.phase == "fine-tune" or self.options.penalty_weight == 0:
            return None
        return self.options.penalty_weight * self.budgets.penalty(*self._needed())

    def before_step(self) -> None:
        """Clip the gradients of step and range to one step, as the authors do, then slow them."""
        for grid in self._every_grid():
            grid.clip_gradients()
            for parameter in grid.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(self.options.rate)

    def after_step(self) -> None:
        """Bring steps and ranges back into their bounds."""
        for grid in self._every_grid():
            grid.project()

    def end_epoch(self) -> None:
        """Take the widths learned as those in force."""
        for grid in self._every_grid():
            grid.settle()

    def allocator(self, seed: int) -> Allocator:
        """The exact solver."""
        solver = ILP(seed=seed)
        return _StandIn(solver) if self.options.quantizer == "power_of_two" else solver

    @torch.no_grad()
    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """Distance from the bits learned."""
        learned = {
            name: (float(weight.fractional_bits()), float(activation.fractional_bits()))
            for name in self.layers
            for weight, activation in [self._grids(name)]
        }
        return distance_table(learned, precisions, "dq")

    @torch.no_grad()
    def note(self, assignment: Assignment) -> str:
        """What learning chose and what snapping changed."""
        spent = self.budgets.spent(*self._needed())
        shares = {name: float(share) for name, share in spent.items()}
        return snapping_note(self.model.assignment, assignment, shares)


METHOD = DQ()
