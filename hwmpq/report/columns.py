"""How each frame is printed: which columns, under which titles, in which form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd

from hwmpq.report.grid import (
    Cell,
    Column,
    Flag,
    Grid,
    make_grid,
    percent,
    points,
    printed,
    records,
    share,
    short,
    times,
    whole,
)
from hwmpq.units import Format, format_bits, format_count, format_energy, format_seconds

BUDGET_TITLES: Final[Mapping[str, str]] = {
    "latency": "latency",
    "energy": "energy",
    "weight_memory": "weight memory",
    "peak_activation_memory": "peak activation memory",
    "bops": "bit operations",
    "average_weight_bits": "average weight bits",
    "average_activation_bits": "average activation bits",
}

ENERGY_TITLES: Final[Mapping[str, str]] = {
    "compute": "compute",
    "sram": "on-chip",
    "dram": "DRAM",
    "leakage": "leakage",
}


def _limited(row: Mapping[str, object]) -> Flag:
    return "warn" if row.get("limited_by") == "memory" else ""


def _held(row: Mapping[str, object]) -> Flag:
    return "good" if row.get("held") else "bad"


def _assumed(row: Mapping[str, object]) -> Flag:
    return "warn" if row.get("assumed") else ""


LAYERS: Final = (
    Column("layer", "layer"),
    Column("op", "op"),
    Column("weight_bits", "W bits", whole),
    Column("activation_bits", "A bits", whole),
    Column("codes", "codes", whole),
    Column("macs", "MACs", format_count),
    Column("latency_cycles", "cycles", whole),
    Column("latency_cycles_vs_reference", "of reference", times),
    Column("stall_share", "waiting", share),
    Column("limited_by", "bound by", flag=_limited),
    Column("bound_ratio", "latency / bound", short),
    Column("utilization", "utilisation", share),
    Column("energy_pj", "energy", format_energy),
    Column("energy_pj_vs_reference", "of reference", times),
    Column("weight_memory_bits", "weights", format_bits),
    Column("activation_memory_bits", "activations", format_bits),
    Column("working_set_bits", "working set", format_bits),
    Column("resident_fraction", "on chip", share),
)

TERMINAL_LAYERS: Final = (
    Column("layer", "layer"),
    Column("weight_bits", "W", whole),
    Column("activation_bits", "A", whole),
    Column("latency_cycles", "cycles", whole),
    Column("latency_cycles_vs_reference", "of ref.", times),
    Column("energy_pj", "energy", format_energy),
    Column("energy_pj_vs_reference", "of ref.", times),
    Column("limited_by", "bound by", flag=_limited),
)

ROUNDS: Final = (
    Column("round", "round", whole),
    Column("epoch", "after epoch", whole),
    Column("status", "solver status"),
    Column("objective", "objective", short),
    Column("gap", "gap", percent),
    Column("accepted", "accepted"),
    Column("changed_layers", "layers changed", whole),
    Column("latency_cycles", "cycles", whole),
    Column("latency_vs_reference", "of reference", times),
    Column("energy_pj", "energy", format_energy),
    Column("energy_vs_reference", "of reference", times),
    Column("weight_memory_bits", "weights", format_bits),
    Column("seconds_allocating", "time", format_seconds),
    Column("note", "note"),
)

SOURCES: Final = (
    Column("path", "number"),
    Column("value", "value"),
    Column("uncertainty", "uncertainty", lambda value: f"± {100 * value:.0f} %"),
    Column("source", "source", flag=_assumed),
    Column("inherited_from", "stated for"),
)

COMPONENTS: Final = (
    Column("component", "component"),
    Column("group", "group"),
    Column("reference", "reference", format_energy, beside="energy"),
    Column("chosen", "chosen", format_energy, beside="energy"),
    Column("ratio", "of reference", times),
)

RUNS: Final = (
    Column("run", "run"),
    Column("workload", "workload"),
    Column("accelerator", "accelerator"),
    Column("method", "method"),
    Column("budgets", "budgets"),
    Column("seed", "seed", lambda value: f"{value:.0f}"),
    Column("test_accuracy", "test accuracy", percent),
    Column("accuracy_change", "against float", points),
    Column("latency_cycles", "cycles", whole),
    Column("latency_vs_reference", "of reference", times),
    Column("energy_pj", "energy", format_energy),
    Column("energy_vs_reference", "of reference", times),
    Column("weight_memory_bits", "weights", format_bits),
    Column("seconds_allocating", "search time", format_seconds),
    Column("seconds_training", "training time", format_seconds),
)

TERMINAL_RUNS: Final = (
    Column("run", "run"),
    Column("workload", "workload"),
    Column("accelerator", "accelerator"),
    Column("method", "method"),
    Column("budgets", "budgets"),
    Column("test_accuracy", "test accuracy", percent),
    Column("accuracy_change", "against float", points),
    Column("latency_vs_reference", "latency", times),
    Column("energy_vs_reference", "energy", times),
    Column("weight_memory_bits", "weights", format_bits),
    Column("seconds_allocating", "search", format_seconds),
    Column("seconds_training", "training", format_seconds),
)

EVALUATIONS: Final = (
    Column("accelerator", "accelerator"),
    Column("precision", "bits"),
    Column("latency_cycles", "cycles", whole),
    Column("latency_s", "latency", format_seconds, beside="latency"),
    Column("energy_pj", "energy", format_energy, beside="energy"),
    Column("energy_compute_pj", "compute", format_energy, beside="energy"),
    Column("energy_sram_pj", "on-chip", format_energy, beside="energy"),
    Column("energy_dram_pj", "DRAM", format_energy, beside="energy"),
    Column("energy_leakage_pj", "leakage", format_energy, beside="energy"),
    Column("area_mm2", "area, mm²", short),
    Column("latency_s_at_first_area", "latency at equal area", format_seconds, beside="latency"),
    Column("weight_memory_bits", "weights", format_bits),
    Column("peak_activation_memory_bits", "peak activations", format_bits),
    Column("dram_bits", "DRAM traffic", format_bits),
    Column("utilization", "utilisation", share),
    Column("stall_share", "waiting", share),
    Column("bound_ratio", "latency / bound", short),
)


def budget_amount(name: str, value: float, unit: str) -> str:
    """Print an amount of a budgeted quantity.

    >>> budget_amount("average_weight_bits", 4.25, "bits")
    '4.25 bits'
    >>> budget_amount("latency", 1200, "cycles")
    '1,200 cycles'
    """
    if name.startswith("average"):
        return f"{value:.3g} bits"
    return printed(value, unit)


def budget_grid(frame: pd.DataFrame) -> Grid:
    """Print budgets; amounts take the unit of their row."""
    columns = (
        Column("budget", "budget"),
        Column("asked", "asked"),
        Column("limit", "limit", short),
        Column("achieved", "achieved", short),
        Column("achieved_vs_reference", "of reference", times),
        Column("slack", "slack", short),
        Column("slack_share", "slack, of limit", share),
        Column("least", "least possible", short),
        Column("reference", "reference", short),
        Column("shadow_price", "shadow price", short),
        Column("held", "held", flag=_held),
    )
    plain = make_grid(frame, columns)
    amounts = {"limit", "achieved", "slack", "least", "reference"}
    rows = []
    for cells, record in zip(plain.rows, records(frame), strict=True):
        name, unit = str(record["budget"]), str(record["unit"])
        made = []
        for column, cell in zip(plain.columns, cells, strict=True):
            if column.key in amounts and not pd.isna(record[column.key]):
                text = budget_amount(name, float(record[column.key]), unit)
                made.append(Cell(text, cell.sort, cell.flag))
            elif column.key == "budget":
                made.append(Cell(BUDGET_TITLES.get(name, name), cell.sort))
            elif column.key == "held":
                made.append(Cell("yes" if record["held"] else "NO", cell.sort, cell.flag))
            elif column.key == "shadow_price" and not pd.isna(record["shadow_price"]):
                made.append(Cell(f"{cell.text} per {unit.rstrip('s')}", cell.sort))
            else:
                made.append(cell)
        rows.append(tuple(made))
    return Grid(plain.columns, tuple(rows))


def spread_grid(frame: pd.DataFrame) -> Grid:
    """Print means over seeds as ``mean ± deviation``."""
    shows: dict[str, tuple[str, Format]] = {
        "test_accuracy": ("test accuracy", percent),
        "accuracy_change": ("against float", points),
        "latency_vs_reference": ("latency, of reference", times),
        "energy_vs_reference": ("energy, of reference", times),
        "weight_memory_bits": ("weights", format_bits),
        "seconds_allocating": ("search time", format_seconds),
        "seconds_training": ("training time", format_seconds),
    }
    settings = ("workload", "accelerator", "method", "budgets")
    texts = [Column(key, key) for key in settings if key in frame]
    texts += [Column("runs", "runs", whole), Column("seeds", "seeds", whole)]
    columns = (*texts, *(Column(f"{k}_mean", title, s) for k, (title, s) in shows.items()))
    plain = make_grid(frame, columns)
    rows = []
    for cells, record in zip(plain.rows, records(frame), strict=True):
        made = list(cells[: len(texts)])
        means = plain.columns[len(texts) :]
        for cell, column, key in zip(cells[len(texts) :], means, shows, strict=True):
            spread = float(record[f"{key}_std"])
            text = cell.text
            if column.show is not None and not pd.isna(spread):
                # A deviation has no sign, which `points` would print.
                shown = column.show(spread).lstrip("+±")
                text = f"{cell.text} ± {shown}"
            made.append(Cell(text, cell.sort))
        rows.append(tuple(made))
    return Grid(plain.columns, tuple(rows))
