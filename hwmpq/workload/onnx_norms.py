"""Norms that exporters spell out as several operators, read as the one layer that they are.

* ``x / sqrt(mean(x^2) + eps)`` is a root-mean-square norm, with ``(x - mean(x))`` for ``x`` a
  layer norm; a stored scale and shift behind it belong to it.
* An instance norm between two reshapes, with a stored scale and shift behind it, is a group norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hwmpq.workload.layer import VectorKind
from hwmpq.workload.onnx_nodes import OnnxNode
from hwmpq.workload.onnx_patterns import Connections, Pattern

_TORCH_NORM: Final = "torch.nn.modules.normalization."


def find_norms(nodes: Sequence[OnnxNode], graph: Connections) -> Iterator[Pattern]:
    """Every norm that is spelled out.

    Where the file tells that a module of the user's own does, the norm stays as it was written, as
    it does when read from torch.

    Args:
        nodes: the graph's operators.
        graph: their connections.
    """
    for node in nodes:
        found = None
        if node.op == "Sqrt":
            told = node.scope.kind if node.scope is not None else ""
            if not told or told.startswith(_TORCH_NORM):
                found = _root_norm(graph, node)
        elif node.op == "InstanceNormalization":
            found = _group_norm(graph, node)
        if found is not None:
            yield found


def _root_norm(graph: Connections, root: OnnxNode) -> Pattern | None:
    """The norm around a square root: ``x / sqrt(mean(x^2) + eps)``."""
    added = graph.producer(root.inputs[0], "Add")
    moving = [name for name in added.inputs if not graph.constant(name)] if added else []
    averaged = graph.producer(moving[0], "ReduceMean") if len(moving) == 1 else None
    square = graph.producer(averaged.inputs[0], "Pow", "Mul") if averaged else None
    if added is None or averaged is None or square is None:
        return None
    operand = square.inputs[0]
    if not (_is_two(graph, square) if square.op == "Pow" else square.inputs[1] == operand):
        return None
    inside = {square.outputs[0], averaged.outputs[0], added.outputs[0], root.outputs[0]}
    last = root
    scaled = graph.next(root, "Reciprocal", operands=1)
    if scaled is not None:
        inside.add(scaled[0].outputs[0])
        last = scaled[0]
    divided = graph.next(last, "Mul" if scaled else "Div")
    if divided is None or divided[1] != operand:
        return None
    if divided[0].op == "Div" and divided[0].inputs[0] != operand:
        return None
    kind: VectorKind = "rms_norm"
    centred = graph.producer(operand, "Sub")
    mean = graph.producer(centred.inputs[1], "ReduceMean") if centred else None
    if centred is not None and mean is not None and mean.inputs[0] == centred.inputs[0]:
        kind = "layer_norm"
        inside |= {operand, mean.outputs[0]}
        operand = centred.inputs[0]
    length = square.elements // averaged.elements
    return _with_affine(graph, Pattern(kind, operand, "", frozenset(inside), length), divided[0])


def _is_two(graph: Connections, power: OnnxNode) -> bool:
    """Whether an exponent is stored as the number 2."""
    return graph.numbers.get(power.inputs[1]) == 2


def _group_norm(graph: Connections, norm: OnnxNode) -> Pattern | None:
    """A group norm: reshape to groups, normalise them, reshape back, scale and shift."""
    grouped = graph.producer(norm.inputs[0], "Reshape")
    back = graph.next(norm, "Reshape")
    if grouped is None or back is None:
        return None
    inside = frozenset({grouped.outputs[0], norm.outputs[0]})
    length = norm.elements // (norm.shape[0] * norm.shape[1])
    pattern = Pattern("group_norm", grouped.inputs[0], "", inside, length)
    return _with_affine(graph, pattern, back[0])


def _with_affine(graph: Connections, pattern: Pattern, last: OnnxNode) -> Pattern:
    """Take a stored scale and a stored shift behind a norm into it."""
    inside, stored = set(pattern.inside), []
    for op in ("Mul", "Add"):
        step = graph.next(last, op)
        if step is not None and graph.constant(step[1]):
            inside.add(last.outputs[0])
            stored.append(step[1])
            last = step[0]
    return Pattern(
        pattern.kind,
        pattern.operand,
        last.outputs[0],
        frozenset(inside),
        pattern.length,
        tuple(stored),
    )
