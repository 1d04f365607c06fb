"""The section of a report that compares several runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hwmpq.codesign.folder import Run
from hwmpq.report import columns, run_figures
from hwmpq.report.grid import make_grid
from hwmpq.report.page import Block, Chart, Facts, Listing, Remark, Section
from hwmpq.report.run_tables import (
    COMPARED_SETTINGS,
    bits_by_column,
    comparison_frame,
    run_names,
    settings_in_common,
    spread_frame,
)

_COSTS: Final = (
    ("latency_vs_reference", "latency, of reference"),
    ("energy_vs_reference", "energy, of reference"),
    ("weight_memory_kib", "weights, KiB"),
)
_BITS_PER_KIB: Final = 8 * 1024


def comparison_section(runs: Sequence[Run]) -> Section:
    """Accuracy, cost and time of several runs, spread over seeds, and their bits side by side."""
    return Section("comparison", "Runs compared", tuple(_blocks(runs)))


def _blocks(runs: Sequence[Run]) -> Iterator[Block]:
    frame = comparison_frame(runs)
    same = settings_in_common(frame)
    yield Facts(tuple((key, str(frame[key].iloc[0])) for key in same))
    if len(same) < len(COMPARED_SETTINGS):
        text = (
            "These runs differ in network, accelerator or budgets, not only in method and seed: "
            "compare rows with the same budgets."
        )
        yield Remark(text, "warning")
    drawn = frame.assign(weight_memory_kib=frame["weight_memory_bits"] / _BITS_PER_KIB)
    yield Chart(
        run_figures.accuracy_figure(drawn, costs=_COSTS),
        "One mark a run. Higher and further left is better.",
    )
    yield Listing(make_grid(frame.drop(columns=same), columns.RUNS), "Runs")
    note = "Mean and sample standard deviation over runs that differ only in their seed."
    spread = spread_frame(frame).drop(columns=same)
    yield Listing(columns.spread_grid(spread), "Spread over seeds", note)
    if frame["workload"].nunique() == 1:
        bits = {
            name: run.results.assignment for name, run in zip(run_names(runs), runs, strict=True)
        }
        figure = run_figures.bits_of_runs(*bits_by_column(bits))
        yield Chart(figure, "Final bits of each layer, run by run.")
