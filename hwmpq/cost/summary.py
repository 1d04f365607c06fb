"""Totals of an assignment, for people and for programs."""

from __future__ import annotations

from typing import Any, Final

from hwmpq.accelerator.area import area_mm2
from hwmpq.accelerator.families import mixing_warnings
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.memory import peak_activation
from hwmpq.cost.resources import named_resources
from hwmpq.cost.table import CostTable
from hwmpq.precision import Assignment
from hwmpq.workload.graph import Workload

ADDITIVE: Final = (
    "compute_cycles",
    "stall_cycles",
    "latency_cycles",
    "latency_bound_cycles",
    "compute_bound_cycles",
    "dram_read_bits",
    "dram_write_bits",
    "compulsory_dram_bits",
    "sram_read_bits",
    "sram_write_bits",
    "weight_memory_bits",
    "bops",
    "energy_pj",
    "energy_compute_pj",
    "energy_sram_pj",
    "energy_dram_pj",
    "energy_leakage_pj",
)
"""Columns whose network value is the sum over layers."""


def bound_ratio(latency_cycles: float, latency_bound_cycles: float) -> float | None:
    """How many times the lower bound a latency is; None where the bound is zero.

    >>> bound_ratio(150, 100)
    1.5
    """
    return latency_cycles / latency_bound_cycles if latency_bound_cycles else None


def totals(table: CostTable, assignment: Assignment) -> dict[str, float]:
    """Network totals of every additive column; columns of whole numbers stay whole."""
    return {
        name: table.per_layer(name, assignment).sum().item()
        for name in ADDITIVE
        if name in table.columns
    }


def evaluation_as_json(
    table: CostTable, assignment: Assignment, accelerator: Accelerator, workload: Workload
) -> dict[str, Any]:
    """Everything that ``hwmpq evaluate --json`` prints for one accelerator."""
    found = totals(table, assignment)
    rows = table.to_pandas(assignment if len(table.precisions) > 1 else None)
    layers = rows.to_dict(orient="records")
    for row in layers:
        row["bound_ratio"] = bound_ratio(row["latency_cycles"], row["latency_bound_cycles"])
    area = area_mm2(accelerator)
    return {
        "workload": workload.name,
        "batch": workload.batch,
        "accelerator": accelerator.name,
        "clock_hz": accelerator.clock_hz,
        "totals": {
            **found,
            "latency_s": found["latency_cycles"] / accelerator.clock_hz,
            "bound_ratio": bound_ratio(found["latency_cycles"], found["latency_bound_cycles"]),
            "peak_activation_memory_bits": peak_activation(workload, assignment, accelerator).bits,
        },
        "area_mm2": {"total": area.total_mm2, **area.components},
        "resources": dict(named_resources(accelerator)),
        "warnings": list(mixing_warnings(accelerator)),
        "unpriced": list(workload.unpriced),
        "inputs": dict(table.meta),
        "sources": dict(accelerator.provenance),
        "layers": layers,
    }
