"""Numbers of a report as frames, in canonical units; no printing and no drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from hwmpq.cost.base import FloatArray, NumberArray
from hwmpq.cost.summary import bound_ratio, totals
from hwmpq.cost.table import CSV_COLUMNS, CostTable
from hwmpq.precision import Assignment, Precision

ENERGY_GROUPS: Final = ("compute", "sram", "dram", "leakage")
MEMORY_BOUND_SHARE: Final = 0.05
"""Share of stalls from which a layer is memory bound; filling the array once stays below."""


def layer_frame(
    costs: CostTable,
    assignment: Assignment,
    reference: Assignment | None = None,
) -> pd.DataFrame:
    """One row a priced operator under an assignment.

    The columns of the cost CSV in their order, then ``latency_bound_cycles`` (no mapping on this
    machine can be faster), ``bound_ratio`` (latency over that bound), ``stall_share``,
    ``limited_by`` (missing where nothing takes time), ``choosable``, ``working_set_bits`` and
    ``resident_fraction`` (what of it is on chip at once); with a reference also its latency,
    energy and storage and the ratios to them. Operators without bits to choose have missing bits.
    """
    frame: dict[str, object] = {"layer": costs.layers, "op": costs.ops}
    frame["weight_bits"] = _widths(costs, assignment, "weight_bits")
    frame["activation_bits"] = _widths(costs, assignment, "activation_bits")
    frame["macs"] = costs.macs
    frame |= {
        name: costs.per_layer(name, assignment) for name in CSV_COLUMNS if name in costs.columns
    }
    latency = costs.per_layer("latency_cycles", assignment)
    stalls = costs.per_layer("stall_cycles", assignment) / np.maximum(latency, 1)
    bound = costs.per_layer("latency_bound_cycles", assignment)
    frame["latency_bound_cycles"] = bound
    frame["bound_ratio"] = _ratio(latency, bound)
    frame["stall_share"] = stalls
    kinds = pd.Series(np.where(stalls > MEMORY_BOUND_SHARE, "memory", "compute"))
    frame["limited_by"] = kinds.where(pd.Series(latency > 0))
    frame["choosable"] = costs.choosable
    for name in ("working_set_bits", "resident_fraction"):
        if name in costs.columns:
            frame[name] = costs.per_layer(name, assignment)
    if reference is not None:
        for name in ("latency_cycles", "energy_pj", "weight_memory_bits"):
            before = costs.per_layer(name, reference)
            frame[f"reference_{name}"] = before
            frame[f"{name}_vs_reference"] = _ratio(costs.per_layer(name, assignment), before)
    return pd.DataFrame(frame)


def _widths(costs: CostTable, assignment: Assignment, field: str) -> pd.Series[int]:
    chosen = (assignment.get(layer) for layer in costs.layers)
    widths = [None if bits is None else getattr(bits, field) for bits in chosen]
    return pd.Series(widths, dtype="Int64")


def _ratio(value: NumberArray, base: NumberArray) -> FloatArray:
    """Elementwise quotient, NaN where the base is zero."""
    base = np.asarray(base, dtype=np.float64)
    result: FloatArray = np.divide(value, base, out=np.full(base.shape, np.nan), where=base > 0)
    return result


def summed(frame: pd.DataFrame) -> dict[str, Any]:
    """The rows of a `layer_frame` as one: costs added up, ratios formed anew."""
    names = [str(name) for name in frame.columns]
    row: dict[str, Any] = {
        name: frame[name].sum()
        for name in names
        if name.endswith(("_cycles", "_pj", "memory_bits", "read_bits", "write_bits", "macs"))
    }
    for name in names:
        if name.endswith("_vs_reference"):
            cost = name.removesuffix("_vs_reference")
            row[name] = _quotient(row[cost], row[f"reference_{cost}"])
    latency = row["latency_cycles"]
    row["bound_ratio"] = _quotient(latency, row["latency_bound_cycles"])
    row["stall_share"] = row["stall_cycles"] / latency if latency else 0.0
    row["limited_by"] = "memory" if row["stall_share"] > MEMORY_BOUND_SHARE else "compute"
    return row


def _quotient(value: float, base: float) -> float:
    return float(value / base) if base else float("nan")


def fold_unchoosable(frame: pd.DataFrame, *, keep: int = 2) -> pd.DataFrame:
    """Gather the operators without bits to choose into one last row, for charts.

    Up to ``keep`` of them stay rows of their own.
    """
    kept, other = frame[frame["choosable"]], frame[~frame["choosable"]]
    if len(other) <= keep:
        return frame
    row = summed(other)
    row |= {"layer": f"{len(other)} vector operators", "op": "several", "choosable": False}
    last = pd.DataFrame([row]).reindex(columns=frame.columns)
    last = last.astype({c: kept[c].dtype for c in ("weight_bits", "activation_bits", "choosable")})
    return pd.concat([kept, last], ignore_index=True)


def component_frame(costs: CostTable, assignments: Mapping[str, Assignment]) -> pd.DataFrame:
    """Energy of the network by component: one row a component, one column an assignment.

    ``component`` is the name the cost model gives, ``group`` the part before its first dot.
    """
    names = [name for name in costs.columns if name.startswith("energy_pj.")]
    components = [name.removeprefix("energy_pj.") for name in names]
    groups = [component.partition(".")[0] for component in components]
    frame = pd.DataFrame(
        {
            "component": components,
            "group": [group if group in ENERGY_GROUPS else "compute" for group in groups],
        }
    )
    for title, assignment in assignments.items():
        frame[title] = [costs.total(name, assignment) for name in names]
    return frame


def total_row(costs: CostTable, assignment: Assignment) -> dict[str, float]:
    """Network totals under an assignment: the additive columns and what follows from them.

    Utilisation is useful work over what the array could do while it is busy; the bound ratio is
    the network's latency over the sum of its layers' lower bounds.
    """
    row = totals(costs, assignment)
    latency = row["latency_cycles"]
    row["macs"] = float(costs.macs.sum())
    row["latency_s"] = latency / costs.clock_hz
    row["bound_ratio"] = bound_ratio(latency, row["latency_bound_cycles"]) or float("nan")
    row["stall_share"] = row["stall_cycles"] / latency if latency else 0.0
    busy = costs.per_layer("compute_cycles", assignment)[costs.choosable]
    useful = costs.per_layer("utilization", assignment)[costs.choosable] * busy
    row["utilization"] = float(useful.sum() / busy.sum()) if busy.sum() else float("nan")
    return row


def uniform_bits(assignment: Assignment) -> str:
    """The precision when it is the same everywhere, else ``mixed``."""
    found = set(assignment.values())
    return str(found.pop()) if len(found) == 1 else "mixed"


def average_bits(costs: CostTable, assignment: Assignment) -> tuple[float, float]:
    """Mean weight and activation bits, each layer weighing as many as the elements it holds."""
    means = []
    for column, width in (("weight_memory_bits", 0), ("activation_memory_bits", 1)):
        bits = costs.per_layer(column, assignment)[costs.choosable]
        chosen = [assignment[layer] for layer in costs.choosable_layers]
        elements = bits / np.array([(p.weight_bits, p.activation_bits)[width] for p in chosen])
        means.append(float(bits.sum() / elements.sum()) if elements.sum() else float("nan"))
    return means[0], means[1]


def precision_grid_frame(
    costs: CostTable, column: str, precisions: Sequence[Precision] | None = None
) -> pd.DataFrame:
    """Network total of a column at every uniform precision, ``[weight bits, activation bits]``."""
    rows = [
        {
            "weight_bits": precision.weight_bits,
            "activation_bits": precision.activation_bits,
            "total": costs.total(column, costs.uniform(precision)),
        }
        for precision in precisions or costs.precisions
    ]
    return pd.DataFrame(rows).pivot_table(
        index="weight_bits", columns="activation_bits", values="total"
    )
