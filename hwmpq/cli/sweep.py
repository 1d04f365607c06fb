"""``hwmpq sweep``: budgets, accelerators and their parameters, all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwmpq.cli import options
from hwmpq.cli.output import note, print_json, show, table
from hwmpq.units import format_seconds

if TYPE_CHECKING:
    from hwmpq.sweep.answers import Front
    from hwmpq.sweep.estimate import Estimate
    from hwmpq.sweep.execute import Executor
    from hwmpq.sweep.plan import Plan
    from hwmpq.sweep.result import Sweep

_DEFAULT_FOLDER = Path("sweeps")


def sweep(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="What to vary.")],
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to; sweeps/RECIPE by default."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, metavar="N", help="Processes; 0: all cores.")
    ] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler instead."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Run only the points that are missing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sweep.")] = False,
    retries: Annotated[
        int, typer.Option("--retries", min=0, metavar="N", help="Of points and lost workers.")
    ] = 1,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: run failed points again, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count points and estimate the time; run nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Run even a very large sweep.")] = False,
    as_json: options.Json = False,
) -> None:
    """Sweep budgets, accelerators, their parameters, precisions, metrics and methods.

    Each point is an exact allocation, or a training run. Rows go to results.parquet and
    results.csv, fronts and their policies to report.html.

    Example:  hwmpq sweep front.yaml --jobs 2 -o sweeps/front
    """
    from hwmpq.cli.progress import progress_bars
    from hwmpq.sweep.run import plan_sweep, run_plan

    count = jobs or os.cpu_count() or 1
    plan, workloads = plan_sweep(recipe, many=yes or dry_run)
    executor = _executor(plan, count, scheduler, retries)
    if dry_run:
        from hwmpq.sweep.estimate import estimate

        _show_estimate(estimate(plan, workloads, executor.workers), as_json=as_json)
        return
    folder = out or _DEFAULT_FOLDER / recipe.stem
    with progress_bars(quiet=as_json) as bars, _way_on(recipe, folder):
        found = run_plan(
            plan,
            workloads,
            folder,
            executor=executor,
            resume=resume,
            overwrite=overwrite,
            retries=retries,
            retry_failed=retry_failed,
            listener=bars,
        )
    _finish(found, as_json=as_json)


@contextmanager
def _way_on(recipe: Path, folder: Path) -> Iterator[None]:
    """Say how to go on when the user interrupts."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"finished points are kept; go on with: hwmpq sweep {recipe} -o {folder} --resume")
        raise


def _executor(plan: Plan, jobs: int, scheduler: str | None, retries: int) -> Executor:
    from hwmpq.sweep.cluster import DaskCluster
    from hwmpq.sweep.execute import LocalProcesses

    if scheduler is None:
        return LocalProcesses(jobs=jobs, threads=plan.recipe.threads, retries=retries)
    training = {"GPU": 1.0} if plan.recipe.device.startswith("cuda") else {}
    return DaskCluster(address=scheduler, training=training, retries=retries)


def _show_estimate(found: Estimate, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "points": found.points,
                "variants": found.variants,
                "tried": found.tried,
                "seconds": found.total_s,
                "seconds_per_point": found.point_s,
                "seconds_per_variant": found.variant_s,
                "workers": found.workers,
            }
        )
        return
    rows = [
        ("points", f"{found.points:,}"),
        ("accelerator variants to price", f"{found.variants:,}"),
        ("scores", format_seconds(found.shared_s)),
        ("pricing a variant", format_seconds(found.variant_s)),
        ("answering a point", format_seconds(found.point_s)),
        ("workers", str(found.workers)),
        ("all together, about", format_seconds(found.total_s)),
    ]
    show(table(f"Estimate from {found.tried} points", ("", ">"), rows))


def _finish(found: Sweep, *, as_json: bool) -> None:
    from hwmpq.cli.sweep_report import report_sweep

    page, answered = report_sweep(found)
    frame = found.to_pandas()
    statuses = {str(name): int(count) for name, count in frame["status"].value_counts().items()}
    if as_json:
        print_json(
            {
                "folder": str(found.folder),
                "points": len(frame),
                "statuses": statuses,
                "missing": list(answered.missing),
                "fronts": [_front_as_json(front) for front in answered.fronts],
                "results": str(found.folder / "results.parquet"),
                "report": str(page),
            }
        )
        return
    counted = ", ".join(f"{count:,} {name}" for name, count in statuses.items())
    show(f"{len(frame):,} points: {counted}")
    for text in frame.loc[frame["status"] == "failed", "error"].drop_duplicates().head(3):
        show(f"failed: {text}")
    rows = [
        (
            front.group,
            " / ".join(front.quantities),
            len(front.rows),
            front.rows.loc[front.knee, "point"],
            f"{front.hypervolume:.3f}",
        )
        for front in answered.fronts
    ]
    columns = ("rows", "quantities", ">points", ">knee", ">hypervolume")
    show(table("Fronts", columns, rows))
    for text in answered.missing:
        note(f"could not be worked out: {text}")
    note(f"rows: {found.folder / 'results.parquet'}")
    note(f"report: {page}")


def _front_as_json(front: Front) -> dict[str, Any]:
    return {
        "group": front.group,
        "quantities": list(front.quantities),
        "points": front.rows["point"].tolist(),
        "knee": front.rows["point"].loc[front.knee],
        "hypervolume": front.hypervolume,
    }
