"""``hwmpq report``: pages about runs that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwmpq.cli.options import Json
from hwmpq.cli.output import note, print_json, show
from hwmpq.report.html import write_run_report
from hwmpq.report.text import run_summary


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to; the run by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write HTML, Markdown and CSV about runs; several are compared.

    Example:  hwmpq report runs/a runs/b -o reports/a-and-b
    """
    from hwmpq.codesign.folder import Run

    found = [Run.load(folder) for folder in runs]
    target = out or (runs[0] if len(runs) == 1 else Path("reports") / "comparison")
    page = write_run_report(found, target)
    if as_json:
        print_json({"report": str(page), "runs": [str(run.folder) for run in found]})
        return
    for run in found:
        show(*run_summary(run))
    note(f"report: {page}")
