"""Tables and a budget in, an allocation out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hwmpq.allocate.base import Allocation, Allocator, Interaction
from hwmpq.allocate.budget import REFERENCE, Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.problem import Rules, build_problem
from hwmpq.allocate.ties import Groups
from hwmpq.cost.activation_cuts import ActivationCuts
from hwmpq.cost.table import CostTable
from hwmpq.errors import BudgetError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable


def with_settings(allocator: Allocator, **settings: object) -> Allocator:
    """The allocator with the settings that are given; None leaves one as it is.

    Raises:
        BudgetError: it has no such setting.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if not given:
        return allocator
    plain = cast("Any", allocator)
    known = [one.name for one in dataclasses.fields(plain)] if _has_settings(plain) else []
    unknown = [name for name in given if name not in known]
    if unknown:
        msg = (
            f"allocator {type(allocator).__name__} has no setting {', '.join(unknown)}; "
            f"it has {', '.join(known) or 'none'}"
        )
        raise BudgetError(msg)
    changed: Allocator = dataclasses.replace(plain, **given)
    return changed


def _has_settings(allocator: object) -> bool:
    return dataclasses.is_dataclass(allocator) and not isinstance(allocator, type)


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
