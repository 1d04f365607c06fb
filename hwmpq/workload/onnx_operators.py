"""What each ONNX operator is to an accelerator: one entry an operator, nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Final

from hwmpq.workload import emit_multiply, emit_vector
from hwmpq.workload.emit_multiply import ConvolutionSettings
from hwmpq.workload.layer import FreeKind, Linear, VectorKind
from hwmpq.workload.onnx_fused import FUSED
from hwmpq.workload.onnx_nodes import OneResult, OnnxHandler, OnnxNode, OnnxReader
from hwmpq.workload.values import Value


def _second(node: OnnxNode) -> int:
    """Place of the second factor; ``QLinear`` forms have a scale and a zero point before it."""
    return 3 if node.op.startswith("QLinear") else 1


def _padding(node: OnnxNode, axes: int, kernel: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Padding before and behind each axis; automatic padding is that of stride one."""
    if str(node.attributes.get("auto_pad", "NOTSET")).startswith("SAME"):
        dilation = node.numbers("dilations", [1] * axes)
        return emit_multiply.same_padding(kernel, dilation)
    pads = node.numbers("pads", [0] * 2 * axes)
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def _convolution(reader: OnnxReader, node: OnnxNode) -> Value:
    operand, weight = reader.operand(node, 0), reader.operand(node, _second(node))
    axes = len(weight.shape) - 2
    settings = ConvolutionSettings(
        stride=node.numbers("strides", [1] * axes),
        padding=_padding(node, axes, weight.shape[2:]),
        dilation=node.numbers("dilations", [1] * axes),
        groups=int(node.attributes.get("group", 1)),
    )
    name = reader.weight_name(node, weight)
    return emit_multiply.convolution(reader.graph, name, operand, weight, settings, node.shape)


def _transposed_convolution(reader: OnnxReader, node: OnnxNode) -> Value:
    operand, weight = reader.operand(node, 0), reader.operand(node, 1)
    groups = int(node.attributes.get("group", 1))
    name = reader.weight_name(node, weight)
    return emit_multiply.transposed_convolution(
        reader.graph, name, operand, weight, groups, node.shape
    )


def _gemm(reader: OnnxReader, node: OnnxNode) -> Value:
    left, right = reader.operand(node, 0), reader.operand(node, 1)
    if node.attributes.get("transA", 0):
        left = left.reshaped(left.shape[::-1])
    if node.attributes.get("transB", 0):
        right = right.reshaped(right.shape[::-1])
    name = reader.weight_name(node, right)
    product = emit_multiply.matmul(reader.graph, name, left, right, node.shape)
    added = reader.operands(node)[2:]
    if not added or added[0].constant:
        return product
    operands = [product, added[0]]
    return emit_vector.elementwise(reader.graph, f"{name}.add", "add", operands, node.shape)


def _matmul(reader: OnnxReader, node: OnnxNode) -> Value:
    left, right = reader.operand(node, 0), reader.operand(node, _second(node))
    name = reader.weight_name(node, right if right.constant else left)
    return emit_multiply.matmul(reader.graph, name, left, right, node.shape)


def _einsum(reader: OnnxReader, node: OnnxNode) -> Value:
    operands = reader.operands(node)
    stored = next((value for value in operands if value.constant), operands[0])
    name = reader.weight_name(node, stored)
    equation = str(node.attributes["equation"])
    return emit_multiply.einsum(reader.graph, name, equation, operands, node.shape)


def _add(reader: OnnxReader, node: OnnxNode) -> Value:
    """An addition; of a stored vector to a linear layer's result it is the layer's bias."""
    operands = reader.operands(node)
    for position, value in enumerate(operands):
        bias = operands[1 - position]
        layer = reader.graph.graph.nodes[value.node]["layer"] if value.node else None
        if (
            bias.constant
            and isinstance(layer, Linear)
            and bias.elements == layer.out_features
            and reader.readers(node.inputs[position]) == 1
        ):
            return value
    return emit_vector.elementwise(reader.graph, reader.name(node), "add", operands, node.shape)


def _pointwise(kind: VectorKind) -> OnnxHandler:
    def handle(reader: OnnxReader, node: OnnxNode) -> Value:
        return emit_vector.pointwise(
            reader.graph, reader.name(node), kind, reader.operand(node, 0)
        )

    return handle


def _clip(reader: OnnxReader, node: OnnxNode) -> Value:
    low, high = node.attributes.get("min"), node.attributes.get("max")
    low = reader.number(node, 1) if low is None else low
    high = reader.number(node, 2) if high is None else high
    operand = reader.operand(node, 0)
    if low == 0 and high in (6, None):
        kind: VectorKind = "relu" if high is None else "relu6"
        return emit_vector.pointwise(reader.graph, reader.name(node), kind, operand)
    return emit_vector.elementwise(
        reader.graph,
        reader.name(node),
        "elementwise",
        [operand],
        node.shape,
        operations_per_element=(low is not None) + (high is not None),
        signed=operand.signed and not (low is not None and low >= 0),
    )


def _elementwise(
    kind: VectorKind, operations: int | None = None, *, signed: bool | None = None
) -> OneResult:
    def handle(reader: OnnxReader, node: OnnxNode) -> Value:
        return emit_vector.elementwise(
            reader.graph,
            reader.name(node),
            kind,
            reader.operands(node),
            node.shape,
            operations_per_element=operations,
            signed=signed,
        )

    return handle


def _division(reader: OnnxReader, node: OnnxNode) -> Value:
    operations = 1 if reader.operand(node, 1).constant else 2
    return _elementwise("mul", operations)(reader, node)


def _batch_norm(reader: OnnxReader, node: OnnxNode) -> Value:
    alone = reader.readers(node.inputs[0]) == 1
    operand = reader.operand(node, 0)
    return emit_vector.batch_norm(reader.graph, reader.name(node), operand, foldable=alone)


def _norm(kind: VectorKind) -> OnnxHandler:
    def handle(reader: OnnxReader, node: OnnxNode) -> Value:
        operand = reader.operand(node, 0)
        if kind == "group_norm":
            groups = int(node.attributes.get("num_groups", operand.shape[1]))
            length = operand.elements // operand.shape[0] // groups
        else:
            length = prod(operand.shape[int(node.attributes.get("axis", -1)) :])
        parameters = sum(value.elements for value in reader.operands(node)[1:])
        return emit_vector.norm(
            reader.graph, reader.name(node), kind, operand, length=length, parameters=parameters
        )

    return handle


def _softmax(reader: OnnxReader, node: OnnxNode) -> Value:
    axis = int(node.attributes.get("axis", -1))
    return emit_vector.softmax(reader.graph, reader.name(node), reader.operand(node, 0), axis)


def _response_norm(reader: OnnxReader, node: OnnxNode) -> Value:
    """A local response norm: squares summed over channels, scaled, a power, a multiplication."""
    size = int(node.attributes["size"])
    return _elementwise("elementwise", size + 4)(reader, node)


def _pool(*, average: bool, whole: bool = False) -> OnnxHandler:
    def handle(reader: OnnxReader, node: OnnxNode) -> Value:
        operand = reader.operand(node, 0)
        kernel = operand.shape[2:] if whole else node.numbers("kernel_shape", ())
        return emit_vector.pool(
            reader.graph, reader.name(node), operand, kernel, node.shape, average=average
        )

    return handle


def _mean(reader: OnnxReader, node: OnnxNode) -> Value:
    return emit_vector.mean(reader.graph, reader.name(node), reader.operand(node, 0), node.shape)


def _reduction(reader: OnnxReader, node: OnnxNode) -> Value:
    operand = reader.operand(node, 0)
    sized = node.op in ("ReduceL1", "ReduceL2", "ReduceSumSquare")
    return emit_vector.reduction(
        reader.graph,
        reader.name(node),
        operand,
        node.shape,
        signed=operand.signed and not sized,
        passes=2 if sized else 1,
    )


def _move(reader: OnnxReader, node: OnnxNode) -> Value:
    operands = reader.operands(node)
    used = operands if node.op == "Concat" else operands[:1]
    return emit_vector.concat(reader.graph, reader.name(node), used, node.shape)


def _gather(reader: OnnxReader, node: OnnxNode) -> Value:
    """Rows of a stored table, one place of a tensor, or any other selection."""
    operand, indices = reader.operand(node, 0), reader.operand(node, 1)
    name = reader.name(node)
    if operand.constant:
        return emit_vector.embedding(reader.graph, name, operand, indices, node.shape)
    if indices.constant and indices.elements == 1:
        return emit_vector.free(reader.graph, name, "slice", [operand], node.shape)
    return emit_vector.concat(reader.graph, name, [operand, indices], node.shape)


def _upsample(reader: OnnxReader, node: OnnxNode) -> Value:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(
        str(node.attributes.get("mode", "nearest")), "nearest"
    )
    return emit_vector.upsample(
        reader.graph, reader.name(node), reader.operand(node, 0), node.shape, mode
    )


def _free(kind: FreeKind) -> OnnxHandler:
    def handle(reader: OnnxReader, node: OnnxNode) -> Value:
        operand = [reader.operand(node, 0)]
        return emit_vector.free(reader.graph, reader.name(node), kind, operand, node.shape)

    return handle


def _same(reader: OnnxReader, node: OnnxNode) -> Value:
    return reader.operand(node, 0).reshaped(node.shape)


_TABLE: Final[tuple[tuple[str, OnnxHandler], ...]] = (
    ("Conv ConvInteger QLinearConv", _convolution),
    ("ConvTranspose", _transposed_convolution),
    ("Gemm", _gemm),
    ("MatMul MatMulInteger QLinearMatMul", _matmul),
    ("Einsum", _einsum),
    ("Relu", _pointwise("relu")),
    ("Sigmoid", _pointwise("sigmoid")),
    ("HardSigmoid", _pointwise("hard_sigmoid")),
    ("HardSwish", _pointwise("hard_swish")),
    ("Tanh", _pointwise("tanh")),
    ("Gelu", _pointwise("gelu")),
    ("Clip", _clip),
    ("LeakyRelu PRelu Elu Selu Celu ThresholdedRelu Mish", _elementwise("elementwise", 2)),
    ("Add", _add),
    ("Sub", _elementwise("add", signed=True)),
    ("Mul", _elementwise("mul")),
    ("Sum", _elementwise("add")),
    ("Div", _division),
    ("Neg Sin Cos Log Erf Reciprocal Floor Ceil Round Sign", _elementwise("elementwise", 1)),
    ("Exp Sqrt Abs Softplus", _elementwise("elementwise", 1, signed=False)),
    ("Pow Min Max Where Trilu", _elementwise("elementwise", 1)),
    (
        "Equal Less Greater LessOrEqual GreaterOrEqual",
        _elementwise("elementwise", 1, signed=False),
    ),
    ("And Or Not Xor", _elementwise("elementwise", 1, signed=False)),
    ("BatchNormalization", _batch_norm),
    ("LayerNormalization", _norm("layer_norm")),
    ("RMSNormalization SimplifiedLayerNormalization", _norm("rms_norm")),
    ("GroupNormalization InstanceNormalization", _norm("group_norm")),
    ("LRN", _response_norm),
    ("Softmax LogSoftmax", _softmax),
    ("MaxPool", _pool(average=False)),
    ("AveragePool", _pool(average=True)),
    ("GlobalMaxPool", _pool(average=False, whole=True)),
    ("GlobalAveragePool", _pool(average=True, whole=True)),
    ("ReduceMean", _mean),
    ("ReduceSum ReduceMax ReduceMin ReduceProd CumSum ArgMax ArgMin", _reduction),
    ("ReduceL1 ReduceL2 ReduceSumSquare", _reduction),
    ("Concat Tile", _move),
    ("Gather", _gather),
    ("Resize Upsample", _upsample),
    ("Flatten", _free("flatten")),
    ("Reshape Transpose Squeeze Unsqueeze Expand Pad", _free("reshape")),
    ("DepthToSpace SpaceToDepth", _free("reshape")),
    ("Slice Split", _free("slice")),
    ("Dropout QuantizeLinear DequantizeLinear DynamicQuantizeLinear", _free("identity")),
    ("Identity Cast CastLike", _same),
)

ONNX_HANDLERS: Final[Mapping[str, OnnxHandler]] = MappingProxyType(
    {name: handler for names, handler in _TABLE for name in names.split()} | dict(FUSED)
)
"""Operator type -> what it is."""

CONSTANT_RESULTS: Final = frozenset({"Shape", "Size", "Constant", "ConstantOfShape", "Range"})
"""Operators whose result is known before the network runs."""
