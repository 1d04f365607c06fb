"""From a sweep to its report, which knows nothing of how sweeps run."""

from __future__ import annotations

from pathlib import Path

from hwmpq.report.sweep_page import write_sweep_report
from hwmpq.report.sweep_view import FrontView, SweepView
from hwmpq.sweep.answers import Answered, shortest_labels, work_out
from hwmpq.sweep.result import Sweep
from hwmpq.sweep.run import count_points


def report_sweep(sweep: Sweep) -> tuple[Path, Answered]:
    """Work out what a sweep says and write its report into its folder.

    Raises:
        OutputError: a file cannot be written.
        UnsupportedError: a quantity of a front is not known.
    """
    answered = work_out(sweep)
    return write_sweep_report(_view(sweep, answered), sweep.folder), answered


def _view(sweep: Sweep, answered: Answered) -> SweepView:
    frame = sweep.to_pandas()
    recipe = sweep.plan.recipe
    return SweepView(
        title=recipe.name or "Sweep",
        facts=_facts(sweep),
        frame=frame,
        layers={name: network.layers for name, network in sweep.plan.networks.items()},
        fronts=tuple(
            FrontView(
                title=front.group,
                quantities=front.quantities,
                rows=front.rows,
                candidates=front.candidates,
                knee=front.knee,
                hypervolume=front.hypervolume,
            )
            for front in answered.fronts
        ),
        transfer=answered.transfer,
        survival=answered.survival,
        samples=recipe.answers.energy_samples,
        labels=shortest_labels(frame["variant"].drop_duplicates().tolist()),
    )


def _facts(sweep: Sweep) -> tuple[tuple[str, str], ...]:
    recipe = sweep.plan.recipe
    grid = sweep.plan.grid
    pairs = [
        ("networks", ", ".join(recipe.workload)),
        ("accelerators", ", ".join(machine.name for machine in recipe.accelerator)),
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
