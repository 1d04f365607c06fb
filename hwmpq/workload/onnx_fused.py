"""ONNX operators that hold several layers: attention, rotary embeddings, a runtime's fusions.

Those of ``com.microsoft`` are what ONNX Runtime's optimiser writes; ONNX knows no shapes of
theirs, so they can be read from files that note the shapes themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from hwmpq.errors import UnsupportedError
from hwmpq.workload import emit_multiply, emit_vector
from hwmpq.workload.layer import FreeOp, VectorKind
from hwmpq.workload.onnx_nodes import OnnxHandler, OnnxNode, OnnxReader
from hwmpq.workload.values import Value

_JOIN: Final = ".join"


def _optional(reader: OnnxReader, node: OnnxNode, index: int) -> Value | None:
    given = index < len(node.inputs) and bool(node.inputs[index])
    return reader.operand(node, index) if given else None


def _by_heads(value: Value, heads: int) -> Value:
    """``[batch, tokens, heads x width]`` as ``[batch, heads, tokens, width]``."""
    if len(value.shape) == 4:
        return value
    batch, tokens, width = value.shape
    return value.reshaped((batch, heads, tokens, width // heads))


def _with_past(reader: OnnxReader, node: OnnxNode, name: str, value: Value, past: int) -> Value:
    before = _optional(reader, node, past)
    if before is None:
        return value
    tokens = before.shape[-2] + value.shape[-2]
    shape = (*value.shape[:-2], tokens, value.shape[-1])
    return emit_vector.concat(reader.graph, f"{name}.cat", [before, value], shape)


def _attention(reader: OnnxReader, node: OnnxNode) -> tuple[Value, ...]:
    """Attention of operator set 23, and the keys and values that a cache then holds."""
    heads = int(node.attributes.get("q_num_heads", 0))
    shared = int(node.attributes.get("kv_num_heads", heads))
    query = _by_heads(reader.operand(node, 0), heads)
    name = reader.name(node)
    key, value = (
        _with_past(reader, node, name, _by_heads(reader.operand(node, index), shared), past)
        for index, past in ((1, 4), (2, 5))
    )
    mask = _optional(reader, node, 3)
    masks = [mask] if mask is not None else None
    if masks is None and node.attributes.get("is_causal", 0):
        masks = []
    shape = (*query.shape[:-1], value.shape[-1])
    result = emit_multiply.attention(
        reader.graph,
        name,
        query,
        key,
        value,
        masks=masks,
        shape=shape,
        capped=float(node.attributes.get("softcap", 0)) != 0,
    )
    return result.reshaped(node.shape), key, value


def _rotary(reader: OnnxReader, node: OnnxNode) -> Value:
    """A rotation of pairs: two multiplications and an addition each element."""
    return emit_vector.elementwise(
        reader.graph,
        reader.name(node),
        "elementwise",
        reader.operands(node)[:1],
        node.shape,
        operations_per_element=3,
        signed=True,
    )


def _scatter(reader: OnnxReader, node: OnnxNode) -> Value:
    """Writing into part of a tensor: what is written is moved once; the rest stays.

    A part that was written into goes back into the whole for free: exporters write a part of a
    part that way.
    """
    before, written = reader.operand(node, 0), reader.operand(node, 2)
    name = reader.name(node)
    if written.constant:
        return before
    moved = written
    if not _written_into(reader, written.node):
        moved = emit_vector.concat(reader.graph, name, [written], written.shape)
    if before.constant:
        return moved.reshaped(node.shape)
    return emit_vector.free(reader.graph, f"{name}{_JOIN}", "reshape", [before, moved], node.shape)


def _written_into(reader: OnnxReader, producer: str) -> bool:
    """Whether a tensor renames one that a scatter returned."""
    graph = reader.graph.graph
    while isinstance(graph.nodes[producer]["layer"], FreeOp):
        if producer.partition("#")[0].endswith(_JOIN):
            return True
        producer = next(iter(graph.predecessors(producer)))
    return False


def _activation(kind: VectorKind) -> OnnxHandler:
    def handle(reader: OnnxReader, node: OnnxNode) -> Value:
        operand = reader.operand(node, 0)
        return emit_vector.pointwise(reader.graph, reader.name(node), kind, operand)

    return handle


def _skip_norm(kind: VectorKind) -> OnnxHandler:
    """A norm of a sum: its result, its mean and its scale, which rename it, and the sum itself.

    The sum is where a runtime's optimiser carries the residual on.
    """

    def handle(reader: OnnxReader, node: OnnxNode) -> tuple[Value, ...]:
        operands = [reader.operand(node, 0), reader.operand(node, 1)]
        name, shape = reader.name(node), operands[0].shape
        total = emit_vector.elementwise(reader.graph, f"{name}.add", "add", operands, shape)
        parameters = sum(value.elements for value in reader.operands(node)[2:])
        normed = emit_vector.norm(
            reader.graph, name, kind, total, length=shape[-1], parameters=parameters
        )
        statistics = normed.reshaped((*shape[:-1], 1))
        return normed, statistics, statistics, total

    return handle


def _packed_matmul(reader: OnnxReader, node: OnnxNode) -> Value:
    """A product with weights that are stored packed, ``N x K`` of them."""
    operand, packed = reader.operand(node, 0), reader.operand(node, 1)
    sizes = int(node.attributes["N"]), int(node.attributes["K"])
    weight = replace(packed, shape=sizes)
    name = reader.weight_name(node, weight)
    return emit_multiply.linear(reader.graph, name, operand, weight, node.shape)


def _control_flow(_reader: OnnxReader, _node: OnnxNode) -> Value:
    msg = "it chooses what runs by the values of a tensor; export the branches by themselves"
    raise UnsupportedError(msg)


FUSED: Final[Mapping[str, OnnxHandler]] = MappingProxyType(
    {
        "Attention": _attention,
        "RotaryEmbedding": _rotary,
        "ScatterND": _scatter,
        "ScatterElements": _scatter,
        "Swish": _activation("silu"),
        "If": _control_flow,
        "Loop": _control_flow,
        "Scan": _control_flow,
        "com.microsoft.Gelu": _activation("gelu"),
        "com.microsoft.FastGelu": _activation("gelu"),
        "com.microsoft.QuickGelu": _activation("silu"),
        "com.microsoft.SkipLayerNormalization": _skip_norm("layer_norm"),
        "com.microsoft.SkipSimplifiedLayerNormalization": _skip_norm("rms_norm"),
        "com.microsoft.MatMulNBits": _packed_matmul,
    }
)
"""Operator type -> what it is."""
