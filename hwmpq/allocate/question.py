"""What is asked of an allocator: network, machine, costs, budget and rules, without any score.

Shared by ``hwmpq allocate``, which scores a trained network once, and by the co-optimisation loop,
which scores in every round. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.budget import REFERENCE, Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.interval import Interval, feasible_interval
from hwmpq.allocate.problem import Rules, build_problem, expand
from hwmpq.allocate.ties import Tie, as_ties, same_activation_bits
from hwmpq.cost.activation_cuts import activation_cuts
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.workload.graph import Workload
from hwmpq.workload.groups import quantization_groups, repeated_layers

FIRST_AND_LAST: Final = Precision(8, 8)
"""Pin of the first and the last multiplying layer unless pins are given."""
_NARROWEST, _WIDEST = 2, 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """Everything that an allocation needs but the scores.

    Attributes:
        workload: the network's graph.
        accelerator: the machine.
        costs: what every layer costs at every precision in question.
        budget: the limits.
        reference: what relative limits refer to.
        rules: candidates, pins and ties.
    """

    workload: Workload
    accelerator: Accelerator
    costs: CostTable
    budget: Budget
    reference: Precision
    rules: Rules

    @property
    def candidates(self) -> tuple[Precision, ...]:
        """Precisions that layers without a pin may take."""
        return tuple(self.rules.candidates or ())

    @property
    def fixed(self) -> dict[str, Precision]:
        """Pinned layers by name."""
        return expand(self.rules.fixed, self.costs.choosable_layers, "pin")

    def resources(self) -> tuple[Resource, ...]:
        """The budgets as rows over the choosable layers."""
        return self._without_scores().resources

    def problem(self, sensitivity: SensitivityTable) -> AllocationProblem:
        """The allocation problem under given sensitivities."""
        cuts = None
        if "peak_activation_memory" in self.budget.names:
            unit = self.accelerator.vector
            cuts = activation_cuts(
                self.workload,
                self.costs.precisions,
                vector_bits=unit.element_bits,
                fused=unit.fused,
                same_width=same_activation_bits(self.costs.choosable_layers, self.rules.groups),
            )
        return build_problem(
            self.costs,
            sensitivity,
            self.budget,
            reference=self.reference,
            rules=self.rules,
            cuts=cuts,
        )

    def _without_scores(self) -> AllocationProblem:
        layers = self.costs.choosable_layers
        zeros = np.zeros((len(layers), len(self.costs.precisions)))
        return self.problem(
            SensitivityTable(
                layers=layers, precisions=self.costs.precisions, values=zeros, metric="none"
            )
        )

    def intervals(self) -> tuple[Interval, ...]:
        """What each budgeted quantity can be limited to."""
        problem = self._without_scores()
        return tuple(feasible_interval(problem, name) for name in self.budget.names)

    def limits(self) -> dict[str, float]:
        """What each budget asks for, in its reported unit."""
        return {row.name: row.limit / row.divisor for row in reversed(self.resources())}

    def require_feasible(self) -> None:
        """Check that some assignment meets the budgets.

        Raises:
            InfeasibleError: none does; says the least that is achievable.
        """
        ILP().solve(self._without_scores())


def ask(
    workload: Workload,
    accelerator: Accelerator,
    budget: Budget,
    *,
    reference: Precision = REFERENCE,
    candidates: Sequence[Precision] | None = None,
    fixed: Mapping[str, Precision] | None = None,
    groups: Sequence[Tie | Sequence[str]] | None = None,
    price: Callable[[Workload, Accelerator, Sequence[Precision]], CostTable] = cost_table,
) -> Question:
    """Price a network and fill in the usual rules.

    Args:
        workload: the network's graph.
        accelerator: the machine.
        budget: the limits.
        reference: what relative limits refer to.
        candidates: precisions to choose from; by default what the accelerator runs from two to
            eight bits.
        fixed: pins by name or pattern; by default those of the workload file, else 8/8 for the
            first and the last multiplying layer.
        groups: layers that share bits; by default those that the network's graph ties: readers of
            one tensor, the query, key and value of an attention, and, where the accelerator's
            ``tie_residual`` asks for it, what meets in additions and concatenations.
        price: makes the cost table; one that was kept may stand in for pricing afresh.

    Raises:
        UnsupportedError: an operator or a precision cannot be priced.
    """
    options = _candidates(accelerator, candidates)
    pins = _pins(workload, fixed)
    columns = dict.fromkeys((*options, reference, *pins.values()))
    return Question(
        workload=workload,
        accelerator=accelerator,
        costs=price(workload, accelerator, tuple(columns)),
        budget=budget,
        reference=reference,
        rules=Rules(
            candidates=options, fixed=pins, groups=_ties(workload, accelerator, pins, groups)
        ),
    )


def _candidates(
    accelerator: Accelerator, candidates: Sequence[Precision] | None
) -> tuple[Precision, ...]:
    if candidates is not None:
        return tuple(dict.fromkeys(candidates))
    found = tuple(
        precision
        for precision in accelerator.supported
        if _NARROWEST <= precision.weight_bits <= _WIDEST
        and _NARROWEST <= precision.activation_bits <= _WIDEST
    )
    if not found:
        msg = (
            f"accelerator '{accelerator.name}' runs no width from {_NARROWEST} to {_WIDEST} bits; "
            "name the candidates"
        )
        raise UnsupportedError(msg)
    return found


def _pins(workload: Workload, fixed: Mapping[str, Precision] | None) -> dict[str, Precision]:
    if fixed is not None:
        return dict(fixed)
    if workload.fixed_precisions:
        return {name: Precision.parse(text) for name, text in workload.fixed_precisions.items()}
    layers = workload.multiply_layers
    return {layer.name: FIRST_AND_LAST for layer in (layers[0], layers[-1])} if layers else {}


def _ties(
    workload: Workload,
    accelerator: Accelerator,
    pins: Mapping[str, Precision],
    groups: Sequence[Tie | Sequence[str]] | None,
) -> tuple[Tie | Sequence[str], ...]:
    if groups is None:
        found = quantization_groups(workload, tie_residual=accelerator.tie_residual)
        # A pin of one layer's weights is no wish about those of its partners.
        pinned = expand(pins, tuple(layer.name for layer in workload.multiply_layers), "pin")
        free = (tuple(name for name in names if name not in pinned) for names in found.weights)
        return as_ties(replace(found, weights=tuple(names for names in free if len(names) > 1)))
    # A module that runs twice has one weight and one quantiser of its input.
    return (*groups, *(Tie(names, "both") for names in repeated_layers(workload)))
