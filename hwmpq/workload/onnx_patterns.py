"""Activation functions that exporters spell out as several operators.

``x * 0.5 * (1 + erf(x / sqrt(2)))`` in any order of the factors is a GELU, ``x * sigmoid(x)`` a
SiLU, ``x * tanh(softplus(x))`` a Mish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hwmpq.workload.layer import VectorKind
from hwmpq.workload.onnx_nodes import OnnxNode


@dataclass(frozen=True, slots=True)
class Pattern:
    """An activation function or a norm that several operators compute.

    Attributes:
        kind: what it is.
        operand: the tensor it reads.
        result: the tensor its last operator writes.
        inside: tensors between, which nothing else reads.
        length: elements that a norm goes over at a time.
        stored: the scale and shift of a norm.
    """

    kind: VectorKind
    operand: str
    result: str
    inside: frozenset[str]
    length: int = 0
    stored: tuple[str, ...] = ()


class Connections:
    """Producers and readers of tensors, which of them are stored, and stored single numbers."""

    def __init__(
        self,
        nodes: Sequence[OnnxNode],
        constant: Callable[[str], bool],
        numbers: Mapping[str, float],
    ) -> None:
        self.constant = constant
        self.numbers = numbers
        self.producers = {output: node for node in nodes for output in node.outputs}
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def closed(self, pattern: Pattern, count: Callable[[str], int]) -> bool:
        """Whether nothing else reads what is inside a pattern; the graph's results count."""
        own = {*pattern.inside, pattern.result}
        return all(
            len(readers) == count(name) and all(reader.outputs[0] in own for reader in readers)
            for name in pattern.inside
            for readers in [self.readers.get(name, [])]
        )

    def producer(self, name: str, *ops: str) -> OnnxNode | None:
        """The operator that writes a tensor, if it is of one of the types."""
        node = self.producers.get(name)
        return node if node is not None and node.op in ops else None

    def next(self, node: OnnxNode, op: str, operands: int = 2) -> tuple[OnnxNode, str] | None:
        """The only reader of a node's result, if it is of a type, and its other operand."""
        readers = self.readers.get(node.outputs[0], [])
        if len(readers) != 1 or readers[0].op != op or len(readers[0].inputs) != operands:
            return None
        first, second = (*readers[0].inputs, "")[:2]
        return readers[0], second if first == node.outputs[0] else first

    def scaled(self, name: str) -> str:
        """What a tensor is a stored multiple of; empty if it is not."""
        node = self.producers.get(name)
        if node is None or node.op not in ("Mul", "Div") or len(node.inputs) != 2:
            return ""
        moving = [operand for operand in node.inputs if not self.constant(operand)]
        return moving[0] if len(moving) == 1 else ""


def _gelu(graph: Connections, erf: OnnxNode) -> Pattern | None:
    operand = graph.scaled(erf.inputs[0])
    added = graph.next(erf, "Add")
    if not operand or added is None or not graph.constant(added[1]):
        return None
    step = graph.next(added[0], "Mul")
    if step is None:
        return None
    inside = {erf.inputs[0], erf.outputs[0], added[0].outputs[0]}
    if graph.scaled(step[1]) == operand:
        inside.add(step[1])
        return Pattern("gelu", operand, step[0].outputs[0], frozenset(inside))
    last = graph.next(step[0], "Mul")
    factors = {step[1], last[1]} if last is not None else set()
    if last is None or operand not in factors or not any(map(graph.constant, factors)):
        return None
    inside.add(step[0].outputs[0])
    return Pattern("gelu", operand, last[0].outputs[0], frozenset(inside))


def _silu(graph: Connections, sigmoid: OnnxNode) -> Pattern | None:
    step = graph.next(sigmoid, "Mul")
    if step is None or step[1] != sigmoid.inputs[0]:
        return None
    inside = frozenset(sigmoid.outputs)
    return Pattern("silu", sigmoid.inputs[0], step[0].outputs[0], inside)


def _mish(graph: Connections, softplus: OnnxNode) -> Pattern | None:
    bounded = graph.next(softplus, "Tanh", operands=1)
    step = graph.next(bounded[0], "Mul") if bounded is not None else None
    if bounded is None or step is None or step[1] != softplus.inputs[0]:
        return None
    inside = frozenset({softplus.outputs[0], bounded[0].outputs[0]})
    return Pattern("elementwise", softplus.inputs[0], step[0].outputs[0], inside)


def find_functions(nodes: Sequence[OnnxNode], graph: Connections) -> Iterator[Pattern]:
    """Every activation function that is spelled out.

    Args:
        nodes: the graph's operators.
        graph: their connections.
    """
    for node in nodes:
        found = None
        if node.op == "Erf":
            found = _gelu(graph, node)
        elif node.op == "Sigmoid":
            found = _silu(graph, node)
        elif node.op == "Softplus":
            found = _mish(graph, node)
        if found is not None:
            yield found


def attention_products(nodes: Sequence[OnnxNode]) -> dict[str, str]:
    """Names for an attention's parts: result -> ``qk``, ``mask``, ``softmax`` or ``av``."""
    producers = {output: node for node in nodes for output in node.outputs}
    found: dict[str, str] = {}
    for node in nodes:
        if node.op == "MatMul" and _behind(node.inputs[0], "Softmax", producers):
            found[node.outputs[0]] = "av"
        if node.op == "Softmax":
            scores = _behind(node.inputs[0], "MatMul", producers)
            if scores is not None:
                found[scores.outputs[0]] = "qk"
                found[node.outputs[0]] = "softmax"
                masked = producers[node.inputs[0]]
                if masked.op == "Add":
                    found[masked.outputs[0]] = "mask"
    return found


def _behind(name: str, op: str, producers: Mapping[str, OnnxNode]) -> OnnxNode | None:
    """The operator of a type behind a tensor, seen through scales, masks and renaming."""
    node = producers.get(name)
    while node is not None and node.op != op:
        if node.op not in ("Mul", "Div", "Add", "Where", "Reshape", "Dropout", "Cast"):
            return None
        node = producers.get(node.inputs[1 if node.op == "Where" else 0])
    return node
