"""Build an allocation problem from tables, a budget and the user's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from hwmpq.allocate.base import AllocationProblem, BoolArray, FloatArray, Interaction
from hwmpq.allocate.budget import REFERENCE, Budget
from hwmpq.allocate.ties import Groups, Tie, as_ties
from hwmpq.cost.activation_cuts import ActivationCuts
from hwmpq.cost.table import CostTable
from hwmpq.errors import BudgetError, NotFoundError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be chosen; every key is a layer's name or a glob pattern such as ``layer4.*``.

    Attributes:
        candidates: precisions that layers without a pin may take; None for all columns.
        fixed: pins. A later pattern overrides an earlier one; an exact name overrides patterns.
        minimum: the fewest bits of weights and of activations, such as 4/4 for depthwise layers.
        forbidden: precisions that a layer must not take.
        groups: layers that share bits: those of a workload, ties, or plain names that share the
            activations that they read.
    """

    candidates: Sequence[Precision] | None = None
    fixed: Mapping[str, Precision] = field(default_factory=dict)
    minimum: Mapping[str, Precision] = field(default_factory=dict)
    forbidden: Mapping[str, Sequence[Precision]] = field(default_factory=dict)
    groups: Groups = ()


def matching(pattern: str, layers: Sequence[str], what: str) -> tuple[str, ...]:
    """Layers that a name or a glob pattern means.

    Raises:
        NotFoundError: none.

    >>> matching("layer1.*", ["stem", "layer1.0.conv1"], "pin")
    ('layer1.0.conv1',)
    """
    if pattern in layers:
        return (pattern,)
    found = tuple(layer for layer in layers if fnmatchcase(layer, pattern))
    if not found:
        kind = f"layer (for a {what})"
        raise NotFoundError(kind, pattern, layers)
    return found


def expand(
    rules: Mapping[str, Precision], layers: Sequence[str], what: str
) -> dict[str, Precision]:
    """Rules by layer: patterns in order, later ones win, exact names win over patterns.

    Raises:
        NotFoundError: a pattern matches no layer.
    """
    patterns = [key for key in rules if key not in layers]
    names = [key for key in rules if key in layers]
    return {
        layer: rules[key] for key in (*patterns, *names) for layer in matching(key, layers, what)
    }


def _allowed(costs: CostTable, rules: Rules) -> BoolArray:
    layers = costs.choosable_layers
    columns = costs.precisions
    candidates = columns if rules.candidates is None else tuple(rules.candidates)
    for precision in candidates:
        costs.precision_index(precision)
    open_columns = np.array([column in candidates for column in columns])
    allowed = np.tile(open_columns, (len(layers), 1))
    for layer, least in expand(rules.minimum, layers, "minimum").items():
        allowed[layers.index(layer)] &= [
            column.weight_bits >= least.weight_bits
            and column.activation_bits >= least.activation_bits
            for column in columns
        ]
    for pattern, pairs in rules.forbidden.items():
        for layer in matching(pattern, layers, "forbidden pair"):
            allowed[layers.index(layer)] &= [column not in pairs for column in columns]
    for layer, precision in expand(rules.fixed, layers, "pin").items():
        row = np.zeros(len(columns), dtype=np.bool_)
        row[costs.precision_index(precision)] = True
        allowed[layers.index(layer)] = row
    return allowed


def _aligned(
    costs: CostTable, sensitivity: SensitivityTable, allowed: BoolArray, pinned: Iterable[str]
) -> FloatArray:
    """Sensitivities on the cost table's layers and columns.

    A pinned layer that was not measured at its pin adds nothing: no choice depends on it.
    """
    values = np.full(allowed.shape, np.nan)
    columns = [
        (index, sensitivity.precisions.index(precision))
        for index, precision in enumerate(costs.precisions)
        if precision in sensitivity.precisions
    ]
    for row, layer in enumerate(costs.choosable_layers):
        if layer in sensitivity.layers:
            measured = sensitivity.row(layer)
            for mine, theirs in columns:
                values[row, mine] = measured[theirs]
        if layer in pinned:
            values[row] = np.where(np.isfinite(values[row]), values[row], 0.0)
    missing = np.argwhere(np.isnan(values) & allowed)
    if len(missing):
        row, column = (int(index) for index in missing[0])
        msg = (
            f"the sensitivity table of '{sensitivity.metric}' has no entry for layer "
            f"'{costs.choosable_layers[row]}' at {costs.precisions[column]} ({len(missing)} "
            "missing in all); measure it, pin the layer, or name the candidates"
        )
        raise UnsupportedError(msg)
    return values


def _check_names(costs: CostTable, sensitivity: SensitivityTable) -> None:
    unknown = sorted(set(sensitivity.layers) - set(costs.choosable_layers))
    if unknown:
        msg = (
            f"the sensitivity table names {unknown[:3]}, which are no layers with a choice in "
            f"'{costs.workload}'; was it measured on another network?"
        )
        raise UnsupportedError(msg)


def build_problem(
    costs: CostTable,
    sensitivity: SensitivityTable,
    budget: Budget,
    *,
    reference: Precision = REFERENCE,
    rules: Rules | None = None,
    cuts: ActivationCuts | None = None,
    interactions: Sequence[Interaction] = (),
) -> AllocationProblem:
    """Join tables, budget and rules into one problem.

    Raises:
        BudgetError: a budget or the rules make no sense, or leave a layer without a choice.
        NotFoundError: a rule's pattern matches no layer.
        UnsupportedError: the tables do not fit each other.
    """
    rules = rules or Rules()
    _check_names(costs, sensitivity)
    layers = costs.choosable_layers
    allowed = _allowed(costs, rules)
    pinned = expand(rules.fixed, layers, "pin")
    values = _aligned(costs, sensitivity, allowed, pinned)
    allowed &= ~np.isposinf(values)
    ties = as_ties(rules.groups)
    _check_ties(ties, pinned)
    return AllocationProblem(
        layers=layers,
        precisions=costs.precisions,
        sensitivity=np.where(allowed, values, 0.0),
        allowed=allowed,
        resources=budget.resolve(costs, reference=reference, cuts=cuts),
        ties=ties,
        interactions=tuple(interactions),
    )


def _check_ties(ties: Sequence[Tie], pinned: Mapping[str, Precision]) -> None:
    """Refuse pins that contradict a tie, by name: no search could say it as clearly."""
    for tie in ties:
        pins = {name: pinned[name] for name in tie.layers if name in pinned}
        weights = {precision.weight_bits for precision in pins.values()}
        activations = {precision.activation_bits for precision in pins.values()}
        clash = (tie.shared != "activations" and len(weights) > 1) or (
            tie.shared != "weights" and len(activations) > 1
        )
        if clash:
            shown = ", ".join(f"{name} at {precision}" for name, precision in pins.items())
            msg = f"pins contradict a tie that shares {tie.shared}: {shown}; change one of them"
            raise BudgetError(msg)
