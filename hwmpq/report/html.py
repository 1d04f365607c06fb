"""Reports as one self-contained HTML page, with Markdown and CSV beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hwmpq.accelerator.spec import Accelerator
from hwmpq.codesign.folder import Run
from hwmpq.cost.table import CostTable
from hwmpq.errors import UnsupportedError
from hwmpq.files import write_atomic, write_text
from hwmpq.precision import Assignment
from hwmpq.report.comparison_page import comparison_section
from hwmpq.report.csv_frames import budgets_csv, layers_csv, rounds_csv
from hwmpq.report.evaluation_page import Evaluation, evaluation_frame, evaluation_sections
from hwmpq.report.markdown import markdown_page
from hwmpq.report.page import Cards, Chart, Facts, Listing, Opening, Page, Remark, Section
from hwmpq.report.run_page import run_sections
from hwmpq.report.run_tables import comparison_frame, run_names
from hwmpq.report.tables import layer_frame
from hwmpq.version import __version__
from hwmpq.workload.graph import Workload

PAGE_NAME: Final = "report.html"
_KINDS: Final = {
    Cards: "cards",
    Chart: "chart",
    Listing: "listing",
    Facts: "facts",
    Remark: "remark",
}
_SCRIPT_ESCAPES: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def script_json(text: str) -> Markup:
    r"""JSON that can stand inside a script element whatever it holds.

    >>> script_json('"</script>"')
    Markup('"\\u003c/script\\u003e"')
    """
    return Markup(text.translate(_SCRIPT_ESCAPES))


def _figure_json(figure: go.Figure) -> Markup:
    plain: dict[str, Any] = json.loads(figure.to_json(validate=False))
    data = {"data": plain["data"], "layout": plain["layout"]}
    return script_json(json.dumps(data, separators=(",", ":")))


def _opening_json(opening: Opening) -> Markup:
    return script_json(json.dumps(asdict(opening), separators=(",", ":"), ensure_ascii=False))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hwmpq.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure_json"] = _figure_json
    environment.filters["opening_json"] = _opening_json
    environment.tests["numeric"] = lambda column: column.numeric
    return environment


def render_page(page: Page) -> str:
    """A page as HTML that loads nothing from anywhere."""
    has_charts = any(isinstance(b, Chart) for s in page.sections for b in s.blocks)
    script = Markup(get_plotlyjs()) if has_charts else Markup("")
    template = _environment().get_template("report.html.j2")
    return template.render(page=page, kinds=_KINDS, plotly=script)


def _target(folder_or_file: Path) -> Path:
    """The page's file: a path that ends in .html is one, anything else is its folder."""
    is_file = folder_or_file.suffix.lower() in {".html", ".htm"}
    return folder_or_file if is_file else folder_or_file / PAGE_NAME


def write_page(page: Page, target: Path, frames: Mapping[str, pd.DataFrame]) -> Path:
    """Write CSV and Markdown first and the page last, so that a page is never without them.

    Raises:
        OutputError: a file cannot be written.
    """
    for name, frame in frames.items():
        write_atomic(target.with_name(name), _csv_writer(frame))
    write_text(target.with_suffix(".md"), markdown_page(page))
    return write_text(target, render_page(page))


def _csv_writer(frame: pd.DataFrame) -> Callable[[Path], object]:
    return lambda part: frame.to_csv(part, index=False, encoding="utf-8")


def write_run_report(runs: Sequence[Run], folder_or_file: Path) -> Path:
    """Write a report about one run, or about several and how they compare.

    Beside the page: ``report.md``, ``layers.csv``, ``budgets.csv`` and ``rounds.csv``, and for
    several runs ``runs.csv``.

    Args:
        runs: finished or not.
        folder_or_file: a folder, or the page's own path ending in ``.html``.

    Returns:
        the page.

    Raises:
        UnsupportedError: there is no run.
        OutputError: the files cannot be written.
    """
    if not runs:
        msg = "a report needs at least one run; name a run directory"
        raise UnsupportedError(msg)
    target = _target(Path(folder_or_file))
    frames = {
        "layers.csv": layers_csv(runs),
        "budgets.csv": budgets_csv(runs),
        "rounds.csv": rounds_csv(runs),
    }
    if len(runs) > 1:
        frames["runs.csv"] = comparison_frame(runs)
    return write_page(run_report_page(runs), target, frames)


def run_report_page(runs: Sequence[Run]) -> Page:
    """The page about one run, or about several with their comparison first."""
    if len(runs) == 1:
        manifest = runs[0].manifest
        return Page(
            title=f"{manifest.workload} on {manifest.accelerator}",
            subtitle=f"Mixed precision by {manifest.method}, seed {manifest.seed}",
            sections=run_sections(runs[0]),
            footer=footer(),
        )
    sections: list[Section] = [comparison_section(runs)]
    for number, (name, run) in enumerate(zip(run_names(runs), runs, strict=True), start=1):
        sections.append(Section(f"run-{number}", f"Run {name}", (), level=1))
        sections += run_sections(run, prefix=f"run-{number}-")
    names = dict.fromkeys(f"{r.manifest.workload} on {r.manifest.accelerator}" for r in runs)
    return Page("Comparison of runs", "; ".join(names), tuple(sections), footer())


def write_evaluation_report(
    tables: Sequence[CostTable],
    accelerators: Sequence[Accelerator],
    workload: Workload,
    assignments: Sequence[Assignment],
    folder: Path,
) -> Path:
    """Write a report about one network on one or several accelerators, without training.

    Beside the page: ``report.md``, ``layers.csv`` and ``totals.csv``.

    Args:
        tables: costs, one table an accelerator.
        accelerators: in the same order.
        workload: the network.
        assignments: bits, in the same order.
        folder: a folder, or the page's own path ending in ``.html``.

    Returns:
        the page.

    Raises:
        UnsupportedError: there is no table.
        OutputError: the files cannot be written.
    """
    evaluations = [
        Evaluation(table, accelerator, assignment)
        for table, accelerator, assignment in zip(tables, accelerators, assignments, strict=True)
    ]
    if not evaluations:
        msg = "an evaluation report needs at least one accelerator"
        raise UnsupportedError(msg)
    names = ", ".join(e.accelerator.name for e in evaluations)
    page = Page(
        title=f"{workload.name} on {names}",
        subtitle="Modelled latency, energy and memory",
        sections=evaluation_sections(evaluations, workload),
        footer=footer(),
    )
    layers = [
        layer_frame(e.table, e.assignment).assign(accelerator=e.accelerator.name)
        for e in evaluations
    ]
    frames = {
        "layers.csv": pd.concat(layers, ignore_index=True),
        "totals.csv": evaluation_frame(evaluations, workload),
    }
    return write_page(page, _target(Path(folder)), frames)


def footer() -> str:
    """The last line of every page."""
    return (
        f"Written by hwmpq {__version__}. Latency, energy and memory are modelled, not measured."
    )
