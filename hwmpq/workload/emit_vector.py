"""Operators of the vector unit and free ones, from a front end's operands to layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.layer import Conv2d, FreeKind, FreeOp, Linear, VectorKind, VectorOp
from hwmpq.workload.operations import (
    POINTWISE_OPERATIONS,
    average_pool_operations,
    elementwise_operations,
    layer_norm_operations,
    max_pool_operations,
    mean_operations,
    move_operations,
    pointwise_operations,
    rms_norm_operations,
    softmax_operations,
    upsample_operations,
)
from hwmpq.workload.values import Value, activations, constant_elements

UNSIGNED_RESULTS = frozenset({"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax"})
"""Operators whose result is never negative."""

SIGN_PRESERVING = frozenset(
    {"max_pool2d", "avg_pool2d", "mean", "add", "mul", "concat", "upsample"}
)
"""Operators whose result is not negative if no operand is."""


def add_vector(
    graph: WorkloadBuilder,
    name: str,
    kind: VectorKind,
    operands: Sequence[Value],
    shape: Sequence[int],
    operations: int,
    *,
    signed: bool = True,
    parameters: int | None = None,
) -> Value:
    """Add an operator of the vector unit that reads the operands that are activations."""
    read = activations(operands)
    stored = constant_elements(operands) if parameters is None else parameters
    layer = VectorOp(
        name=name,
        op=kind,
        input_sizes=tuple(value.elements for value in read),
        output_elements=prod(shape),
        operations=operations,
        parameter_elements=stored,
    )
    node = graph.add(layer, [value.node for value in read], shape=shape, signed=signed)
    return Value(tuple(shape), node, signed)


def free(
    graph: WorkloadBuilder,
    name: str,
    kind: FreeKind,
    operands: Sequence[Value],
    shape: Sequence[int],
) -> Value:
    """An operator that only renames data; its result is signed as its operands are."""
    read = activations(operands)
    signed = any(value.signed for value in read)
    layer = FreeOp(name=name, op=kind, elements=prod(shape))
    node = graph.add(layer, [value.node for value in read], shape=shape, signed=signed)
    return Value(tuple(shape), node, signed)


def pointwise(graph: WorkloadBuilder, name: str, kind: VectorKind, operand: Value) -> Value:
    """An activation function."""
    operations = pointwise_operations(kind, operand.elements)
    signed = kind not in UNSIGNED_RESULTS
    return add_vector(graph, name, kind, [operand], operand.shape, operations, signed=signed)


def elementwise(
    graph: WorkloadBuilder,
    name: str,
    kind: VectorKind,
    operands: Sequence[Value],
    shape: Sequence[int],
    *,
    operations_per_element: int | None = None,
    signed: bool | None = None,
) -> Value:
    """An addition, a multiplication, or any function computed element by element.

    The result of an addition or a multiplication is unsigned if no operand is signed.
    """
    if operations_per_element is None:
        operations = elementwise_operations(prod(shape), len(operands))
    else:
        operations = operations_per_element * prod(shape)
    if signed is None:
        signed = kind not in SIGN_PRESERVING or any(value.signed for value in operands)
    return add_vector(graph, name, kind, operands, shape, operations, signed=signed)


def batch_norm(graph: WorkloadBuilder, name: str, operand: Value, *, foldable: bool) -> Value:
    """A batch norm at inference: part of the convolution or linear layer before it, if it can be.

    Args:
        graph: the workload.
        name: the layer's name.
        operand: what it normalises, channels second.
        foldable: whether nothing else reads the operand.
    """
    producer = graph.graph.nodes[operand.node]["layer"]
    # A linear layer's outputs are the last axis, which is the norm's channels in two dimensions.
    on_outputs = isinstance(producer, Conv2d) or len(operand.shape) == 2
    if foldable and isinstance(producer, Conv2d | Linear) and on_outputs:
        return operand
    channels = operand.shape[1]
    operations = POINTWISE_OPERATIONS["batch_norm"] * operand.elements
    return add_vector(
        graph,
        name,
        "batch_norm",
        [operand],
        operand.shape,
        operations,
        parameters=2 * channels,
    )


def pool(
    graph: WorkloadBuilder,
    name: str,
    operand: Value,
    kernel_size: Sequence[int],
    shape: Sequence[int],
    *,
    average: bool,
) -> Value:
    """An average or a maximum over windows."""
    kind: VectorKind = "avg_pool2d" if average else "max_pool2d"
    count = average_pool_operations if average else max_pool_operations
    operations = count(prod(shape), tuple(kernel_size))
    return add_vector(graph, name, kind, [operand], shape, operations, signed=operand.signed)


def adaptive_kernel(sizes: Sequence[int], outputs: Sequence[int]) -> tuple[int, ...]:
    """Largest window of an adaptive pooling, which every window is counted as.

    Window ``i`` reaches from ``floor(i * size / output)`` to ``ceil((i + 1) * size / output)``.

    >>> adaptive_kernel([7, 10], [1, 3])
    (7, 4)
    """
    return tuple(
        max(ceil((i + 1) * size / out) - i * size // out for i in range(out))
        for size, out in zip(sizes, outputs, strict=True)
    )


def mean(graph: WorkloadBuilder, name: str, operand: Value, shape: Sequence[int]) -> Value:
    """A mean over whole dimensions; over all pixels of images, which keep their rank, a pooling.

    Exporters write either for the other.
    """
    if len(operand.shape) == 4 and tuple(shape) == (*operand.shape[:2], 1, 1):
        return pool(graph, name, operand, operand.shape[2:], shape, average=True)
    averaged = operand.elements // prod(shape)
    operations = mean_operations(prod(shape), averaged)
    return add_vector(graph, name, "mean", [operand], shape, operations, signed=operand.signed)


def reduction(
    graph: WorkloadBuilder,
    name: str,
    operand: Value,
    shape: Sequence[int],
    *,
    signed: bool,
    passes: int = 1,
) -> Value:
    """A sum, maximum or the like over whole dimensions: ``n - 1`` operations a result.

    A variance goes over its operand four times: mean, centring, squares, mean; a length twice:
    squares, sum.
    """
    reduced = operand.elements // prod(shape)
    operations = passes * prod(shape) * max(1, reduced - 1)
    return add_vector(graph, name, "elementwise", [operand], shape, operations, signed=signed)


def concat(
    graph: WorkloadBuilder, name: str, operands: Sequence[Value], shape: Sequence[int]
) -> Value:
    """Several tensors side by side, or copies of one: every element is moved."""
    signed = any(value.signed for value in operands)
    return add_vector(
        graph, name, "concat", operands, shape, move_operations(prod(shape)), signed=signed
    )


def softmax(graph: WorkloadBuilder, name: str, operand: Value, axis: int) -> Value:
    """A softmax along one axis."""
    length = operand.shape[axis] if operand.shape else 1
    operations = softmax_operations(operand.elements // length, length)
    return add_vector(graph, name, "softmax", [operand], operand.shape, operations, signed=False)


def norm(
    graph: WorkloadBuilder,
    name: str,
    kind: VectorKind,
    operand: Value,
    *,
    length: int,
    parameters: int,
) -> Value:
    """A layer, group, instance or root-mean-square norm over ``length`` elements at a time."""
    rows = operand.elements // length
    count = rms_norm_operations if kind == "rms_norm" else layer_norm_operations
    operations = count(rows, length, affine=parameters > 0)
    return add_vector(
        graph, name, kind, [operand], operand.shape, operations, parameters=parameters
    )


def embedding(
    graph: WorkloadBuilder, name: str, table: Value, indices: Value, shape: Sequence[int]
) -> Value:
    """A look-up of rows of a table; the rows are what is moved, the table is what is stored."""
    layer = VectorOp(
        name=name,
        op="embedding",
        input_sizes=(indices.elements,),
        output_elements=prod(shape),
        operations=move_operations(prod(shape)),
        parameter_elements=prod(shape),
        stored_elements=table.elements,
    )
    return Value(tuple(shape), graph.add(layer, [indices.node], shape=shape))


def upsample(
    graph: WorkloadBuilder, name: str, operand: Value, shape: Sequence[int], mode: str
) -> Value:
    """An enlargement of images."""
    operations = upsample_operations(prod(shape), mode)
    return add_vector(graph, name, "upsample", [operand], shape, operations, signed=operand.signed)
