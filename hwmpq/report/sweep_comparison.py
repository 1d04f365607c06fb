"""The report that compares the fronts of several sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hwmpq.report.grid import Column, make_grid, percent, short
from hwmpq.report.html import PAGE_NAME, footer, write_page
from hwmpq.report.page import Block, Chart, Facts, Listing, Page, Section
from hwmpq.report.sweep_figures import rivals_figure
from hwmpq.report.sweep_page import front_columns, open_points, section_title
from hwmpq.report.sweep_view import FrontView, SweepView


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContestView:
    """Fronts that can be compared.

    Attributes:
        joint: the front of all sweeps together.
        fronts: each sweep's own, by its name.
        leading: points of each sweep on the joint front.
    """

    joint: FrontView
    fronts: Mapping[str, FrontView]
    leading: Mapping[str, int]


def write_sweep_comparison(
    view: SweepView, contests: tuple[ContestView, ...], csv: pd.DataFrame, folder: Path
) -> Path:
    """Write ``report.html``, ``report.md`` and ``fronts.csv`` about several sweeps.

    Returns:
        the page.

    Raises:
        OutputError: the files cannot be written.
    """
    sections = [Section("asked", "What is compared", (Facts(view.facts),))]
    for number, contest in enumerate(contests, start=1):
        title = section_title(contest.joint)
        sections.append(Section(f"front-{number}", title, tuple(_blocks(contest, view))))
    page = Page(view.title, "Fronts of several sweeps", tuple(sections), footer())
    return write_page(page, folder / PAGE_NAME, {"fronts.csv": csv})


def _blocks(contest: ContestView, view: SweepView) -> Iterator[Block]:
    drawn = pd.concat([front.rows for front in contest.fronts.values()])
    yield Chart(
        rivals_figure(contest.fronts, view),
        "The front of each sweep; click a point to open its bits. The knee of all together is "
        "open at first.",
        open_points(drawn, contest.joint, view),
    )
    table = pd.DataFrame(
        [
            {
                "sweep": name,
                "points": len(front.candidates),
                "front": len(front.rows),
                "leading": contest.leading[name],
                "hypervolume": front.hypervolume,
                "knee": front.rows.loc[front.knee, "point"],
            }
            for name, front in contest.fronts.items()
        ]
    )
    columns = (
        Column("sweep", "sweep"),
        Column("points", "points answered", short),
        Column("front", "on its front", short),
        Column("leading", "on the joint front", short),
        Column("hypervolume", "hypervolume", percent),
        Column("knee", "knee: point", short),
    )
    note = (
        "Hypervolume: share of the box between the best and the worst of all rows that are shown."
    )
    yield Listing(make_grid(table, columns), "Sweeps", note)
    rows, shown = front_columns(contest.joint, view)
    yield Listing(
        make_grid(rows, (Column("sweep", "sweep"), *shown)),
        "The joint front",
        folded=len(rows) > 30,
    )
