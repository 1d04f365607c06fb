"""The sections of a report that compares accelerators on one network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hwmpq.accelerator.area import area_mm2, equal_area_factors
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.memory import peak_activation
from hwmpq.cost.resources import as_text, named_resources
from hwmpq.cost.table import CostTable
from hwmpq.precision import Assignment
from hwmpq.report import columns, cost_figures
from hwmpq.report.grid import Column, make_grid, records, short, whole
from hwmpq.report.layer_figure import layer_profile
from hwmpq.report.page import Block, Card, Cards, Chart, Facts, Listing, Remark, Section
from hwmpq.report.sources_page import sources_section
from hwmpq.report.tables import (
    ENERGY_GROUPS,
    fold_unchoosable,
    layer_frame,
    precision_grid_frame,
    total_row,
    uniform_bits,
)
from hwmpq.units import format_bits, format_count, format_energy, format_seconds
from hwmpq.workload.graph import Workload


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One network at chosen bits on one accelerator."""

    table: CostTable
    accelerator: Accelerator
    assignment: Assignment

    @property
    def bits(self) -> str:
        """The precision when it is the same everywhere, else ``mixed``."""
        return uniform_bits(self.assignment)


def evaluation_frame(evaluations: Sequence[Evaluation], workload: Workload) -> pd.DataFrame:
    """One row an accelerator: network totals, and area where the files state it.

    With every area known, ``latency_s_at_first_area`` is the latency of as many copies as fill the
    area of the first accelerator, see `equal_area_factors`.
    """
    rows = []
    for evaluation in evaluations:
        machine, bits = evaluation.accelerator, evaluation.assignment
        row: dict[str, object] = {"accelerator": machine.name, "precision": evaluation.bits}
        row |= total_row(evaluation.table, bits)
        row["peak_activation_memory_bits"] = peak_activation(workload, bits, machine).bits
        row["area_mm2"] = area_mm2(machine).total_mm2
        rows.append(row)
    frame = pd.DataFrame(rows).astype({"area_mm2": "float64"})
    frame["dram_bits"] = frame["dram_read_bits"] + frame["dram_write_bits"]
    if len(frame) > 1 and frame["area_mm2"].gt(0).all():
        factors = equal_area_factors([e.accelerator for e in evaluations])
        frame["latency_s_at_first_area"] = frame["latency_s"] / np.array(factors)
    return frame


def evaluation_sections(
    evaluations: Sequence[Evaluation], workload: Workload
) -> tuple[Section, ...]:
    """All sections: totals side by side, then each accelerator's layers, then the sources."""
    frame = evaluation_frame(evaluations, workload)
    sections = [Section("totals", "Totals", tuple(_totals(evaluations, frame, workload)))]
    if len(evaluations) > 1:
        sections.append(Section("layers", "Layers side by side", (_side_by_side(evaluations),)))
    for number, evaluation in enumerate(evaluations, start=1):
        title = f"Layer by layer: {evaluation.accelerator.name}"
        sections.append(Section(f"layers-{number}", title, tuple(_layers(evaluation))))
    for number, evaluation in enumerate(evaluations, start=1):
        machine = evaluation.accelerator
        title = f"Assumptions and sources: {machine.name}"
        sections.append(sources_section(machine, workload.unpriced, f"sources-{number}", title))
    return tuple(sections)


def _totals(
    evaluations: Sequence[Evaluation], frame: pd.DataFrame, workload: Workload
) -> Iterator[Block]:
    yield Facts(
        (
            ("network", workload.name),
            ("batch", str(workload.batch)),
            ("MACs", format_count(workload.macs)),
            ("weights", format_count(workload.weight_elements)),
            ("priced operators", str(len(workload.priced_layers))),
            ("accelerators", ", ".join(e.accelerator.name for e in evaluations)),
        )
    )
    if len(evaluations) == 1:
        yield Cards(tuple(_cards(records(frame)[0])))
    index = pd.Index([f"{e.accelerator.name}, {e.bits}" for e in evaluations])
    same_clock = len({e.table.clock_hz for e in evaluations}) == 1
    clocks = [1.0 if same_clock else e.table.clock_hz / 1e3 for e in evaluations]
    latency = pd.DataFrame(
        {part: frame[f"{part}_cycles"].to_numpy() / clocks for part in ("compute", "stall")},
        index=index,
    )
    energy = pd.DataFrame(
        {group: frame[f"energy_{group}_pj"].to_numpy() for group in ENERGY_GROUPS}, index=index
    )
    yield Chart(cost_figures.totals_figure(latency, energy, unit="cycles" if same_clock else "ms"))
    note = (
        "Latency over bound compares with the roofline: every unit busy in every cycle, every "
        "operand moved once."
    )
    if "latency_s_at_first_area" in frame:
        note += " At equal area: as many copies as fill the area of the first, perfectly shared."
    yield Listing(make_grid(frame, columns.EVALUATIONS), note=note)
    for evaluation in evaluations:
        breakdown = area_mm2(evaluation.accelerator)
        if breakdown.total_mm2 is None:
            text = f"Area of {evaluation.accelerator.name}: {short(breakdown.known_mm2)} mm² known"
            yield Remark(f"{text}, not stated for {', '.join(breakdown.unknown)}.")
        resources = named_resources(evaluation.accelerator)
        if resources:
            yield Remark(f"Resources of {evaluation.accelerator.name}: {as_text(resources)}.")


def side_by_side_frame(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row an operator: its latency and energy on each accelerator, numbered from 0.

    Latency is in seconds, since clocks may differ.
    """
    frame = pd.DataFrame({"layer": evaluations[0].table.layers})
    for number, evaluation in enumerate(evaluations):
        table, bits = evaluation.table, evaluation.assignment
        frame[f"latency_s.{number}"] = table.per_layer("latency_cycles", bits) / table.clock_hz
        frame[f"energy_pj.{number}"] = table.per_layer("energy_pj", bits)
    return frame


def _side_by_side(evaluations: Sequence[Evaluation]) -> Block:
    frame = side_by_side_frame(evaluations)
    names = [evaluation.accelerator.name for evaluation in evaluations]
    shown = [Column("layer", "layer")]
    for key, title, show in (
        ("latency_s", "latency", format_seconds),
        ("energy_pj", "energy", format_energy),
    ):
        shown += [
            Column(f"{key}.{number}", f"{name}: {title}", show, beside=title)
            for number, name in enumerate(names)
        ]
    total: dict[str, object] = {"layer": "total"}
    total |= {column.key: frame[column.key].sum() for column in shown[1:]}
    return Listing(make_grid(frame, shown, total), "All operators", folded=len(frame) > 60)


def _cards(row: Mapping[str, Any]) -> Iterator[Card]:
    cycles = f"{whole(row['latency_cycles'])} cycles"
    yield Card(title="Latency", value=format_seconds(row["latency_s"]), detail=cycles)
    rate = f"{short(row['energy_pj'] / row['macs'])} pJ per MAC" if row["macs"] else ""
    yield Card(title="Energy", value=format_energy(row["energy_pj"]), detail=rate)
    peak = f"peak activations {format_bits(row['peak_activation_memory_bits'])}"
    yield Card(title="Weight memory", value=format_bits(row["weight_memory_bits"]), detail=peak)
    yield Card(title="DRAM traffic", value=format_bits(row["dram_bits"]))
    busy = f"{100 * row['utilization']:.1f} %"
    yield Card(title="Utilisation", value=busy, detail="of the array while it computes")
    waiting = f"{100 * row['stall_share']:.1f} % of the time waiting for memory"
    yield Card(title="Latency / bound", value=f"{row['bound_ratio']:.2f}", detail=waiting)


def _layers(evaluation: Evaluation) -> Iterator[Block]:
    frame = layer_frame(evaluation.table, evaluation.assignment)
    yield Chart(
        layer_profile(fold_unchoosable(frame)),
        "Each row is a layer; the black tick is the roofline, which no mapping on this machine "
        "can beat. An arrow marks a bar that goes on.",
    )
    if len(evaluation.table.precisions) > 1 and evaluation.bits != "mixed":
        for column, title in (("latency_cycles", "Latency"), ("energy_pj", "Energy")):
            grid = precision_grid_frame(evaluation.table, column)
            if grid.size > 1:
                text = f"{title} of the whole network at every uniform precision"
                yield Chart(cost_figures.precision_heatmap(grid, title=text))
    yield Listing(make_grid(frame, columns.LAYERS), "All layers", folded=len(frame) > 30)
