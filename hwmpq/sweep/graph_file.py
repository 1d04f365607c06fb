"""A network's graph as a JSON file, so that workers need neither torch nor ONNX to read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import networkx as nx
from pydantic import TypeAdapter, ValidationError

from hwmpq.errors import Problem, SpecError
from hwmpq.files import write_text
from hwmpq.workload.graph import Graph, Tensor, Workload
from hwmpq.workload.layer import Layer
from hwmpq.workload.spec import LayerSpec

_LAYER: Final[TypeAdapter[Layer]] = TypeAdapter(LayerSpec)


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"producer": tensor.producer, "shape": list(tensor.shape), "signed": tensor.signed}


def save_graph(workload: Workload, file: Path) -> None:
    """Write a graph.

    Raises:
        OutputError: the file cannot be written.
    """
    nodes = [
        {
            "name": name,
            "layer": None if data["layer"] is None else data["layer"].model_dump(mode="json"),
            "tensor": _tensor(data["tensor"]),
        }
        for name, data in workload.graph.nodes(data=True)
    ]
    edges = [
        {"from": producer, "to": reader, "slot": data["slot"], "tensor": _tensor(data["tensor"])}
        for producer, reader, data in workload.graph.edges(data=True)
    ]
    found = {
        "name": workload.name,
        "batch": workload.batch,
        "unpriced": list(workload.unpriced),
        "source": workload.source,
        "fixed_precisions": dict(workload.fixed_precisions),
        "facts": dict(workload.facts),
        "sha256": workload.fingerprint,
        "nodes": nodes,
        "edges": edges,
    }
    write_text(file, json.dumps(found, ensure_ascii=False) + "\n")


def load_graph(file: Path) -> Workload:
    """Read what `save_graph` wrote, and check that it is the same graph.

    Raises:
        SpecError: not a graph, or another one than was written.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        workload = _workload(found)
        same = workload.fingerprint == found["sha256"]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        rule = f"is not a graph written by hwmpq ({type(error).__name__})"
        raise SpecError(str(file), [Problem("file", rule)]) from error
    if not same:
        fix = "Remove it, and it is written anew."
        raise SpecError(str(file), [Problem("sha256", "does not fit the graph", fix=fix)])
    return workload


def _workload(found: dict[str, Any]) -> Workload:
    graph: Graph = nx.MultiDiGraph()
    for node in found["nodes"]:
        layer = node["layer"]
        graph.add_node(
            node["name"],
            layer=None if layer is None else _LAYER.validate_python(layer),
            tensor=_read_tensor(node["tensor"]),
        )
    for edge in found["edges"]:
        tensor = _read_tensor(edge["tensor"])
        graph.add_edge(edge["from"], edge["to"], tensor=tensor, slot=edge["slot"])
    return Workload(
        name=found["name"],
        graph=nx.freeze(graph),
        batch=found["batch"],
        unpriced=tuple(found["unpriced"]),
        source=found["source"],
        fixed_precisions=found["fixed_precisions"],
        facts=found["facts"],
    )


def _read_tensor(tensor: dict[str, Any]) -> Tensor:
    return Tensor(tensor["producer"], tuple(tensor["shape"]), tensor["signed"])
