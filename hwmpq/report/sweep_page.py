"""The report about a sweep."""

from __future__ import annotations

import re
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
_FRACTION: Final = re.compile(r"^(\d{1,3}\.\d{4,})(.*)$")
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
        sections.append(
            Section(f"front-{number}", section_title(front), tuple(_front(front, view)))
        )
    if len(view.transfer):
        title = "Bits carried from one accelerator to another"
        sections.append(Section("transfer", title, tuple(_transfer(view))))
    if len(view.survival):
        title = "What survives uncertain energy constants"
        sections.append(Section("survival", title, tuple(_survival(view))))
    sections.append(Section("problems", "Points without an answer", tuple(_problems(view))))
    kept = tuple(section for section in sections if section.blocks)
    return Page(view.title, "Sweep of budgets and accelerators", kept, footer())


def section_title(front: FrontView) -> str:
    """What a front is of."""
    return f"{_quantities(front).capitalize()}: {front.title}"


def _quantities(front: FrontView) -> str:
    """Such as ``sensitivity against energy and area``."""
    first, *others = (axis.title.partition(",")[0] for axis in front.axes)
    return f"{first} against {' and '.join(others)}"


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
            detail=f"of the box between best and worst: {_quantities(front)}; {front.title}",
        )
        for front in view.fronts
    ]
    yield Cards(tuple(cards))
    for text in view.missing:
        yield Remark(f"Could not be worked out: {text}.", "warning")


def open_points(rows: pd.DataFrame, front: FrontView, view: SweepView) -> Opening:
    """What a click on each of some rows opens; the front's knee is open at first."""
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
        f"{str(name).removeprefix('budget.').replace('_', ' ')} ≤ {brief_limit(value)}"
        for name, value in row.items()
        if str(name).startswith("budget.") and isinstance(value, str)
    )
    measured = [(axis.title.partition(",")[0], axis.show(row[axis.column])) for axis in front.axes]
    whose = (("sweep", str(row["sweep"])),) if "sweep" in row else ()
    return (*whose, ("budget", ", ".join(budgets)), *measured, ("point", str(row["point"])))


def brief_limit(text: str) -> str:
    """A limit as it was asked for, a long fraction cut to four digits.

    >>> brief_limit("0.454545454545x"), brief_limit("500KiB"), brief_limit("1234567")
    ('0.4545x', '500KiB', '1234567')
    """
    match = _FRACTION.match(text)
    return f"{float(match[1]):.4g}{match[2]}" if match else text


def _colour(bits: int) -> str:
    """The shade of a bit-width in all figures."""
    return _BIT_COLOURS[2 * (min(bits, 8) - 1)][1]


def _front(front: FrontView, view: SweepView) -> Iterator[Block]:
    yield Chart(
        front_figure(front, view),
        "Click a point to open its bits (weights, activations) below; the knee is open at first. "
        "Grey points are beaten.",
        open_points(pd.concat([front.rows, drawn_candidates(front)]), front, view),
    )
    frame, columns = front_columns(front, view)
    yield Listing(make_grid(frame, columns), "The front", folded=len(frame) > _LONG)


def front_columns(front: FrontView, view: SweepView) -> tuple[pd.DataFrame, list[Column]]:
    """The points of a front and how they are printed."""
    frame = _with_brief_limits(front.rows).assign(
        variant=front.rows["variant"].map(view.label),
        knee=["knee" if index == front.knee else "" for index in front.rows.index],
    )
    columns = [Column("point", "point", short), Column("variant", "accelerator")]
    columns += _limits(frame)
    columns += [
        Column(axis.column, axis.title.partition(",")[0], axis.show) for axis in front.axes
    ]
    columns.append(Column("knee", ""))
    return frame, columns


def _with_brief_limits(frame: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in frame.columns if str(name).startswith("budget.")]
    return frame.assign(**{name: frame[name].map(brief_limit, "ignore") for name in names})


def _limits(frame: pd.DataFrame) -> list[Column]:
    """The budgets as they were asked for, told apart from what was reached."""
    return [
        Column(str(name), f"{str(name).removeprefix('budget.').replace('_', ' ')} limit")
        for name in frame.columns
        if str(name).startswith("budget.") and frame[name].notna().any()
    ]


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
        Column("energy_pj", "energy", format_energy, beside="energy"),
        Column("energy_p05_pj", "5 %", format_energy, beside="energy"),
        Column("energy_p95_pj", "95 %", format_energy, beside="energy"),
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
    shown = (
        _with_brief_limits(frame)
        .assign(
            variant=frame["variant"].map(view.label),
            error=frame["error"].fillna("").str.partition("\n")[0].str.rstrip(":"),
        )
        .head(1000)
    )
    columns = [Column("point", "point", short), Column("variant", "accelerator")]
    columns += _limits(shown)
    columns.append(Column("status", "status"))
    columns += [
        Column(n, f"least {n.removeprefix('least.').replace('_', ' ')}", short) for n in least
    ]
    columns.append(Column("error", "why"))
    note = "An infeasible budget comes with the least that is achievable, in canonical units."
    yield Listing(
        make_grid(shown, columns), f"{len(frame):,} points", note, folded=len(frame) > _LONG
    )
