"""``hwmpq report``: pages about runs that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwmpq.cli.options import Json
from hwmpq.cli.output import note, print_json, show, table
from hwmpq.errors import Problem, SpecError
from hwmpq.report.html import write_run_report
from hwmpq.report.text import runs_summary


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, or sweep folders.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to; the run by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write HTML, Markdown and CSV about runs or about sweeps; several are compared.

    Example:  hwmpq report runs/a runs/b -o reports/a-and-b
    """
    target = out or (runs[0] if len(runs) == 1 else Path("reports") / "comparison")
    if _are_sweeps(runs):
        _report_sweeps(runs, target, as_json=as_json)
        return
    from hwmpq.codesign.folder import Run

    found = [Run.load(folder) for folder in runs]
    page = write_run_report(found, target)
    if as_json:
        print_json({"report": str(page), "runs": [str(run.folder) for run in found]})
        return
    show(*runs_summary(found))
    note(f"report: {page}")


def _are_sweeps(folders: list[Path]) -> bool:
    """Whether folders hold sweeps rather than runs.

    Raises:
        SpecError: some hold the one and some the other.
    """
    from hwmpq.sweep.plan import PLAN

    sweeps = [folder for folder in folders if (folder / PLAN).is_file()]
    if sweeps and len(sweeps) < len(folders):
        other = next(folder for folder in folders if folder not in sweeps)
        rule = f"holds a sweep, but '{other}' does not"
        fix = "Runs are compared with runs and sweeps with sweeps; report them one by one."
        raise SpecError(str(sweeps[0]), [Problem("folder", rule, fix=fix)])
    return bool(sweeps)


def _report_sweeps(folders: list[Path], target: Path, *, as_json: bool) -> None:
    from hwmpq.cli.sweep_report import report_sweep, report_sweeps
    from hwmpq.sweep.result import Sweep
    from hwmpq.sweep.store import CSV

    sweeps = [Sweep.load(folder) for folder in folders]
    if len(sweeps) == 1:
        sweeps[0].write_csv(target / CSV)
        page, answered = report_sweep(sweeps[0], target)
        for text in answered.missing:
            note(f"could not be worked out: {text}")
    else:
        page, found = report_sweeps(sweeps, target)
        rows = [
            (
                contest.joint.group,
                " / ".join(contest.joint.quantities),
                name,
                f"{len(front.rows)} ({contest.leading[name]})",
                f"{front.hypervolume:.3f}",
            )
            for contest in found.contests
            for name, front in contest.fronts.items()
        ]
        if not as_json:
            columns = ("rows", "quantities", "sweep", ">points (leading)", ">hypervolume")
            show(table("Fronts", columns, rows))
    if as_json:
        print_json({"report": str(page), "sweeps": [str(sweep.folder) for sweep in sweeps]})
        return
    note(f"report: {page}")
