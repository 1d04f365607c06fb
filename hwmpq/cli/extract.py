"""``hwmpq extract``: the graph of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.allocate.policy import read_policy
from hwmpq.cli.options import Batch, Exempt, Json, WorkloadName
from hwmpq.cli.output import note, print_json, show, table
from hwmpq.cost.table import cost_table
from hwmpq.files import write_json
from hwmpq.precision import Assignment, Precision
from hwmpq.report.graph_figure import write_graph_svg
from hwmpq.units import format_count
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload


@dataclass(frozen=True, slots=True)
class _Deployed:
    """Bits and costs of layers, as far as they were asked for.

    Attributes:
        bits: precision of each layer with bits; None without a policy.
        cycles: latency of each layer [cycles]; None without an accelerator.
        energy_pj: energy of each layer; None without an accelerator.
    """

    bits: Assignment | None = None
    cycles: Mapping[str, float] | None = None
    energy_pj: Mapping[str, float] | None = None

    def fields(self, name: str) -> dict[str, int | float]:
        """What is known of a layer, as JSON has it."""
        found: dict[str, int | float] = {}
        if self.bits is not None and name in self.bits:
            found["weight_bits"] = self.bits[name].weight_bits
            found["activation_bits"] = self.bits[name].activation_bits
        if self.cycles is not None and self.energy_pj is not None and name in self.cycles:
            found["latency_cycles"] = self.cycles[name]
            found["energy_pj"] = self.energy_pj[name]
        return found

    def cells(self, name: str) -> tuple[str, ...]:
        """The same as cells of a table."""
        found = self.fields(name)
        cells = []
        if self.bits is not None:
            known = "weight_bits" in found
            cells.append(f"{found['weight_bits']}/{found['activation_bits']}" if known else "")
        if self.cycles is not None:
            shown = "latency_cycles" in found
            cells.append(f"{found['latency_cycles']:,.0f}" if shown else "")
            cells.append(f"{found['energy_pj']:,.0f}" if shown else "")
        return tuple(cells)

    @property
    def columns(self) -> list[str]:
        """Headings of the cells."""
        bits = ["W/A"] if self.bits is not None else []
        return [*bits, *([">cycles", ">energy [pJ]"] if self.cycles is not None else [])]

    @property
    def shares(self) -> dict[str, float] | None:
        """Each layer's part of all cycles."""
        if self.cycles is None:
            return None
        total = sum(self.cycles.values())
        return {name: cycles / total for name, cycles in self.cycles.items()}


def workload_as_json(workload: Workload, deployed: _Deployed | None = None) -> dict[str, Any]:
    """The graph as plain values: operators in execution order, tensors by producer and reader."""
    known = deployed or _Deployed()
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
                **known.fields(layer.name),
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


def _deployed(workload: Workload, policy: Path | None, accelerator: str | None) -> _Deployed:
    """Bits of a policy, costs at them; without a policy those of 8/8."""
    names = [layer.name for layer in workload.multiply_layers]
    bits = read_policy(policy, names) if policy is not None else None
    if accelerator is None:
        return _Deployed(bits)
    chosen = bits or dict.fromkeys(names, Precision(8, 8))
    costs = cost_table(workload, load_accelerator(accelerator), sorted(set(chosen.values())))
    cycles, energy = (costs.per_layer(name, chosen) for name in ("latency_cycles", "energy_pj"))
    return _Deployed(
        bits,
        dict(zip(costs.layers, cycles.tolist(), strict=True)),
        dict(zip(costs.layers, energy.tolist(), strict=True)),
    )


def extract(
    workload: WorkloadName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it as JSON.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw the graph.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Bits of the layers.")
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(
            "--accelerator", "-a", metavar="NAME", help="Costs at those bits, else at 8/8."
        ),
    ] = None,
    batch: Batch = 1,
    exempt: Exempt = None,
    as_json: Json = False,
) -> None:
    """Show a network's operators: shapes, MACs, weights, and what is not priced.

    Example:  hwmpq extract resnet18 -o resnet18.json --svg resnet18.svg -a bitfusion-isca18
    """
    found = load_workload(workload, batch=batch, exempt=tuple(exempt or ()))
    deployed = _deployed(found, policy, accelerator)
    graph = workload_as_json(found, deployed)
    if output is not None:
        write_json(output, graph)
    if svg is not None:
        write_graph_svg(svg, found, deployed.bits, deployed.shares)
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
            *deployed.cells(layer.name),
            *(("no" if layer.name in found.unpriced else "yes",) if found.unpriced else ()),
        )
        for layer in found.layers
    ]
    columns = ["layer", "operator", "output", ">MACs", ">weights", *deployed.columns]
    columns += ["priced"] if found.unpriced else []
    show(table(f"{found.name}, batch {found.batch}", columns, rows))
    total = f"{format_count(found.macs)} MACs, {format_count(found.weight_elements)} weights"
    show(f"Total: {total} in convolutions and fully connected layers.")
    for file in filter(None, (output, svg)):
        note(f"written: {file}")
