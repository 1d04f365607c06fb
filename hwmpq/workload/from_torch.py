"""The torch front end: a module and an example input become a workload.

The module is exported with ``torch.export``; no weight is read, so a model on the meta device
works as well as any.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from hwmpq.errors import UnsupportedError
from hwmpq.workload.emit_vector import free
from hwmpq.workload.fold import fold_scales
from hwmpq.workload.graph import INPUT, Workload, WorkloadBuilder, matches
from hwmpq.workload.torch_copies import with_copies
from hwmpq.workload.torch_nodes import (
    full_operator_name,
    in_place,
    node_source,
    operator_name,
    owner,
    result_shapes,
)
from hwmpq.workload.torch_operators import CONSTANT, CONTROL_FLOW, HANDLERS, SPLITS, VIEWS
from hwmpq.workload.torch_trace import ExampleInput, trace
from hwmpq.workload.torch_vector import write
from hwmpq.workload.torch_views import View, derive, whole
from hwmpq.workload.values import Value

_SHOWN = 10


class _GraphReader:
    """Walks an exported graph and fills a workload."""

    def __init__(
        self, model: nn.Module, program: ExportedProgram, name: str, exempt: Sequence[str]
    ) -> None:
        self.model = model
        self.program = program
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        self.names = {module: name for name, module in model.named_modules()}
        self.exempt = exempt
        self.graph = WorkloadBuilder(name)
        self.unpriced: list[str] = []
        self.problems: list[str] = []
        self.values: dict[Node, Value | tuple[Value, ...]] = {}
        self.views: dict[Node, View] = {}
        self.writes: list[tuple[View, Value]] = []
        self.current: dict[Node, int] = {}
        self.viewed: Node | None = None

    def value(self, argument: object) -> Value:
        """What a tensor argument holds; numbers are constants."""
        if isinstance(argument, Node):
            if argument is not self.viewed:
                self._catch_up(argument)
            found = self.values[argument]
            return found[0] if isinstance(found, tuple) else found
        negative = isinstance(argument, int | float) and argument < 0
        return Value((), signed=negative)

    def _module(self, path: str) -> nn.Module | None:
        try:
            return self.model.get_submodule(path)
        except AttributeError:
            return None

    def _owner(self, node: Node) -> str:
        """The module that runs an operator, under its first name if it has several."""
        path = owner(node)
        module = self._module(path)
        return path if module is None else self.names.get(module, path)

    def name(self, node: Node, label: str) -> str:
        """The module's name if it is torch's own without children, else a label below it."""
        path = self._owner(node)
        module = self._module(path)
        own = type(module).__module__.startswith("torch.nn.modules")
        if path and (not label or (own and module is not None and not list(module.children()))):
            return path
        return f"{path}.{label}".lstrip(".") or "attention"

    def weight_name(self, node: Node, weight: Value, label: str) -> str:
        """The module that holds the weight, as ``named_modules`` calls it.

        A weight that is computed (normalised, masked, fake-quantised) belongs to the module that
        runs the operator, a bare parameter is named itself.
        """
        path = self._owner(node)
        own = getattr(self._module(path), "weight", None) if path else None
        if weight.parameter:
            if own is not None and own is self.parameters.get(weight.parameter):
                return path
            return weight.parameter.removesuffix(".weight").removesuffix("_weight")
        return path if own is not None else self.name(node, label)

    def overwrite(self, target: object, written: Value) -> None:
        """Note that a tensor, or the part of another that it is a view of, was written."""
        if isinstance(target, Node):
            self.writes.append((self._view(target), written))

    def _view(self, node: Node) -> View:
        return self.views.get(node) or whole(node)

    def _derive(self, node: Node) -> None:
        """Note what a view covers, and that it is as late as what it is a view of."""
        parent = node.all_input_nodes[0]
        self.views[node] = derive(self._view(parent), node)
        self.current[node] = self.current.get(parent, 0)

    def _catch_up(self, node: Node) -> None:
        """Let a tensor depend on the writes into it since it was last read."""
        done = self.current.get(node, 0)
        self.current[node] = len(self.writes)
        view = self._view(node)
        late = [written for place, written in self.writes[done:] if place.overlaps(view)]
        before = self.values[node]
        if not late or isinstance(before, tuple):
            return
        operands = [value for value in (before, *late) if not value.constant]
        name = f"{late[-1].node}.join"
        self.values[node] = free(self.graph, name, "reshape", operands, before.shape)

    def run(self, module: GraphModule) -> tuple[Value, ...]:
        """Walk one graph; returns what it returns."""
        for node in module.graph.nodes:
            if node.op == "output":
                results = node.args[0]
                listed = results if isinstance(results, list | tuple) else [results]
                return tuple(self.value(item) for item in listed)
            if node.op == "call_function":
                self.values[node] = self._call(module, node)
        return ()

    def _call(self, module: GraphModule, node: Node) -> Value | tuple[Value, ...]:
        operator = operator_name(node)
        shapes = result_shapes(node)
        # A view reads nothing: only who reads the view waits for the writes that overlap it.
        views = operator in VIEWS or operator == "getitem"
        self.viewed = node.all_input_nodes[0] if views else None
        inputs = [self.value(item) for item in node.all_input_nodes if item in self.values]
        if operator.startswith("wrap_with_"):
            return self._nested(module, node)
        if operator == "getitem":
            return self._item(node)
        if not shapes:
            return Value(())
        if not any(map(prod, shapes)):
            # Nothing is in it: an end of a slice that reaches nowhere.
            return tuple(Value(shape) for shape in shapes)
        if operator in VIEWS and inputs and inputs[0].constant:
            # A part of a parameter, or the parameter transposed, is still that parameter; a part
            # of a buffer is what was written there.
            self._derive(node)
            parts = tuple(inputs[0].reshaped(shape) for shape in shapes)
            return parts if operator in SPLITS else parts[0]
        if operator in CONSTANT or all(value.constant for value in inputs):
            known = tuple(Value(shape) for shape in shapes)
            return known if len(known) > 1 else known[0]
        if operator in VIEWS:
            self._derive(node)
        if operator in SPLITS:
            return tuple(inputs[0].reshaped(shape) for shape in shapes)
        if operator in CONTROL_FLOW:
            msg = (
                f"'{self.name(node, operator)}' ({operator}{_called_at(node)}) chooses what runs "
                "by the values of a tensor, which no cost can follow. Extract the branches by "
                "themselves"
            )
            raise UnsupportedError(msg)
        handler = HANDLERS.get(operator)
        if handler is None:
            return self._unpriced(node, inputs, shapes)
        try:
            result = with_copies(node, inputs, handler(self, node))
        except UnsupportedError as error:
            return self._unpriced(node, inputs, shapes, f": {error}")
        if in_place(node) and handler is not write:
            self.overwrite(node.args[0], result)
        return result

    def _nested(self, module: GraphModule, node: Node) -> tuple[Value, ...]:
        """A region under ``torch.no_grad`` or autocast: a graph of its own, with its arguments."""
        position = next(
            i
            for i, item in enumerate(node.args)
            if isinstance(item, Node) and item.op == "get_attr"
        )
        region = getattr(module, str(getattr(node.args[position], "target", "")), None)
        if not isinstance(region, GraphModule):
            msg = f"workload '{self.graph.name}': region '{node.name}' holds no graph to read"
            raise UnsupportedError(msg)
        entries = [item for item in region.graph.nodes if item.op == "placeholder"]
        for entry, given in zip(entries, node.args[position + 1 :], strict=True):
            self.values[entry] = self.value(given)
        return self.run(region)

    def _item(self, node: Node) -> Value:
        """One of several results: a slice if they are parts of one tensor."""
        source, index = node.args
        if not isinstance(source, Node) or not isinstance(index, int):
            return Value(())
        found = self.values[source]
        (shape,) = result_shapes(node) or ((),)
        chosen = found[index] if isinstance(found, tuple) else found
        if operator_name(source) in SPLITS:
            self._derive(node)
            if not chosen.constant:
                return free(self.graph, self.name(source, "slice"), "slice", [chosen], shape)
        return chosen.reshaped(shape)

    def _unpriced(
        self,
        node: Node,
        inputs: Sequence[Value],
        shapes: Sequence[tuple[int, ...]],
        reason: str = "",
    ) -> tuple[Value, ...]:
        label = operator_name(node).rpartition(".")[2].strip("_")
        name = self.name(node, label)
        exempt = any(matches(name, pattern) for pattern in self.exempt)
        if not exempt:
            what = full_operator_name(node) + _called_at(node)
            self.problems.append(f"'{name}' ({what}){reason}")
        result = free(self.graph, name, "identity", inputs, shapes[0])
        if exempt:
            self.unpriced.append(result.node)
        return tuple(result.reshaped(shape) for shape in shapes)


def _called_at(node: Node) -> str:
    line = node_source(node)
    return f", called at {line}" if line else ""


def _check(reader: _GraphReader) -> None:
    if not reader.problems:
        return
    shown = reader.problems[:_SHOWN]
    more = len(reader.problems) - len(shown)
    listed = "\n  ".join(shown) + (f"\n  and {more} more" if more else "")
    first = reader.problems[0].split("'")[1]
    msg = (
        f"workload '{reader.graph.name}' has operators that cannot be priced:\n  {listed}\n"
        f"Replace them, or exempt them by name or pattern (such as '{first}'); they are then "
        "listed as not priced"
    )
    raise UnsupportedError(msg)


def _bind_inputs(reader: _GraphReader, signed: bool | Sequence[bool]) -> int:
    """Bind the graph's entries; returns the batch size, the first dimension of the first input."""
    signature = reader.program.graph_signature
    parameters = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    users = [name for name in signature.user_inputs if isinstance(name, str)]
    signs = [signed] * len(users) if isinstance(signed, bool) else list(signed)
    batch = 0
    for node in reader.program.graph_module.graph.nodes:
        if node.op != "placeholder":
            continue
        shapes = result_shapes(node)
        shape = shapes[0] if shapes else ()
        if node.name in users and shapes:
            label = INPUT if len(users) == 1 else f"{INPUT}.{node.name}"
            sign = signs[users.index(node.name)]
            entry = reader.graph.add_input(label, shape, signed=sign)
            reader.values[node] = Value(shape, entry, sign)
            batch = batch or (shape[0] if shape else 1)
        else:
            reader.values[node] = Value(shape, parameter=str(parameters.get(node.name, "")))
    return batch or 1


def extract(
    model: nn.Module,
    example_input: ExampleInput,
    *,
    name: str = "",
    exempt: Sequence[str] = (),
    source: str = "",
    signed_input: bool | Sequence[bool] = True,
    **about: Any,
) -> Workload:
    """Read a network's operators, shapes and tensors.

    Args:
        model: any torch module; it is traced in evaluation mode and left as it was.
        example_input: a tensor, the positional arguments, or the keyword arguments of ``forward``.
        name: name of the workload; the class's name if empty.
        exempt: names or patterns of operators that need no price.
        source: where the network came from.
        signed_input: whether the network's input may be negative; one for all, or one each.
        about: further fields of the workload (``fixed_precisions``, ``facts``).

    Raises:
        UnsupportedError: the model cannot be traced, or an operator has no price.
    """
    program = trace(model, example_input)
    reader = _GraphReader(model, program, name or type(model).__name__, exempt)
    batch = _bind_inputs(reader, signed_input)
    reader.run(program.graph_module)
    _check(reader)
    fold_scales(reader.graph)
    return reader.graph.build(
        batch=batch,
        source=source or f"torch:{type(model).__qualname__}",
        unpriced=[*reader.unpriced, *exempt],
        **about,
    )
