"""BSQ: bit planes of weights are trained; a group lasso empties planes where they cost most.

The lasso is weighted by what a plane costs on the accelerator. Planes that have emptied are
dropped every interval, and the exact solver trims what is left to the budgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from hwmpq.allocate.base import Allocator
from hwmpq.allocate.ilp import ILP
from hwmpq.errors import UnsupportedError
from hwmpq.methods.base import Schedule, Session, Task, require_epochs
from hwmpq.methods.fine_tuning import FineTuning
from hwmpq.methods.fixed_activations import FixedActivations
from hwmpq.methods.fractional_cost import FractionalBudgets
from hwmpq.methods.learned_bits import distance, snapping_note
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.bit_planes import BitPlanes, collapse
from hwmpq.quant.insert import QuantizedModel, QuantizerPair, Site, insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.workload.layer import MatMul

Reweighting: TypeAlias = Literal["accelerator", "parameters", "none"]
_REWEIGHTINGS: Final = ("accelerator", "parameters", "none")
_SHARE_OF_INTERVAL: Final = 0.25
"""The authors adjust precision every 100 of 350 epochs."""
_ACTIVATION_BITS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BSQ:
    """Settings of BSQ.

    Attributes:
        alpha: weight of the group lasso, the trade-off between accuracy and bits. Planes empty as
            alpha times learning rate times steps grows: the paper's 5e-3 belongs to a hundred
            times as many steps as the default recipe takes.
        reweighting: what a layer's lasso is multiplied by: its share of the accelerator's marginal
            cost of a plane, of the parameters as in the paper, or nothing.
        interval: epochs between adjustments of precision; None is a quarter of all.
        activation_bits: of every layer without a pin, of both operands where two activations are
            multiplied; narrower only where the budgets cannot be met otherwise. None lets the
            solver choose.
        grow: whether a layer whose codes overflow gets another plane, which changes its weights,
            instead of being clipped.
        frozen_share: share of the epochs, at the end, whose bits stay.
    """

    alpha: float = 0.3
    reweighting: Reweighting = "accelerator"
    interval: int | None = None
    activation_bits: int | None = _ACTIVATION_BITS
    grow: bool = False
    frozen_share: float = 0.25

    def __post_init__(self) -> None:
        if self.reweighting not in _REWEIGHTINGS:
            known = ", ".join(_REWEIGHTINGS)
            msg = f"bsq re-weights by {known}, but the reweighting is '{self.reweighting}'"
            raise UnsupportedError(msg)

    @property
    def name(self) -> str:
        """Registry name."""
        return "bsq"

    def schedule(self, epochs: int) -> Schedule:
        """Learn planes from the float network, trim them once, then train float weights again.

        Raises:
            TrainingError: fewer than two epochs.
        """
        require_epochs("bsq", epochs, 2)
        last = epochs - max(1, round(self.frozen_share * epochs))
        return Schedule(epochs=epochs, warm_up=0, allocate_after=(last,), start="float")

    def prepare(self, model: nn.Module, task: Task) -> Session:
        """Split weights into planes at the widest candidate; clip activations at a learned level.

        Raises:
            UnsupportedError: the widest weights have no plane besides the sign.
        """
        start = self.start_bits(task.candidates)
        precisions = {
            layer.name: task.fixed.get(layer.name, start[isinstance(layer, MatMul)])
            for layer in task.workload.multiply_layers
        }
        return BSQSession(
            insert_quantizers(model, task.workload, precisions, _planes_and_clip), task, self
        )

    def start_bits(self, candidates: Sequence[Precision]) -> tuple[Precision, Precision]:
        """Bits to start with, of a layer with a stored weight and of a product of activations."""
        widths = sorted({precision.weight_bits for precision in candidates})
        activation = self.searched_activation_bits(candidates)
        operand = next((width for width in widths if width >= activation), widths[-1])
        return Precision(widths[-1], activation), Precision(operand, activation)

    def searched_activation_bits(self, candidates: Sequence[Precision]) -> int:
        """Activation bits while planes are learned: the narrowest candidate wide enough."""
        widths = sorted({precision.activation_bits for precision in candidates})
        wanted = self.activation_bits
        if wanted is None:
            return widths[-1]
        return next((width for width in widths if width >= wanted), widths[-1])


def _planes_and_clip(site: Site) -> QuantizerPair:
    bits = site.precision
    weight: FakeQuantizer = (
        PactQuantizer(bits.weight_bits, signed=site.signed_weight)
        if site.is_product
        else BitPlanes(site.weight, bits.weight_bits)
    )
    return weight, PactQuantizer(bits.activation_bits, signed=site.signed_input)


class BSQSession(Session):
    """Trains planes under a group lasso, and adjusts precision every interval.

    A product of two activations has no planes; both its operands are clipped at a learned level
    and have the width of activations.
    """

    def __init__(self, model: QuantizedModel, task: Task, options: BSQ) -> None:
        super().__init__(model)
        self.options = options
        self.layers = task.costs.choosable_layers
        self.activation_bits = options.searched_activation_bits(task.candidates)
        self.budgets = FractionalBudgets.of(task.resources, task.costs.precisions)
        self.planes = {
            layer.names[0]: layer.weight
            for layer in model.layers.values()
            if isinstance(layer.weight, BitPlanes)
        }
        self.learned = {n: planes for n, planes in self.planes.items() if n not in task.fixed}
        self.elements = torch.tensor(
            [
                float(self.planes[name].positive[0].numel()) if name in self.planes else 0.0
                for name in self.layers
            ],
            dtype=torch.float64,
        )
        schedule = task.schedule
        self.last_epoch = schedule.allocate_after[-1] if schedule else 0
        epochs = schedule.epochs if schedule else 1
        self.interval = options.interval or max(1, round(_SHARE_OF_INTERVAL * epochs))
        self.epochs = 0
        self.adjusted = False
        self.factors = self._factors()

    def _bits(self) -> tuple[Tensor, Tensor]:
        assignment = self.model.assignment
        bits = [
            (assignment[name].weight_bits, assignment[name].activation_bits)
            for name in self.layers
        ]
        weight, activation = torch.tensor(bits, dtype=torch.float64).T
        return weight, activation

    def _factors(self) -> dict[str, float]:
        """Factor of each layer's lasso: its planes times its share of what a plane costs.

        The shares of a budget are ``saving_l / sum saving``, averaged over the rows of all budgets
        in which weight bits count. For weight memory that is the paper's ``P_l n_l / P``.
        """
        bits = self._bits()
        planes = bits[0] - 1
        if self.options.reweighting == "none":
            return dict.fromkeys(self.layers, 1.0)
        marginal = [self.elements]
        if self.options.reweighting == "accelerator":
            marginal = [surface.savings(*bits)[0] for _, surface in self.budgets.rows]
        # Operands of products have no planes to share a cost with.
        stored = [savings * (self.elements > 0) for savings in marginal]
        shares = [savings / savings.sum() for savings in stored if float(savings.sum()) > 0]
        mean = sum(shares, start=torch.zeros_like(planes)) / max(1, len(shares))
        return dict(zip(self.layers, (planes * mean).tolist(), strict=True))

    def loss_penalty(self) -> Tensor | None:
        """The weighted group lasso; pinned layers take no part."""
        if self.options.alpha == 0:
            return None
        terms = [
            sum(self.factors[use] for use in self.model.layer(name).names) * planes.lasso()
            for name, planes in self.learned.items()
        ]
        return self.options.alpha * torch.stack(terms).sum() if terms else None

    def after_step(self) -> None:
        """Keep plane values within their range."""
        for planes in self.planes.values():
            planes.project()

    def end_epoch(self) -> None:
        """Adjust precision when an interval, or the search, is over."""
        self.epochs += 1
        self.adjusted = self.epochs % self.interval == 0 or self.epochs == self.last_epoch
        if self.adjusted:
            for planes in self.learned.values():
                planes.adjust(grow=self.options.grow)
            self.factors = self._factors()

    def wants_fresh_optimizer(self) -> bool:
        """Momentum of planes that were made binary again means nothing."""
        return self.adjusted

    def sensitivity(self, precisions: Sequence[Precision]) -> SensitivityTable:
        """Distance from the weight bits learned and from the activation bits wanted."""
        rows = [
            [
                self._weight_distance(name, precision.weight_bits)
                + self._activation_distance(precision.activation_bits)
                for precision in precisions
            ]
            for name in self.layers
        ]
        return SensitivityTable(
            layers=self.layers,
            precisions=tuple(precisions),
            values=np.array(rows, dtype=np.float64),
            metric="bsq",
            meta={"law": "4^missing - 1", "activation_bits": str(self.options.activation_bits)},
        )

    def allocator(self, seed: int) -> Allocator:
        """The exact solver; activations are fixed unless they are to be chosen."""
        solver = ILP(seed=seed)
        if self.options.activation_bits is None:
            return solver
        products = frozenset(name for name in self.layers if self.model.layer(name).is_product)
        return FixedActivations(bits=self.activation_bits, solver=solver, products=products)

    def _weight_distance(self, name: str, bits: int) -> float:
        layer = self.model.layer(name)
        if layer.is_product:
            return self._activation_distance(bits)
        return distance(layer.weight.bits, bits)

    def _activation_distance(self, bits: int) -> float:
        if self.options.activation_bits is not None:
            return distance(self.activation_bits, bits)
        # Their noise, in units of that of the paper's four bits.
        return float(4 ** (_ACTIVATION_BITS - bits))

    def note(self, assignment: Assignment) -> str:
        """What learning chose and what trimming changed."""
        spent = self.budgets.spent(*self._bits())
        shares = {name: float(share) for name, share in spent.items()}
        return snapping_note(self.model.assignment, assignment, shares)

    def fine_tuning(self, assignment: Assignment) -> Session:
        """Float weights again, with a learned step at the bits found."""
        return FineTuning(collapse(self.model, assignment))

    def state(self) -> dict[str, Tensor]:
        """Epochs done; planes are part of the network."""
        return {"epochs": torch.tensor(self.epochs)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the count of epochs back."""
        self.epochs = int(state["epochs"])
        self.factors = self._factors()


METHOD = BSQ()
