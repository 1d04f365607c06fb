"""The report about a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pandas as pd

from hwmpq.report.grid import Column, make_grid, percent, short, times
from hwmpq.report.html import PAGE_NAME, footer, write_page
from hwmpq.report.page import (
    Block,
    Card,
    Cards,
    Chart,
    Facts,
    Listing,
    Opened,
    Opening,
    Page,
    Remark,
    Section,
)
from hwmpq.report.style import bit_colours
from hwmpq.report.sweep_figures import (
    drawn_candidates,
    front_figure,
    survival_figure,
    transfer_figure,
)
from hwmpq.report.sweep_view import FrontView, SweepView
from hwmpq.units import format_energy

_LONG: Final = 30
_WIDEST: Final = 16
_BIT_COLOURS: Final = bit_colours(1, 8)


def write_sweep_report(view: SweepView, folder: Path) -> Path:
    """Write ``report.html`` and ``report.md`` about a sweep.

    Returns:
        the page.

    Raises:
        OutputError: the files cannot be written.
    """
    return write_page(sweep_page(view), folder / PAGE_NAME, {})


def sweep_page(view: SweepView) -> Page:
    """The whole report."""
    sections = [
        Section("asked", "What was asked", (Facts(view.facts),)),
        Section("result", "What came out", tuple(_result(view))),
    ]
    for number, front in enumerate(view.fronts, start=1):
        names = " against ".join(axis.title.partition(",")[0] for axis in front.axes)
        title = f"{names[0].upper()}{names[1:]}: {front.title}"
        sections.append(Section(f"front-{number}", title, tuple(_front(front, view))))
    if len(view.transfer):
        title = "Bits carried from one accelerator to another"
        sections.append(Section("transfer", title, tuple(_transfer(view))))
    if len(view.survival):
        title = "What survives uncertain energy constants"
        sections.append(Section("survival", title, tuple(_survival(view))))
    sections.append(Section("problems", "Points without an answer", tuple(_problems(view))))
    kept = tuple(section for section in sections if section.blocks)
    return Page(view.title, "Sweep of budgets and accelerators", kept, footer())


def _result(view: SweepView) -> Iterator[Block]:
    counts = view.frame["status"].value_counts()
    cards = [Card(title="points", value=f"{len(view.frame):,}")]
    cards += [
        Card(title=str(status), value=f"{count:,}", flag="bad" if status == "failed" else "")
        for status, count in counts.items()
    ]
    cards += [
        Card(
            title=f"front of {len(front.rows)} points",
            value=f"{front.hypervolume:.1%}",
            detail=f"of the box between best and worst; {front.title}",
        )
        for front in view.fronts
    ]
    yield Cards(tuple(cards))


def _opening(front: FrontView, view: SweepView) -> Opening:
    rows = pd.concat([front.rows, drawn_candidates(front)])
    points = {
        str(index): Opened(
            title=view.label(row["variant"]),
            facts=_facts(row, front),
            rows=row["workload"],
            bits=row["bits"],
        )
        for index, row in rows.iterrows()
    }
    return Opening(
        points=points,
        rows=view.layers,
        first=str(front.knee),
        colours={bits: _colour(bits) for bits in range(1, _WIDEST + 1)},
    )


def _facts(row: pd.Series, front: FrontView) -> tuple[tuple[str, str], ...]:
    budgets = (
        f"{str(name).removeprefix('budget.')} ≤ {value}"
        for name, value in row.items()
        if str(name).startswith("budget.") and isinstance(value, str)
    )
    measured = [(axis.title.partition(",")[0], axis.show(row[axis.column])) for axis in front.axes]
    return (("budget", ", ".join(budgets)), *measured, ("point", str(row["point"])))


def _colour(bits: int) -> str:
    """The shade of a bit-width in all figures."""
    return _BIT_COLOURS[2 * (min(bits, 8) - 1)][1]


def _front(front: FrontView, view: SweepView) -> Iterator[Block]:
    yield Chart(
        front_figure(front, view),
        "Click a point to open its bits (weights, activations) below; the knee is open at first. "
        "Grey points are beaten.",
        _opening(front, view),
    )
    frame = front.rows.assign(
        variant=front.rows["variant"].map(view.label),
        knee=["knee" if index == front.knee else "" for index in front.rows.index],
    )
    columns = [Column("point", "point", short), Column("variant", "accelerator")]
    columns += [
        Column(str(name), str(name).removeprefix("budget."))
        for name in frame.columns
        if str(name).startswith("budget.")
    ]
    columns += [
        Column(axis.column, axis.title.partition(",")[0], axis.show) for axis in front.axes
    ]
    columns.append(Column("knee", ""))
    yield Listing(make_grid(frame, columns), "The front", folded=len(frame) > _LONG)


def _transfer(view: SweepView) -> Iterator[Block]:
    yield Chart(
        transfer_figure(view),
        "Bits that are optimal for the accelerator of the row, run on that of the column, at the "
        "column's budget. Where they do not fit, as few layers as possible change; below stands "
        "how much more sensitivity is left than with bits chosen for the column.",
    )
    frame = view.transfer.assign(
        optimised_for=view.transfer["optimised_for"].map(view.label),
        run_on=view.transfer["run_on"].map(view.label),
        fits=view.transfer["fits"].map({True: "yes", False: "no"}),
    )
    columns = (
        Column("optimised_for", "optimised for"),
        Column("run_on", "run on"),
        Column("fits", "fits"),
        Column("spent", "of the budget", times),
        Column("changed_layers", "layers changed", short),
        Column("repaired_sensitivity", "sensitivity, repaired", short),
        Column("own_sensitivity", "own optimum", short),
        Column("penalty", "penalty", percent),
    )
    yield Listing(make_grid(frame, columns), "Transfer", folded=len(frame) > _LONG)


def _survival(view: SweepView) -> Iterator[Block]:
    frame = view.survival
    certain = int((frame["on_front"] >= 0.95).sum())
    yield Remark(
        f"{view.samples:,} draws of the energy constants within their stated uncertainty, bits as "
        f"allocated. {certain} of {len(frame)} points stay on the front in at least 95 % of them."
    )
    yield Chart(
        survival_figure(view),
        "Energy with its 5th and 95th percentile; the number is the share of draws in which no "
        "other point beats it.",
    )
    columns = (
        Column("point", "point", short),
        Column("variant", "accelerator"),
        Column("energy_pj", "energy", format_energy),
        Column("energy_p05_pj", "5 %", format_energy),
        Column("energy_p95_pj", "95 %", format_energy),
        Column("on_front", "on the front", percent),
        Column("least_energy", "least energy", percent),
    )
    shown = frame.assign(variant=frame["variant"].map(view.label))
    yield Listing(make_grid(shown, columns), "Points", folded=len(frame) > _LONG)


def _problems(view: SweepView) -> Iterator[Block]:
    frame = view.frame[~view.frame["status"].isin(["optimal", "feasible"])]
    if frame.empty:
        return
    least = [name for name in frame.columns if name.startswith("least.")]
    budgets = [name for name in frame.columns if name.startswith("budget.")]
    shown = frame.assign(
        variant=frame["variant"].map(view.label),
        error=frame["error"].fillna("").str.partition("\n")[0],
    ).head(1000)
    columns = [Column("point", "point", short), Column("variant", "accelerator")]
    columns += [Column(name, name.removeprefix("budget.")) for name in budgets]
    columns.append(Column("status", "status"))
    columns += [Column(n, f"least {n.removeprefix('least.')}", short) for n in least]
    columns.append(Column("error", "why"))
    note = "An infeasible budget comes with the least that is achievable, in canonical units."
    yield Listing(
        make_grid(shown, columns), f"{len(frame):,} points", note, folded=len(frame) > _LONG
    )
