"""``hwmpq extract``: the graph of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.allocate.policy import read_policy
from hwmpq.cli.options import Batch, Exempt, Json, WorkloadName
from hwmpq.cli.output import note, print_json, show, table
from hwmpq.cost.table import cost_table
from hwmpq.files import write_json
from hwmpq.precision import Precision
from hwmpq.report.graph_figure import write_graph_svg
from hwmpq.units import format_count
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload


def workload_as_json(workload: Workload) -> dict[str, Any]:
    """The graph as plain values: operators in execution order, tensors by producer and reader."""
    return {
        "name": workload.name,
        "batch": workload.batch,
        "source": workload.source,
        "macs": workload.macs,
        "weight_elements": workload.weight_elements,
        "unpriced": list(workload.unpriced),
        "facts": dict(workload.facts),
        "layers": [
            {
                **layer.model_dump(mode="json"),
                "macs": layer.macs,
                "weight_elements": layer.weight_elements,
                "input_elements": layer.input_elements,
                "output_elements": layer.output_elements,
            }
            for layer in workload.layers
        ],
        "tensors": [
            {
                "from": producer,
                "to": reader,
                "shape": list(data["tensor"].shape),
                "signed": data["tensor"].signed,
            }
            for producer, reader, data in workload.graph.edges(data=True)
        ],
    }


def _draw(file: Path, workload: Workload, policy: Path | None, accelerator: str | None) -> None:
    """Write the picture, with bits and each layer's share of the cycles where they are asked for.

    Costs without a policy are those of 8/8.
    """
    names = [layer.name for layer in workload.multiply_layers]
    bits = read_policy(policy, names) if policy is not None else None
    shares = None
    if accelerator is not None:
        chosen = bits or dict.fromkeys(names, Precision(8, 8))
        costs = cost_table(workload, load_accelerator(accelerator), sorted(set(chosen.values())))
        cycles = costs.per_layer("latency_cycles", chosen)
        shares = dict(zip(costs.layers, (cycles / cycles.sum()).tolist(), strict=True))
    write_graph_svg(file, workload, bits, shares)


def extract(
    workload: WorkloadName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it as JSON.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw the graph.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Bits, for the picture.")
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option("--accelerator", "-a", metavar="NAME", help="Costs, for the picture."),
    ] = None,
    batch: Batch = 1,
    exempt: Exempt = None,
    as_json: Json = False,
) -> None:
    """Show a network's operators: shapes, MACs, weights, and what is not priced.

    Example:  hwmpq extract resnet18 -o resnet18.json --svg resnet18.svg -a bitfusion-isca18
    """
    found = load_workload(workload, batch=batch, exempt=tuple(exempt or ()))
    graph = workload_as_json(found)
    if output is not None:
        write_json(output, graph)
    if svg is not None:
        _draw(svg, found, policy, accelerator)
    if as_json:
        print_json(graph)
        return
    rows = [
        (
            layer.name,
            layer.op,
            " x ".join(f"{size:,}" for size in found.graph.nodes[layer.name]["tensor"].shape),
            f"{layer.macs:,}",
            f"{layer.weight_elements:,}",
            *(("no" if layer.name in found.unpriced else "yes",) if found.unpriced else ()),
        )
        for layer in found.layers
    ]
    columns = ["layer", "operator", "output", ">MACs", ">weights"]
    columns += ["priced"] if found.unpriced else []
    show(table(f"{found.name}, batch {found.batch}", columns, rows))
    total = f"{format_count(found.macs)} MACs, {format_count(found.weight_elements)} weights"
    show(f"Total: {total} in convolutions and fully connected layers.")
    for file in filter(None, (output, svg)):
        note(f"written: {file}")
