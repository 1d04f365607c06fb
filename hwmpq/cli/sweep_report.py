"""From a sweep to its report, which knows nothing of how sweeps run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwmpq.report.sweep_comparison import ContestView, write_sweep_comparison
from hwmpq.report.sweep_page import write_sweep_report
from hwmpq.report.sweep_view import FrontView, SweepView
from hwmpq.sweep.answers import Answered, Front, shortest_labels, work_out
from hwmpq.sweep.compare import Comparison, compare_sweeps, contests_frame
from hwmpq.sweep.result import Sweep
from hwmpq.sweep.run import count_points


def report_sweep(sweep: Sweep, out: Path | None = None) -> tuple[Path, Answered]:
    """Work out what a sweep says and write its report.

    Args:
        sweep: whose rows are there.
        out: where to; into the sweep's folder by default.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = out or sweep.folder
    answered = work_out(sweep, folder)
    return write_sweep_report(_view(sweep, answered), folder), answered


def report_sweeps(sweeps: Sequence[Sweep], out: Path) -> tuple[Path, Comparison]:
    """Compare the fronts of several sweeps.

    Raises:
        OutputError: a file cannot be written.
        UnsupportedError: a quantity of a front is not known.
    """
    found = compare_sweeps(sweeps)
    variants = found.frame["sweep"] + ": " + found.frame["variant"]
    facts = [
        (name, ", ".join(sweep.plan.recipe.workload) + " on " + _machines(sweep))
        for name, sweep in zip(found.names, sweeps, strict=True)
    ]
    view = SweepView(
        title="Comparison of sweeps",
        facts=tuple(facts),
        frame=found.frame.assign(variant=variants),
        layers=found.layers,
        fronts=(),
        labels={},
    )
    contests = tuple(
        ContestView(
            joint=_front_view(contest.joint),
            fronts={name: _front_view(front) for name, front in contest.fronts.items()},
            leading=contest.leading,
        )
        for contest in found.contests
    )
    csv = contests_frame(found.contests)
    return write_sweep_comparison(view, contests, csv, out), found


def _machines(sweep: Sweep) -> str:
    return ", ".join(machine.name for machine in sweep.plan.recipe.accelerator)


def _front_view(front: Front) -> FrontView:
    return FrontView(
        title=front.group,
        quantities=front.quantities,
        rows=front.rows,
        candidates=front.candidates,
        knee=front.knee,
        hypervolume=front.hypervolume,
    )


def _view(sweep: Sweep, answered: Answered) -> SweepView:
    frame = sweep.to_pandas()
    recipe = sweep.plan.recipe
    return SweepView(
        title=recipe.name or "Sweep",
        facts=_facts(sweep),
        frame=frame,
        layers={name: network.layers for name, network in sweep.plan.networks.items()},
        fronts=tuple(map(_front_view, answered.fronts)),
        transfer=answered.transfer,
        survival=answered.survival,
        samples=recipe.answers.energy_samples,
        missing=answered.missing,
        labels=shortest_labels(frame["variant"].drop_duplicates().tolist()),
    )


def _facts(sweep: Sweep) -> tuple[tuple[str, str], ...]:
    recipe = sweep.plan.recipe
    grid = sweep.plan.grid
    pairs = [
        ("networks", ", ".join(recipe.workload)),
        ("accelerators", _machines(sweep)),
        ("variants", f"{grid.shape[1]:,}"),
        ("budgets", f"{grid.shape[5]:,} of {', '.join(grid.budget_names)}"),
        ("scores", ", ".join((*recipe.sensitivity, *recipe.method))),
        ("reference", recipe.reference),
        ("points", f"{count_points(recipe):,}"),
        ("recipe hash", sweep.plan.recipe_hash),
        ("hwmpq", sweep.plan.hwmpq_version),
    ]
    if recipe.search is not None:
        pairs.append(("search", f"{recipe.search.sampler}, {', '.join(recipe.search.goals)}"))
    if sweep.plan.area_limit_mm2 is not None:
        pairs.append(("area", f"at most {sweep.plan.area_limit_mm2:.4g} mm²"))
    if sweep.plan.bandwidth_bits_per_second is not None:
        pairs.append(("bandwidth", f"{sweep.plan.bandwidth_bits_per_second / 8e9:.4g} GB/s each"))
    return tuple(pairs)
