"""The rows of a sweep: their columns, and how an answer becomes one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from hwmpq.accelerator.area import area_mm2
from hwmpq.allocate.base import Allocation
from hwmpq.allocate.question import Question
from hwmpq.cost.liveness import Cut, peak_cut
from hwmpq.errors import InfeasibleError
from hwmpq.precision import Assignment, Precision
from hwmpq.sweep.axes import Value
from hwmpq.sweep.plan import Plan
from hwmpq.sweep.points import Point

Row = dict[str, Any]
FEASIBLE: Final = ("optimal", "feasible")
"""Statuses of rows that hold an answer; others are ``infeasible``, ``excluded``, ``failed``."""
_TOTALS: Final = ("latency_cycles", "energy_pj", "weight_memory_bits", "bops")
_RESULTS: Final[Mapping[str, Any]] = {
    "status": pa.string(),
    "sensitivity": pa.float64(),
    "bound": pa.float64(),
    "gap": pa.float64(),
    "latency_cycles": pa.int64(),
    "latency_s": pa.float64(),
    "energy_pj": pa.float64(),
    "weight_memory_bits": pa.int64(),
    "peak_activation_memory_bits": pa.int64(),
    "bops": pa.int64(),
    "area_mm2": pa.float64(),
    "accuracy": pa.float64(),
    "float_accuracy": pa.float64(),
}
_OF_BUDGET: Final = ("limit", "achieved", "least", "shadow_price")


def _kind(values: Iterable[Value]) -> Any:
    """The narrowest column that holds an axis as it was stated."""
    found = list(values)
    if all(isinstance(value, bool) for value in found):
        return pa.bool_()
    if any(isinstance(value, str | bool) for value in found):
        return pa.string()
    return pa.int64() if all(isinstance(value, int) for value in found) else pa.float64()


def _axes(blocks: Iterable[Mapping[str, Sequence[Value]]]) -> dict[str, list[Value]]:
    found: dict[str, list[Value]] = {}
    for block in blocks:
        for name, values in block.items():
            found.setdefault(name, []).extend(values)
    return found


def schema(plan: Plan) -> Any:
    """Columns of the rows, which depend on the plan alone."""
    grid = plan.grid
    columns: dict[str, Any] = {
        "recipe": pa.string(),
        "point": pa.int64(),
        "key": pa.string(),
        "workload": pa.string(),
        "accelerator": pa.string(),
        "variant": pa.string(),
    }
    numeric = plan.recipe.search is not None
    for path, values in _axes(grid.machines.blocks).items():
        kind = _kind(values)
        columns[f"set.{path}"] = pa.float64() if numeric and kind == pa.int64() else kind
    columns |= {name: pa.string() for name in ("precisions", "kind", "score")}
    columns["seed"] = pa.int64()
    columns |= {f"budget.{name}": pa.string() for name in grid.budget_names}
    columns |= _RESULTS
    for part in _OF_BUDGET:
        columns |= {f"{part}.{name}": pa.float64() for name in grid.budget_names}
    columns |= {"run": pa.string(), "bits": pa.string(), "error": pa.string()}
    return pa.schema(list(columns.items()), metadata={"hwmpq": plan.recipe_hash})


def asked(plan: Plan, point: Point, columns: Any) -> Row:
    """The part of a row that says what was asked, for the columns of `schema`."""
    row: Row = {
        "recipe": plan.recipe_hash,
        "point": point.index,
        "key": point.key(plan.recipe_hash, trial=plan.recipe.search is not None),
        "workload": point.workload,
        "accelerator": point.accelerator,
        "variant": point.variant,
        "precisions": "" if point.precisions is None else point.precisions.label,
        "kind": point.kind,
        "score": point.score,
        "seed": point.seed,
    }
    for path, value in point.set.items():
        text = columns.field(f"set.{path}").type == pa.string()
        row[f"set.{path}"] = str(value) if text else value
    row |= {f"budget.{name}": str(limit) for name, limit in point.budget.items()}
    return row


def answered(question: Question, cuts: Sequence[Cut], found: Allocation) -> Row:
    """The part of a row that says what came out."""
    costs = question.costs
    chosen = costs.select(found.assignment)
    layers = np.arange(len(costs.layers))
    row: Row = {
        "status": str(found.status),
        "sensitivity": found.objective,
        "bound": found.bound,
        "gap": found.gap,
        "bits": bits_text(found.assignment),
        "peak_activation_memory_bits": peak_cut(cuts, found.assignment)[1],
        "area_mm2": area_mm2(question.accelerator).total_mm2,
    }
    row |= {name: costs.columns[name][layers, chosen].sum().item() for name in _TOTALS}
    row["latency_s"] = row["latency_cycles"] / costs.clock_hz
    for report in found.budgets:
        row[f"limit.{report.name}"] = report.limit
        row[f"achieved.{report.name}"] = report.achieved
        row[f"least.{report.name}"] = report.least
        row[f"shadow_price.{report.name}"] = report.shadow_price
    return row


def out_of_reach(question: Question, error: InfeasibleError) -> Row:
    """The part of a row about budgets that nothing meets, with what could be reached."""
    row: Row = {
        "status": "infeasible",
        "error": str(error),
        "area_mm2": area_mm2(question.accelerator).total_mm2,
    }
    for shortfall in error.shortfalls:
        row[f"limit.{shortfall.name}"] = shortfall.limit
        row[f"least.{shortfall.name}"] = shortfall.least
    return row


def bits_text(assignment: Assignment) -> str:
    """Bits of every layer in order, such as ``8/8 4/4 2/4``."""
    return " ".join(str(precision) for precision in assignment.values())


def read_bits(text: str, layers: Sequence[str]) -> dict[str, Precision]:
    """What `bits_text` wrote.

    >>> read_bits("8/8 2/4", ["stem", "fc"])["fc"]
    Precision(weight_bits=2, activation_bits=4)
    """
    bits = [Precision.parse(part) for part in text.split()]
    return dict(zip(layers, bits, strict=True))
