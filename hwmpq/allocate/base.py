"""The values of allocation: problem, answer, and the seam of allocators."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from hwmpq.allocate.ties import Tie
from hwmpq.errors import BudgetError, Problem, SpecError, UnsupportedError
from hwmpq.precision import Assignment, Precision

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


class Status(StrEnum):
    """What is known about an allocation.

    OPTIMAL means proved, to within the gap that the allocation states. FEASIBLE means that every
    budget holds and nothing more, but for the bound that may come with it.
    """

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resource:
    """One hard row: the sum of its costs over the layers, plus a constant, within a limit.

    A budget on a maximum, such as peak activation memory, is several rows of one name.

    Attributes:
        name: the budget that the row belongs to.
        unit: canonical unit of the reported quantity.
        costs: ``[layers, precisions]``; integers are summed exactly, floats correctly rounded.
        limit: the most that the sum may be.
        constant: what is spent whatever is chosen.
        reference: the sum at the reference precision, where there is one.
        divisor: the reported quantity is the sum over this (an average's denominator).
        label: what tells rows of one name apart, such as a cut of the graph.
    """

    name: str
    unit: str
    costs: IntArray | FloatArray
    limit: float
    constant: float = 0
    reference: float | None = None
    divisor: float = 1
    label: str = ""

    @property
    def exact(self) -> bool:
        """Whether costs are integers."""
        return bool(np.issubdtype(self.costs.dtype, np.integer))

    def total(self, choices: IntArray) -> float:
        """The sum under one choice a layer, ``[layers]`` of column indices."""
        chosen: list[float] = self.costs[np.arange(len(self.costs)), choices].tolist()
        if self.exact and isinstance(self.constant, int):
            return sum(chosen, start=self.constant)
        return math.fsum((*chosen, self.constant))


@dataclass(frozen=True, slots=True, eq=False)
class Interaction:
    """A quadratic term: extra sensitivity of two layers' choices together.

    Attributes:
        first: row of one layer.
        second: row of the other.
        values: ``[precisions of first, precisions of second]``.
    """

    first: int
    second: int
    values: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AllocationProblem:
    """Choose one precision for each layer: least sensitivity, every row within its limit.

    Attributes:
        layers: names.
        precisions: the columns.
        sensitivity: ``[layers, precisions]``, finite where allowed.
        allowed: ``[layers, precisions]``, False for a choice that is forbidden.
        resources: the hard rows.
        ties: layers that share bits.
        interactions: quadratic terms, none by default.
    """

    layers: tuple[str, ...]
    precisions: tuple[Precision, ...]
    sensitivity: FloatArray
    allowed: BoolArray
    resources: tuple[Resource, ...] = ()
    ties: tuple[Tie, ...] = ()
    interactions: tuple[Interaction, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.layers), len(self.precisions))
        arrays = [("sensitivity", self.sensitivity), ("allowed", self.allowed)]
        arrays += [(f"costs of {row.name}", row.costs) for row in self.resources]
        for what, array in arrays:
            if array.shape != shape:
                msg = f"{what} must have shape {shape}, but got {array.shape}"
                raise UnsupportedError(msg)
        if not self.layers:
            msg = "there is no layer with a bit-width to choose"
            raise UnsupportedError(msg)
        if not np.all(np.isfinite(self.sensitivity[self.allowed])):
            msg = "sensitivities must be finite wherever a choice is allowed"
            raise UnsupportedError(msg)
        for row in self.resources:
            if not np.all(np.isfinite(row.costs)) or math.isnan(row.limit):
                msg = f"costs and limit of {row.name} must be finite"
                raise UnsupportedError(msg)
        for name in self.budget_names:
            kinds = {(row.limit, row.unit, row.divisor) for row in self.rows_of(name)}
            if len(kinds) > 1:
                msg = f"rows of budget {name} must share limit, unit and divisor, but are {kinds}"
                raise UnsupportedError(msg)
        without = [
            name for name, row in zip(self.layers, self.allowed, strict=True) if not row.any()
        ]
        if without:
            msg = f"no precision is allowed for {', '.join(without)}; widen pins or minimum bits"
            raise BudgetError(msg)
        unknown = {name for tie in self.ties for name in tie.layers} - set(self.layers)
        if unknown:
            msg = f"a tie names {sorted(unknown)}, which are no layers of the problem"
            raise UnsupportedError(msg)

    @property
    def budget_names(self) -> tuple[str, ...]:
        """Names of the budgets, in order, each once."""
        return tuple(dict.fromkeys(row.name for row in self.resources))

    def rows_of(self, name: str) -> tuple[Resource, ...]:
        """The rows of one budget."""
        return tuple(row for row in self.resources if row.name == name)

    def objective(self, choices: IntArray) -> float:
        """Sensitivity of one choice a layer, correctly rounded."""
        terms = self.sensitivity[np.arange(len(self.layers)), choices].tolist()
        terms += [
            float(pair.values[choices[pair.first], choices[pair.second]])
            for pair in self.interactions
        ]
        return math.fsum(terms)

    def achieved(self, name: str, choices: IntArray) -> float:
        """Reported value of one budget: the largest of its rows."""
        return max(row.total(choices) / row.divisor for row in self.rows_of(name))

    def exceeded(self, choices: IntArray) -> tuple[str, ...]:
        """Budgets that a choice breaks."""
        broken = (row.name for row in self.resources if row.total(choices) > row.limit)
        return tuple(dict.fromkeys(broken))

    def ties_hold(self, choices: IntArray) -> bool:
        """Whether a choice respects all ties and forbidden pairs."""
        index = {name: row for row, name in enumerate(self.layers)}
        for tie in self.ties:
            chosen = {self.precisions[choices[index[name]]] for name in tie.layers}
            if tie.shared != "activations" and len({p.weight_bits for p in chosen}) > 1:
                return False
            if tie.shared != "weights" and len({p.activation_bits for p in chosen}) > 1:
                return False
        return bool(self.allowed[np.arange(len(self.layers)), choices].all())

    def assignment(self, choices: IntArray) -> dict[str, Precision]:
        """Choices by name."""
        return {
            name: self.precisions[column]
            for name, column in zip(self.layers, choices.tolist(), strict=True)
        }

    def choices(self, assignment: Assignment) -> IntArray:
        """Column indices of an assignment.

        Raises:
            UnsupportedError: a layer is missing or a precision is no column.
        """
        column = {precision: index for index, precision in enumerate(self.precisions)}
        try:
            return np.array([column[assignment[name]] for name in self.layers], dtype=np.int64)
        except KeyError as error:
            msg = f"the assignment does not fit the problem: {error.args[0]} is missing"
            raise UnsupportedError(msg) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReport:
    """What became of one budget, in its canonical unit.

    Attributes:
        name: the budgeted quantity.
        unit: its unit.
        limit: what was asked for.
        achieved: what the allocation spends.
        reference: what the uniform reference spends.
        least: the least that any assignment could spend, other budgets aside.
        shadow_price: how much sensitivity one more unit of budget would save, from the linear
            relaxation; None where the allocator knows no relaxation.
    """

    name: str
    unit: str
    limit: float
    achieved: float
    reference: float | None = None
    least: float | None = None
    shadow_price: float | None = None

    @property
    def slack(self) -> float:
        """What is left of the budget."""
        return self.limit - self.achieved


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """An answer that has been checked against the tables.

    Attributes:
        assignment: precision of each layer.
        objective: sensitivity, in the metric's own unit, summed from the table.
        status: what is proved.
        bound: no assignment has less sensitivity than this; None if nothing is proved.
        budgets: one report a budget.
        solver: who found it, with version.
        seconds: time it took.
        notes: things to know about the answer, such as why a search stopped.
    """

    assignment: Assignment
    objective: float
    status: Status
    bound: float | None
    budgets: tuple[BudgetReport, ...]
    solver: str
    seconds: float
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def absolute_gap(self) -> float | None:
        """Objective less bound, in the metric's unit."""
        return None if self.bound is None else max(0.0, self.objective - self.bound)

    @property
    def gap(self) -> float | None:
        """Objective less bound, as a share of the larger of both magnitudes."""
        distance = self.absolute_gap
        if distance is None or self.bound is None:
            return None
        return 0.0 if distance == 0 else distance / max(abs(self.objective), abs(self.bound))

    def budget(self, name: str) -> BudgetReport:
        """The report of one budget.

        Raises:
            KeyError: nothing was asked of that quantity.
        """
        for report in self.budgets:
            if report.name == name:
                return report
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, with gap and slack written out."""
        return {
            "assignment": {
                name: {
                    "weight_bits": precision.weight_bits,
                    "activation_bits": precision.activation_bits,
                }
                for name, precision in self.assignment.items()
            },
            "objective": self.objective,
            "status": str(self.status),
            "bound": self.bound,
            "gap": self.gap,
            "budgets": [{**asdict(report), "slack": report.slack} for report in self.budgets],
            "solver": self.solver,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Allocation:
        """Read what `to_json` gave.

        Raises:
            SpecError: fields are missing or of the wrong kind.
        """
        try:
            return cls(
                assignment={
                    name: Precision(bits["weight_bits"], bits["activation_bits"])
                    for name, bits in data["assignment"].items()
                },
                objective=data["objective"],
                status=Status(data["status"]),
                bound=data["bound"],
                budgets=tuple(
                    BudgetReport(**{key: value for key, value in report.items() if key != "slack"})
                    for report in data["budgets"]
                ),
                solver=data["solver"],
                seconds=data["seconds"],
                notes=tuple(data.get("notes", ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            rule = f"is not an allocation written by hwmpq ({type(error).__name__}: {error})"
            name = "allocation"
            raise SpecError(name, [Problem("file", rule)]) from error


class Allocator(Protocol):
    """Solves allocation problems.

    A module of ``hwmpq/allocate`` that defines ``ALLOCATOR`` is such an allocator; its registry
    name is the module name.
    """

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Choose a precision for each layer.

        Raises:
            InfeasibleError: no assignment meets the budgets, or this allocator found none.
        """
        ...
