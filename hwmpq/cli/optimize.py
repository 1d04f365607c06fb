"""``hwmpq optimize``: the main job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwmpq.cli import options
from hwmpq.cli.output import note, print_json, show
from hwmpq.cli.progress import progress_bars
from hwmpq.errors import BudgetError
from hwmpq.precision import Precision
from hwmpq.report.html import write_run_report
from hwmpq.report.text import runs_summary

if TYPE_CHECKING:
    from hwmpq.codesign.job import Job
    from hwmpq.codesign.run import Run

_DEFAULT_FOLDER = Path("runs")


def _command() -> str:
    return shlex.join(["hwmpq", *sys.argv[1:]])


@dataclass(frozen=True, slots=True)
class _Trial:
    """One of the runs that a job asks for."""

    method: str
    seed: int
    folder: Path


def _trials(job: Job, base: Path) -> tuple[_Trial, ...]:
    """A run of each method with each seed, in folders of their own if there are several."""
    seeds = job.seeds or (job.seed,)
    trials = []
    for method in job.method:
        for seed in seeds:
            parts = [method] if len(job.method) > 1 else []
            parts += [f"seed-{seed}"] if len(seeds) > 1 else []
            trials.append(_Trial(method, seed, base / "-".join(parts)))
    return tuple(trials)


def _run(job: Job, trial: _Trial, *, resume: bool, overwrite: bool, quiet: bool) -> Run:
    from hwmpq.codesign.run import optimize as optimise

    chosen = job.load_method(trial.method)
    with progress_bars(quiet=quiet) as bars:
        run = optimise(
            job.workload,
            job.data,
            job.load_accelerator(),
            method=chosen,
            budget=job.budgets,
            out=trial.folder,
            recipe=job.recipe(),
            epochs=job.epochs,
            seed=trial.seed,
            device=job.device,
            threads=job.threads,
            reference=Precision.parse(job.reference),
            candidates=job.candidates,
            fixed=job.pins,
            resume=resume,
            overwrite=overwrite,
            progress=bars,
            ablation=job.ablation,
            weights=job.weights,
            command=_command(),
        )
    write_run_report([run], run.folder)
    return run


def run_as_json(run: Run) -> dict[str, Any]:
    """What ``hwmpq optimize --json`` prints about a run."""
    return {
        "folder": str(run.folder),
        "report": str(run.folder / "report.html"),
        "manifest": run.manifest.model_dump(mode="json"),
        "results": run.results.model_dump(mode="json"),
    }


def optimize(
    workload: Annotated[
        str, typer.Argument(metavar="WORKLOAD|JOB.yaml", help="A workload, or a job file.")
    ],
    accelerator: Annotated[
        str | None,
        typer.Option("--accelerator", "-a", metavar="ACCELERATOR", help="Name or path."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="METHOD", help="Repeat to compare methods."),
    ] = None,
    latency: options.Latency = None,
    energy: options.Energy = None,
    weight_memory: options.WeightMemory = None,
    peak_activation_memory: options.PeakActivationMemory = None,
    bops: options.Bops = None,
    average_weight_bits: options.AverageWeightBits = None,
    average_activation_bits: options.AverageActivationBits = None,
    reference: options.Reference = "8/8",
    weight_bits: options.WeightBitChoices = None,
    activation_bits: options.ActivationBitChoices = None,
    fix: options.Fix = None,
    overrides: options.Set = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="hwmpq list data.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE|RUN", help="Start from a float checkpoint."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Of the float and the quantised network.")
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option("--ablation", metavar="reversed|random", help="Allocate by wrong scores."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="RUN", help="The run directory.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run.")] = False,
    seed: options.Seed = 0,
    seeds: options.Seeds = None,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    as_json: options.Json = False,
) -> None:
    """Train a network to mixed precision for an accelerator, inside hard budgets.

    Alternates quantisation-aware training with exact allocation against the accelerator's costs,
    and writes a run directory with its report.

    Several methods (-m bmpq -m dq) or seeds (--seeds 0..2) run one after the other and are
    compared in one report.

    Example:  hwmpq optimize resnet20-digits -a bitfusion-edge -m bmpq --latency 0.25x -o runs/a
    """
    from hwmpq.codesign.job import is_job_file, make_job, read_job

    changes = options.parse_assignments(overrides, "--set")
    limits = options.make_budget(
        latency=latency,
        energy=energy,
        weight_memory=weight_memory,
        peak_activation_memory=peak_activation_memory,
        bops=bops,
        average_weight_bits=average_weight_bits,
        average_activation_bits=average_activation_bits,
    ).to_json()
    stated: dict[str, Any] = {
        "accelerator": accelerator or "",
        "method": tuple(methods or ()),
        "budget": limits,
        "weights": weights,
        "data": data,
        "epochs": epochs,
        "seed": seed,
        "seeds": options.parse_seeds(seeds) if seeds else None,
        "device": device,
        "threads": threads,
        "reference": reference,
        "weight_bits": options.parse_bits(weight_bits) if weight_bits else None,
        "activation_bits": options.parse_bits(activation_bits) if activation_bits else None,
        "fix": options.parse_assignments(fix, "--fix") if fix else None,
        "ablation": options.parse_ablation(ablation),
    }
    if is_job_file(workload):
        _refuse_beside_job(stated)
        job = read_job(Path(workload), changes)
    else:
        _require(accelerator, "an accelerator: -a bitfusion-edge (hwmpq list accelerators)")
        _require(methods, "a method: -m bmpq (hwmpq list methods)")
        _require(limits, "a budget, such as --latency 0.5x")
        job = make_job(workload=workload, set=changes, **stated)
    base = out or Path(job.out or _DEFAULT_FOLDER / f"{Path(job.workload).stem}-{job.method[0]}")
    for name in job.method:
        job.load_method(name)
    runs = [
        _run(job, trial, resume=resume, overwrite=overwrite, quiet=as_json)
        for trial in _trials(job, base)
    ]
    page = write_run_report(runs, base) if len(runs) > 1 else base / "report.html"
    _show(runs, page, as_json=as_json)


def _require(given: object, what: str) -> None:
    if not given:
        msg = f"optimize needs {what}"
        raise BudgetError(msg)


def _refuse_beside_job(stated: Mapping[str, Any]) -> None:
    """A job file says everything; an option beside it would be lost without a word."""
    from hwmpq.codesign.job import Job

    for name, value in stated.items():
        if value and value != Job.model_fields[name].default:
            example = "budget.latency=0.3x" if name == "budget" else f"{name}=..."
            msg = f"a job file states its {name} itself; change it by --set {example}"
            raise BudgetError(msg)


def _show(runs: Sequence[Run], page: Path, *, as_json: bool) -> None:
    if as_json:
        found = [run_as_json(run) for run in runs]
        print_json(found[0] if len(found) == 1 else {"runs": found, "report": str(page)})
        return
    show(*runs_summary(runs))
    note(f"report: {page}")
