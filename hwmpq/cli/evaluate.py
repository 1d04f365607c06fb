"""``hwmpq evaluate``: latency, energy and memory on a modelled accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from hwmpq.accelerator.area import equal_area_factors
from hwmpq.accelerator.families import mixing_warnings
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.policy import read_policy
from hwmpq.cli.options import (
    AcceleratorNames,
    Batch,
    CsvFile,
    Exempt,
    Json,
    ReportFolder,
    Set,
    WorkloadName,
    parse_assignments,
)
from hwmpq.cli.output import note, print_json, show
from hwmpq.cost.summary import evaluation_as_json
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.errors import BudgetError
from hwmpq.files import write_atomic
from hwmpq.precision import Assignment, Precision
from hwmpq.report.evaluation_page import Evaluation
from hwmpq.report.html import write_evaluation_report
from hwmpq.report.text import comparison_summary, evaluation_summary
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload


def _evaluate_one(
    workload: Workload,
    accelerator: Accelerator,
    uniform: Precision,
    policy: Path | None,
    all_precisions: bool,
) -> tuple[CostTable, Assignment]:
    """Price a workload at one precision, under a policy, or at every supported precision."""
    if policy is not None:
        names = [layer.name for layer in workload.multiply_layers]
        assignment: Assignment = read_policy(policy, names)
        return cost_table(workload, accelerator, sorted(set(assignment.values()))), assignment
    wanted = accelerator.supported if all_precisions else (uniform,)
    costs = cost_table(workload, accelerator, wanted)
    shown = uniform if uniform in wanted else wanted[-1]
    return costs, costs.uniform(shown)


def _write_csv(file: Path, tables: list[CostTable], policy: Assignment | None) -> None:
    frames = [costs.to_pandas(policy) for costs in tables]
    if len(tables) > 1:
        for frame, costs in zip(frames, tables, strict=True):
            frame["accelerator"] = costs.accelerator
    joined = pd.concat(frames) if len(frames) > 1 else frames[0]
    write_atomic(file, lambda part: joined.to_csv(part, index=False))


def evaluate(
    workload: WorkloadName,
    accelerators: AcceleratorNames,
    weight_bits: Annotated[int, typer.Option("--weight-bits", min=1, metavar="BITS")] = 8,
    activation_bits: Annotated[int, typer.Option("--activation-bits", min=1, metavar="BITS")] = 8,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Bits per layer, as optimize writes them."),
    ] = None,
    all_precisions: Annotated[
        bool, typer.Option("--all-precisions", help="Every pair that the accelerator runs.")
    ] = False,
    equal_area: Annotated[
        bool,
        typer.Option("--equal-area", help="Also compare at the area of the first accelerator."),
    ] = False,
    overrides: Set = None,
    batch: Batch = 1,
    exempt: Exempt = None,
    csv: CsvFile = None,
    report: ReportFolder = None,
    as_json: Json = False,
) -> None:
    """Evaluate a network on modelled accelerators: latency, energy and memory, layer by layer.

    Example:  hwmpq evaluate resnet18 -a bitfusion-isca18 --weight-bits 4 --activation-bits 8
    """
    if policy is not None and all_precisions:
        msg = "--policy and --all-precisions exclude each other"
        raise BudgetError(msg)
    changes = parse_assignments(overrides, "--set")
    machines = [load_accelerator(name, changes) for name in accelerators]
    factors = equal_area_factors(machines) if equal_area else ()
    network = load_workload(workload, batch=batch, exempt=tuple(exempt or ()))
    uniform = Precision(weight_bits, activation_bits)
    results = [_evaluate_one(network, m, uniform, policy, all_precisions) for m in machines]
    tables = [priced for priced, _ in results]
    assignments = [assignment for _, assignment in results]
    if csv is not None:
        _write_csv(csv, tables, assignments[0] if policy is not None else None)
    page = (
        write_evaluation_report(tables, machines, network, assignments, report)
        if report is not None
        else None
    )
    evaluations = [
        Evaluation(costs, machine, assignment)
        for (costs, assignment), machine in zip(results, machines, strict=True)
    ]
    if as_json:
        found: list[Any] = [
            evaluation_as_json(costs, assignment, machine, network)
            for (costs, assignment), machine in zip(results, machines, strict=True)
        ]
        for body, factor in zip(found, factors, strict=False):
            body["equal_area_factor"] = factor
            body["totals"]["latency_s_at_equal_area"] = body["totals"]["latency_s"] / factor
        print_json(found[0] if len(found) == 1 else {"evaluations": found})
        return
    for (costs, assignment), machine in zip(results, machines, strict=True):
        show(*evaluation_summary(costs, assignment, machine, network))
    if len(machines) > 1:
        show(*comparison_summary(evaluations, network, equal_area=equal_area))
    for warning in dict.fromkeys(text for m in machines for text in mixing_warnings(m)):
        note(f"note: {warning}")
    if network.unpriced:
        note(f"not priced, as asked: {', '.join(network.unpriced)}")
    for file in filter(None, (csv, page)):
        note(f"written: {file}")
