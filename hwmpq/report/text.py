"""Summaries for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pandas as pd
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hwmpq.accelerator.area import area_mm2
from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.interval import Interval
from hwmpq.codesign.folder import Run
from hwmpq.cost.memory import peak_activation
from hwmpq.cost.resources import as_text, named_resources
from hwmpq.cost.table import CostTable
from hwmpq.precision import Assignment
from hwmpq.report import columns
from hwmpq.report.columns import BUDGET_TITLES, ENERGY_TITLES, budget_amount, budget_grid
from hwmpq.report.evaluation_page import Evaluation, evaluation_frame
from hwmpq.report.grid import (
    MISSING,
    Column,
    Flag,
    Grid,
    make_grid,
    percent,
    points,
    short,
    times,
    whole,
)
from hwmpq.report.outcome import reference_of
from hwmpq.report.run_tables import (
    budget_frame,
    comparison_frame,
    settings_in_common,
    spread_frame,
)
from hwmpq.report.tables import fold_unchoosable, layer_frame, summed, total_row, uniform_bits
from hwmpq.units import format_bits, format_energy, format_seconds
from hwmpq.workload.graph import Workload

_COMPARED: Final = frozenset(
    {
        "accelerator",
        "precision",
        "latency_s",
        "energy_pj",
        "area_mm2",
        "peak_activation_memory_bits",
        "utilization",
        "bound_ratio",
    }
)
"""Columns of the comparison that fit a terminal."""

_STYLES: Final[dict[Flag, str]] = {"": "", "good": "green", "bad": "bold red", "warn": "yellow"}


def rich_table(grid: Grid, title: str = "") -> Table:
    """A printed table for the terminal; names are shown as they are, never as markup."""
    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        header_style="bold",
        show_footer=bool(grid.total),
    )
    for index, column in enumerate(grid.columns):
        table.add_column(
            Text(column.title),
            footer=Text(grid.total[index].text) if grid.total else "",
            justify="right" if column.numeric else "left",
            no_wrap=column.numeric,
            overflow="fold",
        )
    for row in grid.rows:
        table.add_row(*(Text(cell.text, style=_STYLES[cell.flag]) for cell in row))
    return table


def _layer_table(
    costs: CostTable, assignment: Assignment, reference: Assignment | None, title: str
) -> Table:
    full = layer_frame(costs, assignment, reference)
    total = {**summed(full), "layer": "total"}
    grid = make_grid(fold_unchoosable(full), columns.TERMINAL_LAYERS, total)
    return rich_table(grid, title)


def run_summary(run: Run) -> tuple[RenderableType, ...]:
    """Bits per layer, cost against the reference and the budgets, accuracy against float."""
    manifest, results = run.manifest, run.results
    title = (
        f"{manifest.workload} on {manifest.accelerator} by {manifest.method}: "
        f"bits and cost per layer, against all {manifest.reference}"
    )
    parts: list[RenderableType] = [
        _layer_table(run.costs, results.assignment, reference_of(run), title)
    ]
    if results.allocation.budgets:
        frame = budget_frame(results.allocation, manifest.budgets)
        hidden = ["reference", "shadow_price", "slack_share"]
        parts.append(rich_table(budget_grid(frame.drop(columns=hidden)), "Budgets"))
    parts.extend(_headlines(run))
    return tuple(parts)


def runs_summary(runs: Sequence[Run]) -> tuple[RenderableType, ...]:
    """Each run, then, if there are several, a row for each, and means over seeds."""
    parts = [part for run in runs for part in run_summary(run)]
    if len(runs) > 1:
        frame = comparison_frame(runs)
        same = settings_in_common(frame)
        title = ", ".join(str(frame[key].iloc[0]) for key in same)
        compared = make_grid(frame.drop(columns=same), columns.TERMINAL_RUNS)
        parts.append(rich_table(compared, f"Side by side: {title}" if title else "Side by side"))
        if frame["seed"].nunique() > 1:
            spread = columns.spread_grid(spread_frame(frame).drop(columns=same))
            kept = spread.without("runs", "seconds_allocating_mean", "seconds_training_mean")
            parts.append(rich_table(kept, "Mean and deviation over seeds"))
    return tuple(parts)


def _headlines(run: Run) -> Iterator[Text]:
    results = run.results
    spent, base = results.totals, results.reference_totals
    reference = f"of all {run.manifest.reference}"
    clock = run.costs.clock_hz
    amounts = (
        ("latency", format_seconds, spent.latency_cycles / clock, base.latency_cycles / clock),
        ("energy", format_energy, spent.energy_pj, base.energy_pj),
        ("weight memory", format_bits, spent.weight_memory_bits, base.weight_memory_bits),
    )
    for title, show, now, before in amounts:
        ratio = f", {times(now / before)} {reference} ({show(before)})" if before else ""
        yield Text(f"{title}: {show(now)}{ratio}")
    change = points(results.test_accuracy - results.float_test_accuracy)
    yield Text(
        f"test accuracy: {percent(results.test_accuracy)}, "
        f"{change} against the float baseline ({percent(results.float_test_accuracy)})",
        style="bold",
    )
    rounds = [record.note for record in run.history.rounds[-1:] if record.note]
    for remark in (*rounds, *results.allocation.notes):
        yield Text(remark, style="dim")


def evaluation_summary(
    table: CostTable,
    assignment: Assignment,
    accelerator: Accelerator,
    workload: Workload | None = None,
) -> tuple[RenderableType, ...]:
    """Cost of each layer and of the network on one accelerator.

    Args:
        table: the costs.
        assignment: bits of each layer.
        accelerator: the machine.
        workload: the network, where the peak of live activations is to be told as well.
    """
    bits = uniform_bits(assignment)
    title = f"{table.workload} on {accelerator.name}, bits {bits}"
    row = total_row(table, assignment)
    traffic = row["dram_read_bits"] + row["dram_write_bits"]
    parts = ", ".join(
        f"{title} {format_energy(row[f'energy_{group}_pj'])}"
        for group, title in ENERGY_TITLES.items()
        if row[f"energy_{group}_pj"]
    )
    peak = ""
    if workload is not None:
        bits_alive = peak_activation(workload, assignment, accelerator).bits
        peak = f"peak activations {format_bits(bits_alive)}, "
    lines = (
        f"latency: {format_seconds(row['latency_s'])} ({whole(row['latency_cycles'])} cycles, "
        f"{short(row['bound_ratio'])} times the lower bound, "
        f"{percent(row['stall_share'])} waiting for memory)",
        f"energy: {format_energy(row['energy_pj'])} ({parts})",
        f"memory: weights {format_bits(row['weight_memory_bits'])}, "
        f"{peak}DRAM traffic {format_bits(traffic)}",
        f"utilisation: {percent(row['utilization'])} of the array while it computes",
        *_size_lines(accelerator),
    )
    return (_layer_table(table, assignment, None, title), *(Text(line) for line in lines))


def _size_lines(accelerator: Accelerator) -> Iterator[str]:
    """Area, and what else the machine takes."""
    area = area_mm2(accelerator)
    if area.total_mm2 is None:
        known = f"{short(area.known_mm2)} mm² and more"
        yield f"area: {known}, unknown for {', '.join(area.unknown)}"
    else:
        yield f"area: {short(area.total_mm2)} mm²"
    resources = named_resources(accelerator)
    if resources:
        yield f"resources: {as_text(resources)}"


def comparison_summary(
    evaluations: Sequence[Evaluation], workload: Workload, *, equal_area: bool = False
) -> tuple[Table, Table]:
    """Network totals of several accelerators side by side, then their energy by component.

    Args:
        evaluations: at least one.
        workload: the network.
        equal_area: also show the latency at the area of the first, see `equal_area_factors`.
    """
    frame = evaluation_frame(evaluations, workload)
    keys = {*_COMPARED, "latency_s_at_first_area"} if equal_area else _COMPARED
    wanted = [column for column in columns.EVALUATIONS if column.key in keys]
    parts = [c for c in columns.EVALUATIONS if c.key == "accelerator" or c.beside == "energy"]
    return (
        rich_table(make_grid(frame, wanted), f"{workload.name}, side by side"),
        rich_table(make_grid(frame, parts), "Energy by component"),
    )


def interval_table(
    intervals: Sequence[Interval],
    limits: Mapping[str, float] | None = None,
    reference: str = "8/8",
) -> Table:
    """The interval in which each budget can be met, printed before any work is done.

    Args:
        intervals: of the budgeted quantities.
        limits: what is asked, by name, in the interval's unit.
        reference: name of the uniform reference.
    """
    asked = limits or {}
    frame = pd.DataFrame(
        {
            "budget": [BUDGET_TITLES.get(i.name, i.name) for i in intervals],
            "least": [_amount(i, i.least) for i in intervals],
            "reference": [_amount(i, i.reference) for i in intervals],
            "limit": [_amount(i, asked.get(i.name)) for i in intervals],
            "feasible": ["yes" if _feasible(i, asked.get(i.name)) else "NO" for i in intervals],
        }
    )
    wanted = [
        Column("budget", "budget"),
        Column("least", "least possible"),
        Column("reference", f"all {reference}"),
    ]
    if asked:
        wanted += [Column("limit", "asked"), Column("feasible", "feasible", flag=_feasible_flag)]
    return rich_table(make_grid(frame, wanted), "Feasible interval of each budget")


def _feasible(interval: Interval, limit: float | None) -> bool:
    return limit is None or interval.least <= limit


def _feasible_flag(row: Mapping[str, object]) -> Flag:
    return "good" if row["feasible"] == "yes" else "bad"


def _amount(interval: Interval, value: float | None) -> str:
    if value is None:
        return MISSING
    text = budget_amount(interval.name, value, interval.unit)
    if not interval.reference or value == interval.reference:
        return text
    return f"{text} ({times(value / interval.reference)})"
