"""Tables and a budget in, an allocation out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwmpq.allocate.base import Allocation, Allocator, Interaction
from hwmpq.allocate.budget import REFERENCE, Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.problem import Rules, build_problem
from hwmpq.allocate.ties import Groups
from hwmpq.cost.activation_cuts import ActivationCuts
from hwmpq.cost.table import CostTable
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable


def allocate(
    costs: CostTable,
    sensitivity: SensitivityTable,
    budget: Budget,
    *,
    reference: Precision = REFERENCE,
    fixed: Mapping[str, Precision] | None = None,
    groups: Groups = (),
    candidates: Sequence[Precision] | None = None,
    minimum: Mapping[str, Precision] | None = None,
    forbidden: Mapping[str, Sequence[Precision]] | None = None,
    cuts: ActivationCuts | None = None,
    interactions: Sequence[Interaction] = (),
    allocator: Allocator | None = None,
) -> Allocation:
    """Choose a precision for every layer: least sensitivity within every budget.

    Args:
        costs: what each layer costs at each precision.
        sensitivity: how much each layer minds each precision.
        budget: hard limits.
        reference: the uniform precision that relative limits refer to.
        fixed: pins by layer name or glob pattern.
        groups: what shares bits: a workload's quantisation groups, ties, or plain names of layers
            that share the activations they read.
        candidates: precisions that layers without a pin may take; all columns by default.
        minimum: fewest bits by layer name or pattern, such as 4/4 for depthwise layers.
        forbidden: precisions that a layer must not take, by name or pattern.
        cuts: live activations (`hwmpq.cost.activation_cuts`), needed to limit their peak.
        interactions: quadratic terms; none by default.
        allocator: who solves; exact by default.

    Raises:
        InfeasibleError: no assignment meets the budgets; says the least that is achievable.
        BudgetError: a budget or a rule makes no sense.
        NotFoundError: a pattern matches no layer.
        UnsupportedError: the tables do not fit each other.
    """
    problem = build_problem(
        costs,
        sensitivity,
        budget,
        reference=reference,
        rules=Rules(
            candidates=candidates,
            fixed=fixed or {},
            minimum=minimum or {},
            forbidden=forbidden or {},
            groups=groups,
        ),
        cuts=cuts,
        interactions=interactions,
    )
    return (allocator or ILP()).solve(problem)
