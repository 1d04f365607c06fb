"""Operators that cost nothing because a neighbour takes them over."""

from __future__ import annotations

from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.layer import FreeOp, MatMul, VectorOp


def _readers(graph: WorkloadBuilder, name: str) -> list[str]:
    """Operators that read a tensor, seen through those that only rename it."""
    found: list[str] = []
    for _, reader in graph.graph.out_edges(name):
        layer = graph.graph.nodes[reader]["layer"]
        found += _readers(graph, reader) if isinstance(layer, FreeOp) else [reader]
    return found


def fold_scales(graph: WorkloadBuilder) -> None:
    """Let products take over a multiplication of an operand by one number, as attention has it.

    Operands are requantised on their way to the array, and the number becomes part of that scale.
    """
    for name, data in graph.graph.nodes(data=True):
        layer = data["layer"]
        scales = (
            isinstance(layer, VectorOp)
            and layer.op == "mul"
            and len(layer.input_sizes) == 1
            and layer.parameter_elements == 0
            and layer.operations == layer.output_elements
        )
        if not scales:
            continue
        readers = _readers(graph, name)
        if readers and all(
            isinstance(graph.graph.nodes[reader]["layer"], MatMul) for reader in readers
        ):
            data["layer"] = FreeOp(name=name, op="identity", elements=layer.output_elements)
