"""Torch operators of the vector unit, and those that only rename data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hwmpq.workload import emit_vector
from hwmpq.workload.layer import FreeKind, VectorKind
from hwmpq.workload.torch_nodes import (
    Handler,
    Reader,
    argument,
    axes_of,
    items_of,
    label_of,
    operator_name,
    result_shape,
)
from hwmpq.workload.values import Value

if TYPE_CHECKING:
    from torch.fx import Node

_SAME: Final = frozenset({"aten.contiguous", "aten.clone", "aten.detach", "aten.alias"})


def pointwise(kind: VectorKind) -> Handler:
    """An activation function."""

    def handle(reader: Reader, node: Node) -> Value:
        operand = reader.value(node.args[0])
        return emit_vector.pointwise(reader.graph, reader.name(node, kind), kind, operand)

    return handle


def bounded(reader: Reader, node: Node) -> Value:
    """Clamp and hardtanh: a comparison a bound."""
    operator = operator_name(node)
    tanh = operator == "aten.hardtanh"
    low = argument(node, 1, "min_val" if tanh else "min", -1.0 if tanh else None)
    high = argument(node, 2, "max_val" if tanh else "max", 1.0 if tanh else None)
    if operator == "aten.clamp_max":
        low, high = None, argument(node, 1, "max")
    operand = reader.value(node.args[0])
    if low == 0 and high in (6, None):
        kind: VectorKind = "relu" if high is None else "relu6"
        return emit_vector.pointwise(reader.graph, reader.name(node, kind), kind, operand)
    bounds = (low is not None) + (high is not None)
    signed = operand.signed and not (isinstance(low, int | float) and low >= 0)
    return emit_vector.elementwise(
        reader.graph,
        reader.name(node, label_of(node)),
        "elementwise",
        [operand],
        result_shape(node),
        operations_per_element=bounds,
        signed=signed,
    )


def elementwise(
    kind: VectorKind, operations: int | None = None, *, signed: bool | None = None
) -> Handler:
    """Any function of the tensor arguments, element by element."""

    def handle(reader: Reader, node: Node) -> Value:
        operands = [
            reader.value(item)
            for item in node.args
            if not isinstance(item, str | bool | list | tuple | None)
        ]
        return emit_vector.elementwise(
            reader.graph,
            reader.name(node, label_of(node)),
            kind,
            operands,
            result_shape(node),
            operations_per_element=operations,
            signed=signed,
        )

    return handle


def division(reader: Reader, node: Node) -> Value:
    """By a tensor: a reciprocal looked up and a multiplication; by a number: the latter."""
    operands = [reader.value(node.args[0]), reader.value(node.args[1])]
    return emit_vector.elementwise(
        reader.graph,
        reader.name(node, "div"),
        "mul",
        operands,
        result_shape(node),
        operations_per_element=1 if operands[1].constant else 2,
    )


def gated(reader: Reader, node: Node) -> Value:
    """A gated linear unit: the sigmoid of one half, times the other half."""
    operand = reader.value(node.args[0])
    return emit_vector.elementwise(
        reader.graph,
        reader.name(node, "glu"),
        "mul",
        [operand],
        result_shape(node),
        operations_per_element=2,
        signed=True,
    )


def power(reader: Reader, node: Node) -> Value:
    """One operation an element; even powers are never negative."""
    exponent = node.args[1]
    signed = not (isinstance(exponent, int | float) and exponent % 2 == 0)
    return elementwise("elementwise", 1, signed=signed)(reader, node)


def _sole_reader(node: Node) -> bool:
    """Whether nothing else reads what a node reads, seen through operators that change nothing."""
    producer = node.all_input_nodes[0]
    if operator_name(producer) in _SAME and not _sole_reader(producer):
        return False
    return len(producer.users) == 1


def batch_norm(reader: Reader, node: Node) -> Value:
    """A batch norm at inference; folded into the layer before it where nothing else reads that."""
    operand = reader.value(node.args[0])
    name = reader.name(node, "batch_norm")
    return emit_vector.batch_norm(reader.graph, name, operand, foldable=_sole_reader(node))


def norm(kind: VectorKind) -> Handler:
    """A layer, group, instance or root-mean-square norm."""

    def handle(reader: Reader, node: Node) -> Value:
        operand = reader.value(node.args[0])
        if operator_name(node) == "aten.instance_norm":
            length = operand.elements // operand.shape[0] // operand.shape[1]
        elif kind == "group_norm":
            length = operand.elements // operand.shape[0] // int(argument(node, 1, "num_groups"))
        else:
            length = 1
            for size in items_of(argument(node, 1, "normalized_shape")):
                length *= int(size)
        affine = [
            item for item in [*node.args[1:], *node.kwargs.values()] if hasattr(item, "users")
        ]
        parameters = sum(reader.value(item).elements for item in affine)
        name = reader.name(node, kind)
        return emit_vector.norm(
            reader.graph, name, kind, operand, length=length, parameters=parameters
        )

    return handle


def softmax(reader: Reader, node: Node) -> Value:
    """A softmax along one axis."""
    operand = reader.value(node.args[0])
    axis = int(argument(node, 1, "dim", -1))
    return emit_vector.softmax(reader.graph, reader.name(node, "softmax"), operand, axis)


def pool(axes: int, *, average: bool) -> Handler:
    """A pooling over windows of a given size."""

    def handle(reader: Reader, node: Node) -> Value:
        kernel = axes_of(argument(node, 1, "kernel_size"), axes)
        operand, shape = reader.value(node.args[0]), result_shape(node)
        name = reader.name(node, "avg_pool" if average else "max_pool")
        return emit_vector.pool(reader.graph, name, operand, kernel, shape, average=average)

    return handle


def adaptive_pool(axes: int, *, average: bool) -> Handler:
    """A pooling to a given output size."""

    def handle(reader: Reader, node: Node) -> Value:
        operand, shape = reader.value(node.args[0]), result_shape(node)
        name = reader.name(node, "avg_pool" if average else "max_pool")
        if shape == operand.shape:
            return emit_vector.free(reader.graph, name, "identity", [operand], shape)
        kernel = emit_vector.adaptive_kernel(operand.shape[-axes:], shape[-axes:])
        return emit_vector.pool(reader.graph, name, operand, kernel, shape, average=average)

    return handle


def mean(reader: Reader, node: Node) -> Value:
    """A mean over whole dimensions."""
    operand = reader.value(node.args[0])
    return emit_vector.mean(reader.graph, reader.name(node, "mean"), operand, result_shape(node))


def reduction(*, signed: bool | None = None, passes: int = 1) -> Handler:
    """A reduction that goes ``passes`` times over its operand."""

    def handle(reader: Reader, node: Node) -> Value:
        operand = reader.value(node.args[0])
        return emit_vector.reduction(
            reader.graph,
            reader.name(node, label_of(node)),
            operand,
            result_shape(node),
            signed=operand.signed if signed is None else signed,
            passes=passes,
        )

    return handle


def move(reader: Reader, node: Node) -> Value:
    """Concatenation, repetition, gathering: every element of the result is moved once."""
    operands = [
        reader.value(item)
        for argument_ in node.args
        for item in items_of(argument_)
        if hasattr(item, "users")
    ]
    name = reader.name(node, label_of(node))
    return emit_vector.concat(reader.graph, name, operands, result_shape(node))


def overlap_add(reader: Reader, node: Node) -> Value:
    """Patches added up where they overlap: every element of them is added once."""
    operand, shape = reader.value(node.args[0]), result_shape(node)
    name = reader.name(node, label_of(node))
    return emit_vector.add_vector(
        reader.graph, name, "add", [operand], shape, operand.elements, signed=operand.signed
    )


def write(reader: Reader, node: Node) -> Value:
    """Assignment into part of a tensor: what is written is moved once."""
    written = reader.value(node.args[-1])
    if written.constant:
        return reader.value(node.args[0])
    name = reader.name(node, "write")
    moved = emit_vector.concat(reader.graph, name, [written], written.shape)
    reader.overwrite(node.args[0], moved)
    return moved


def free(kind: FreeKind, label: str = "") -> Handler:
    """An operator that only renames data."""

    def handle(reader: Reader, node: Node) -> Value:
        name = reader.name(node, label or label_of(node))
        return emit_vector.free(
            reader.graph, name, kind, [reader.value(node.args[0])], result_shape(node)
        )

    return handle


def same(reader: Reader, node: Node) -> Value:
    """No node at all: the argument itself."""
    return reader.value(node.args[0]).reshaped(result_shape(node))


def embedding(reader: Reader, node: Node) -> Value:
    """A look-up of rows of a table."""
    table, indices = reader.value(node.args[0]), reader.value(node.args[1])
    name = reader.name(node, "embedding")
    return emit_vector.embedding(reader.graph, name, table, indices, result_shape(node))


def upsample(mode: str) -> Handler:
    """An enlargement of images."""

    def handle(reader: Reader, node: Node) -> Value:
        operand, shape = reader.value(node.args[0]), result_shape(node)
        return emit_vector.upsample(
            reader.graph, reader.name(node, "upsample"), operand, shape, mode
        )

    return handle
