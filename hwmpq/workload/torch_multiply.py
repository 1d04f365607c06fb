"""Torch operators that multiply: convolutions, linear layers, products, attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwmpq.workload import emit_multiply, emit_vector
from hwmpq.workload.emit_multiply import ConvolutionSettings
from hwmpq.workload.torch_nodes import (
    Handler,
    Reader,
    argument,
    axes_of,
    items_of,
    label_of,
    result_shape,
)
from hwmpq.workload.values import Value

if TYPE_CHECKING:
    from torch.fx import Node


def convolution(reader: Reader, node: Node) -> Value:
    """A convolution over one or two axes."""
    operand, weight = reader.value(node.args[0]), reader.value(node.args[1])
    axes = len(weight.shape) - 2
    dilation = axes_of(argument(node, 5, "dilation", 1), axes)
    padding = argument(node, 4, "padding", 0)
    if padding == "same":
        both = emit_multiply.same_padding(weight.shape[2:], dilation)
    else:
        both = tuple((p, p) for p in axes_of(0 if padding == "valid" else padding, axes))
    settings = ConvolutionSettings(
        stride=axes_of(argument(node, 3, "stride", 1), axes),
        padding=both,
        dilation=dilation,
        groups=argument(node, 6, "groups", 1),
    )
    name = reader.weight_name(node, weight, "conv")
    return emit_multiply.convolution(
        reader.graph, name, operand, weight, settings, result_shape(node)
    )


def transposed_convolution(reader: Reader, node: Node) -> Value:
    """A transposed convolution over one or two axes."""
    operand, weight = reader.value(node.args[0]), reader.value(node.args[1])
    name = reader.weight_name(node, weight, "conv_transpose")
    groups = argument(node, 6, "groups", 1)
    return emit_multiply.transposed_convolution(
        reader.graph, name, operand, weight, groups, result_shape(node)
    )


def linear(reader: Reader, node: Node) -> Value:
    """A linear layer on an input of any rank."""
    operand, weight = reader.value(node.args[0]), reader.value(node.args[1])
    name = reader.weight_name(node, weight, "linear")
    return emit_multiply.linear(reader.graph, name, operand, weight, result_shape(node))


def _product_name(reader: Reader, node: Node, operands: Sequence[Value]) -> str:
    """Name of a product: that of its stored operand, if it has one."""
    for value in operands:
        if value.constant:
            return reader.weight_name(node, value, label_of(node))
    return reader.name(node, label_of(node))


def matmul_at(first: int) -> Handler:
    """A product whose left operand is argument ``first``; an argument before it is added."""

    def handle(reader: Reader, node: Node) -> Value:
        left, right = reader.value(node.args[first]), reader.value(node.args[first + 1])
        name = _product_name(reader, node, [right, left])
        product = emit_multiply.matmul(reader.graph, name, left, right, result_shape(node))
        added = [] if first == 0 else [reader.value(node.args[0])]
        if not added or added[0].constant:
            return product
        return emit_vector.elementwise(
            reader.graph, f"{name}.add", "add", [product, *added], result_shape(node)
        )

    return handle


def einsum(reader: Reader, node: Node) -> Value:
    """An Einstein sum of two operands."""
    equation, operands = node.args[0], [reader.value(item) for item in items_of(node.args[1])]
    name = _product_name(reader, node, operands)
    return emit_multiply.einsum(reader.graph, name, str(equation), operands, result_shape(node))


def attention(reader: Reader, node: Node) -> Value:
    """Scaled dot-product attention."""
    query, key, value = (reader.value(node.args[index]) for index in range(3))
    mask = argument(node, 3, "attn_mask")
    causal = bool(argument(node, 5, "is_causal", False))
    masks = [reader.value(mask)] if mask is not None else [] if causal else None
    name = reader.name(node, "")
    return emit_multiply.attention(
        reader.graph, name, query, key, value, masks=masks, shape=result_shape(node)
    )
