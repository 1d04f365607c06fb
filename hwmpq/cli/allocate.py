"""``hwmpq allocate``: bits per layer under hard budgets, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwmpq import registry
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.allocate.base import Allocation, AllocationProblem, Allocator
from hwmpq.allocate.explain import next_bits
from hwmpq.allocate.explain import show as amount
from hwmpq.allocate.policy import policy_data, write_policy
from hwmpq.allocate.question import ask
from hwmpq.allocate.run import with_settings
from hwmpq.cli import options
from hwmpq.cli.output import note, print_json, show, table
from hwmpq.cli.sensitivity import find_sensitivity
from hwmpq.errors import BudgetError
from hwmpq.precision import Precision
from hwmpq.report.text import interval_table
from hwmpq.units import format_seconds
from hwmpq.workload.loader import load_workload

_STEPS_SHOWN = 8


def allocate(
    workload: options.WorkloadName,
    accelerator: options.AcceleratorName,
    sensitivity: Annotated[
        str,
        typer.Option(
            "--sensitivity",
            "-s",
            metavar="METRIC|FILE|RUN",
            help="A metric, or a table.",
        ),
    ],
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
    allocator: Annotated[
        str, typer.Option("--allocator", metavar="NAME", help="hwmpq list allocators.")
    ] = "ilp",
    time_limit: Annotated[
        float | None,
        typer.Option("--time-limit", min=0.0, metavar="SECONDS", help="For solving."),
    ] = None,
    gap: Annotated[
        float | None,
        typer.Option("--gap", min=0.0, metavar="SHARE", help="Gap to stop at."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE|RUN", help="Trained weights (safetensors)."),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Measure on untrained weights; rarely meant.")
    ] = False,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="hwmpq list data.")
    ] = None,
    batch: options.Batch = 1,
    exempt: options.Exempt = None,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the policy.")
    ] = None,
    seed: options.Seed = 0,
    threads: options.Threads = 1,
    as_json: options.Json = False,
) -> None:
    """Allocate bits to the layers of a trained network, inside hard budgets, without training.

    Example:  hwmpq allocate resnet20-digits -a bitfusion-edge -s weight-mse --weights runs/demo
    --latency 0.3x -o policy.json
    """
    limits = options.make_budget(
        latency=latency,
        energy=energy,
        weight_memory=weight_memory,
        peak_activation_memory=peak_activation_memory,
        bops=bops,
        average_weight_bits=average_weight_bits,
        average_activation_bits=average_activation_bits,
    )
    if not limits.names:
        msg = "allocate needs a budget, such as --latency 0.5x"
        raise BudgetError(msg)
    solver: Allocator = with_settings(
        registry.resolve("allocator", allocator), time_limit_s=time_limit, gap_limit=gap
    )
    question = ask(
        load_workload(workload, batch=batch, exempt=tuple(exempt or ())),
        load_accelerator(accelerator, options.parse_assignments(overrides, "--set")),
        limits,
        reference=Precision.parse(reference),
        candidates=options.parse_candidates(weight_bits, activation_bits),
        fixed=options.parse_fixed(fix) if fix else None,
    )
    if not as_json:
        show(interval_table(question.intervals(), question.limits(), reference))
    question.require_feasible()
    scores = find_sensitivity(
        sensitivity,
        question,
        workload,
        weights=weights,
        random_weights=random_weights,
        data=data,
        seed=seed,
        threads=threads,
        quiet=as_json,
    )
    problem = question.problem(scores)
    found = solver.solve(problem)
    if out is not None:
        write_policy(out, found.assignment)
    if as_json:
        print_json(_as_json(found, problem))
        return
    _show(found, problem, scores.metric)
    if out is not None:
        note(f"written: {out}")


def _as_json(found: Allocation, problem: AllocationProblem) -> dict[str, Any]:
    return {
        **found.to_json(),
        "policy": policy_data(found.assignment),
        "next_bits": [
            {
                "layers": list(step.layers),
                "from": str(step.current),
                "to": str(step.wider),
                "gain": step.gain,
                "costs": dict(step.costs),
                "fits": step.fits,
            }
            for step in next_bits(problem, found.assignment)
        ],
    }


def _show(found: Allocation, problem: AllocationProblem, metric: str) -> None:
    bits = [
        (layer, p.weight_bits, p.activation_bits, f"{problem.sensitivity[row, column]:.3g}")
        for row, (layer, p) in enumerate(found.assignment.items())
        for column in (problem.precisions.index(p),)
    ]
    show(table("Bits", ("layer", ">weights", ">activations", f">{metric}"), bits))
    budgets = [
        (
            report.name.replace("_", " "),
            amount(report.limit, report.unit),
            amount(report.achieved, report.unit),
            amount(report.slack, report.unit),
            "-"
            if report.shadow_price is None
            else f"{report.shadow_price:.3g} per {report.unit.removesuffix('s')}",
        )
        for report in found.budgets
    ]
    columns = ("budget", ">limit", ">achieved", ">slack", ">shadow price")
    show(table("Budgets", columns, budgets))
    steps = [
        (
            ", ".join(step.layers),
            f"{step.current} to {step.wider}",
            f"{step.gain:.3g}",
            ", ".join(
                f"{name.replace('_', ' ')} {amount(cost, problem.rows_of(name)[0].unit)}"
                for name, cost in step.costs.items()
            ),
            "yes" if step.fits else "no",
        )
        for step in next_bits(problem, found.assignment)[:_STEPS_SHOWN]
    ]
    columns = ("layer", "step", ">saves", ">costs", "fits")
    show(table("What the next bit would cost, most saved first", columns, steps))
    gap = "no bound" if found.gap is None else f"gap {found.gap:.2%}"
    took = format_seconds(found.seconds)
    show(f"{found.status}: {metric} {found.objective:.6g}, {gap}, {found.solver}, {took}")
    for remark in found.notes:
        show(remark)
