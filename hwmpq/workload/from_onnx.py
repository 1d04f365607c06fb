"""The ONNX front end: a file becomes a workload; the package ``onnx`` is needed only here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hwmpq.errors import UnsupportedError
from hwmpq.workload.emit_vector import elementwise, free, norm, pointwise
from hwmpq.workload.fold import fold_scales
from hwmpq.workload.graph import INPUT, Workload, WorkloadBuilder, matches
from hwmpq.workload.loader import WorkloadFile
from hwmpq.workload.onnx_copies import with_copies
from hwmpq.workload.onnx_file import fail, read_onnx
from hwmpq.workload.onnx_nodes import OnnxNode
from hwmpq.workload.onnx_norms import find_norms
from hwmpq.workload.onnx_operators import CONSTANT_RESULTS, ONNX_HANDLERS
from hwmpq.workload.onnx_patterns import (
    Connections,
    Pattern,
    attention_products,
    find_functions,
)
from hwmpq.workload.onnx_scope import scope_of
from hwmpq.workload.values import Value

_SHOWN: Final = 10


class _OnnxGraph:
    """Walks an ONNX graph and fills a workload."""

    def __init__(self, path: Path, name: str, model: Any, exempt: Sequence[str]) -> None:
        import onnx.helper
        import onnx.numpy_helper

        self.path = path
        self.exempt = exempt
        self.graph = WorkloadBuilder(name)
        self.unpriced: list[str] = []
        self.problems: list[str] = []
        self.values: dict[str, Value] = {}
        self.stored: set[str] = set()
        self.leaves: set[str] = set()
        self.labels: dict[str, str] = {}
        self.numbers: dict[str, float] = {}
        self.helper = onnx.helper
        self.arrays = onnx.numpy_helper
        self.shapes = _shapes(model.graph)
        for tensor in model.graph.initializer:
            self.values[tensor.name] = Value(tuple(tensor.dims), parameter=tensor.name)
            self._note_number(tensor.name, tensor)
        self.nodes = [self._node(index, raw) for index, raw in enumerate(model.graph.node)]
        self.counts: dict[str, int] = {}
        for name_ in [*(n for node in self.nodes for n in node.inputs), *_results(model.graph)]:
            self.counts[name_] = self.counts.get(name_, 0) + 1

    def _note_number(self, name: str, tensor: Any) -> None:
        """Keep the value of a stored single number that lies in the file itself."""
        if not tensor.external_data and all(size == 1 for size in tensor.dims):
            self.numbers[name] = float(self.arrays.to_array(tensor).reshape(-1)[0])

    def _note_plain_number(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Keep the value of a number that a constant holds as an attribute."""
        for attribute in ("value_float", "value_int"):
            if attribute in attributes:
                self.numbers[name] = float(attributes[attribute])

    def _node(self, index: int, raw: Any) -> OnnxNode:
        attributes = {}
        for attribute in raw.attribute:
            value = self.helper.get_attribute_value(attribute)
            attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
        op = raw.op_type if raw.domain in ("", "ai.onnx") else f"{raw.domain}.{raw.op_type}"
        if op == "Constant" and "value" in attributes:
            self._note_number(raw.output[0], attributes["value"])
        elif op == "Constant":
            self._note_plain_number(raw.output[0], attributes)
        name = raw.name or f"{op}_{index}"
        places = tuple(place for place, output in enumerate(raw.output) if output)
        outputs = tuple(raw.output[place] for place in places)
        shapes = tuple(self.shapes.get(output, ()) for output in outputs)
        scope = scope_of(raw, op)
        return OnnxNode(op, name, tuple(raw.input), outputs, attributes, shapes, places, scope)

    def operand(self, node: OnnxNode, index: int) -> Value:
        """An operand by position."""
        return self.values[node.inputs[index]]

    def operands(self, node: OnnxNode) -> list[Value]:
        """All operands that are given."""
        return [self.values[name] for name in node.inputs if name]

    def number(self, node: OnnxNode, index: int) -> float | None:
        """The value of an operand that is a stored single number, else None."""
        return self.numbers.get(node.inputs[index]) if index < len(node.inputs) else None

    def readers(self, tensor: str) -> int:
        """How many operators read a tensor; the graph's results count."""
        return self.counts.get(tensor, 0)

    def name(self, node: OnnxNode) -> str:
        """The module in the exporter's scope, or the operator below it if it runs several."""
        scope = node.scope
        if scope is None:
            return node.name
        product = self.labels.get(node.outputs[0])
        whole = scope.operator == "scaled_dot_product_attention"
        if scope.path in self.leaves and not (product and whole):
            return scope.path
        if product and (whole or not scope.kind):
            return f"{scope.path or 'attention'}.{product}"
        return f"{scope.path}.{scope.operator}".lstrip(".")

    def weight_name(self, node: OnnxNode, weight: Value) -> str:
        """The weight's module, else the scope that the exporter noted, else the node's name.

        Exporters store equal weights once, under the name of one of them.
        """
        scope = node.scope
        own, suffix, _ = weight.parameter.rpartition(".weight")
        alone = scope is None or self.readers(weight.parameter) == 1
        if suffix and (alone or (scope is not None and scope.uses(own))):
            return own
        if weight.constant and scope is not None:
            bare = scope.parameter.removesuffix("_weight").removesuffix("weight")
            return f"{scope.path}.{bare}".strip(".") or self.name(node)
        return self.name(node)

    def constant(self, tensor: str) -> bool:
        """Whether a tensor is known before the network runs, as far as has been read."""
        return not tensor or tensor in self.numbers or tensor in self.stored

    def run(self, inputs: Mapping[str, str]) -> None:
        """Read every operator.

        Args:
            inputs: names of the graph's inputs -> names of the workload's entries.
        """
        for tensor, entry in inputs.items():
            shape = self.shapes[tensor]
            self.values[tensor] = Value(shape, self.graph.add_input(entry, shape))
        self.stored = _stored(self.nodes, set(self.values) - set(inputs))
        graph = Connections(self.nodes, self.constant, self.numbers)
        found = [*find_functions(self.nodes, graph), *find_norms(self.nodes, graph)]
        closed = [pattern for pattern in found if graph.closed(pattern, self.readers)]
        patterns = {pattern.result: pattern for pattern in closed}
        inside = {name for pattern in patterns.values() for name in pattern.inside}
        shown = [node for node in self.nodes if inside.isdisjoint(node.outputs)]
        self.labels = attention_products(self.nodes)
        self.leaves = _leaves([n for n in shown if n.outputs[0] not in self.stored])
        for node in shown:
            self._read(node, patterns.get(node.outputs[0]))

    def _read(self, node: OnnxNode, pattern: Pattern | None) -> None:
        if node.outputs[0] in self.stored:
            results = [Value(shape) for shape in node.shapes]
        elif pattern is not None:
            results = [self._spelled(node, pattern)]
        elif any(output not in self.shapes for output in node.outputs[:1]):
            where, rule = f"node '{node.name}' ({node.op})", "its result has no known shape"
            fix = "Export with fixed shapes."
            if "." in node.op:
                rule += ", as it is no operator of ONNX's own"
                fix = "Export without a runtime's optimiser, or note the shapes (value_info)."
            fail(self.path, where, rule, fix)
        elif node.op not in ONNX_HANDLERS:
            results = self._unpriced(node)
        elif node.op == "Split":
            results = [
                free(self.graph, self.name(node), "slice", [self.operand(node, 0)], shape)
                for shape in node.shapes
            ]
        else:
            results = self._priced(node)
        self.values.update(zip(node.outputs, results, strict=True))

    def _spelled(self, node: OnnxNode, pattern: Pattern) -> Value:
        """What several operators compute together."""
        name, operand = self.name(node), self.values[pattern.operand]
        if pattern.length:
            parameters = sum(self.values[stored].elements for stored in pattern.stored)
            length = pattern.length
            return norm(
                self.graph, name, pattern.kind, operand, length=length, parameters=parameters
            )
        if pattern.kind == "elementwise":
            operands, shape = [operand], operand.shape
            return elementwise(
                self.graph, name, pattern.kind, operands, shape, operations_per_element=2
            )
        return pointwise(self.graph, name, pattern.kind, operand)

    def _priced(self, node: OnnxNode) -> list[Value]:
        try:
            found = ONNX_HANDLERS[node.op](self, node)
        except UnsupportedError as error:
            return self._unpriced(node, f": {error}")
        first, *further = found if isinstance(found, tuple) else (found,)
        results = [with_copies(self, node, first), *further]
        return [
            results[place] if place < len(results) else results[0].reshaped(shape)
            for place, shape in zip(node.places, node.shapes, strict=True)
        ]

    def _unpriced(self, node: OnnxNode, reason: str = "") -> list[Value]:
        name = self.name(node)
        if not any(matches(name, pattern) for pattern in self.exempt):
            self.problems.append(f"'{name}' ({node.op}){reason}")
        operands = [self.values[given] for given in node.inputs if given in self.values]
        result = free(self.graph, name, "identity", operands, node.shape or (1,))
        self.unpriced.append(result.node)
        return [result.reshaped(shape) for shape in node.shapes]


def _leaves(nodes: Sequence[OnnxNode]) -> set[str]:
    """Modules that are one operator: torch's own, or any that run one, without others inside."""
    scopes = [node.scope for node in nodes if node.scope is not None and node.scope.path]
    paths = [scope.path for scope in scopes]
    counts = Counter(paths)
    parents = {path[:end] for path in paths for end, mark in enumerate(path) if mark == "."}
    return {
        scope.path
        for scope in scopes
        if (scope.kind.startswith("torch.nn.modules.") if scope.kind else counts[scope.path] == 1)
    } - parents


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors whose every dimension is known."""
    found = {}
    for entry in [*graph.input, *graph.value_info, *graph.output]:
        kind = entry.type.tensor_type
        sizes = tuple(dimension.dim_value for dimension in kind.shape.dim)
        if kind.HasField("shape") and all(size > 0 for size in sizes):
            found[entry.name] = sizes
    return found


def _results(graph: Any) -> list[str]:
    return [entry.name for entry in graph.output]


def _stored(nodes: Sequence[OnnxNode], initial: set[str]) -> set[str]:
    """Tensors that are known before the network runs."""
    known = set(initial)
    for node in nodes:
        if node.op in CONSTANT_RESULTS or all(not n or n in known for n in node.inputs):
            known.update(node.outputs)
    return known


def workload_from_onnx(
    path: Path, *, name: str, batch: int = 1, exempt: Sequence[str] = (), **about: Any
) -> Workload:
    """Read an ONNX file.

    Args:
        path: the file.
        name: name of the workload.
        batch: samples of one pass, where the file leaves it open or has one.
        exempt: names or patterns of operators that need no price.
        about: further fields of the workload.

    Raises:
        SpecError: the file is broken, or a shape is missing.
        UnsupportedError: an operator has no price.
    """
    model = read_onnx(path, batch)
    reader = _OnnxGraph(path, name, model, exempt)
    inputs = [entry.name for entry in model.graph.input if entry.name not in reader.values]
    entries = {given: INPUT if len(inputs) == 1 else f"{INPUT}.{given}" for given in inputs}
    reader.run(entries)
    if reader.problems:
        listed = "\n  ".join(reader.problems[:_SHOWN])
        msg = (
            f"{path}: {len(reader.problems)} operators cannot be priced:\n  {listed}\n"
            "Exempt them by name or pattern; they are then listed as not priced"
        )
        raise UnsupportedError(msg)
    fold_scales(reader.graph)
    unpriced = [*reader.unpriced, *exempt]
    return reader.graph.build(batch=batch, unpriced=unpriced, **about)


def workload_from_file(file: WorkloadFile, *, batch: int, exempt: Sequence[str]) -> Workload:
    """Read the ONNX file that a workload file names.

    Raises:
        SpecError: the file is broken, or a shape is missing.
        UnsupportedError: an operator has no price.
    """
    path = file.path.parent / str(file.spec.onnx)
    return workload_from_onnx(
        path,
        name=file.spec.name,
        batch=batch,
        exempt=exempt,
        source=file.source or str(path),
        fixed_precisions=file.spec.fix,
        facts=file.facts,
    )
