"""What each torch operator is to an accelerator: one entry an operator, nothing guessed.

An operator that is not listed cannot be priced.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hwmpq.workload import torch_multiply as multiply
from hwmpq.workload import torch_vector as vector
from hwmpq.workload.torch_nodes import Handler

_MULTIPLY: Final[tuple[tuple[str, Handler], ...]] = (
    ("conv1d conv2d", multiply.convolution),
    ("conv_transpose1d conv_transpose2d", multiply.transposed_convolution),
    ("linear", multiply.linear),
    ("matmul mm bmm mv dot", multiply.matmul_at(0)),
    ("addmm baddbmm addmv", multiply.matmul_at(1)),
    ("einsum", multiply.einsum),
    ("scaled_dot_product_attention", multiply.attention),
)

_ACTIVATIONS: Final[tuple[tuple[str, Handler], ...]] = (
    ("relu", vector.pointwise("relu")),
    ("relu6", vector.pointwise("relu6")),
    ("hardswish", vector.pointwise("hard_swish")),
    ("hardsigmoid", vector.pointwise("hard_sigmoid")),
    ("sigmoid", vector.pointwise("sigmoid")),
    ("silu", vector.pointwise("silu")),
    ("gelu", vector.pointwise("gelu")),
    ("tanh", vector.pointwise("tanh")),
    ("hardtanh clamp clamp_min clamp_max", vector.bounded),
    ("leaky_relu prelu mish elu", vector.elementwise("elementwise", 2)),
    ("softplus", vector.elementwise("elementwise", 1, signed=False)),
    ("glu", vector.gated),
    ("softmax log_softmax", vector.softmax),
)

_ARITHMETIC: Final[tuple[tuple[str, Handler], ...]] = (
    ("add", vector.elementwise("add")),
    ("sub rsub", vector.elementwise("add", signed=True)),
    ("mul", vector.elementwise("mul")),
    ("div true_divide", vector.division),
    ("pow", vector.power),
    ("neg sin cos tan log log2 log1p erf reciprocal", vector.elementwise("elementwise", 1)),
    ("floor round sign maximum minimum", vector.elementwise("elementwise", 1)),
    ("where masked_fill tril triu", vector.elementwise("elementwise", 1)),
    ("addcmul lerp", vector.elementwise("elementwise", 2)),
    ("exp exp2 abs square sqrt rsqrt", vector.elementwise("elementwise", 1, signed=False)),
    ("eq ne lt le gt ge", vector.elementwise("elementwise", 1, signed=False)),
    (
        "logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not",
        vector.elementwise("elementwise", 1, signed=False),
    ),
)

_REDUCTIONS: Final[tuple[tuple[str, Handler], ...]] = (
    ("mean", vector.mean),
    ("sum amax amin max min prod cumsum", vector.reduction()),
    ("argmax argmin any all", vector.reduction(signed=False)),
    ("linalg_vector_norm norm", vector.reduction(signed=False, passes=2)),
    ("var std", vector.reduction(signed=False, passes=4)),
    ("max_pool1d", vector.pool(1, average=False)),
    ("max_pool2d", vector.pool(2, average=False)),
    ("avg_pool1d", vector.pool(1, average=True)),
    ("avg_pool2d", vector.pool(2, average=True)),
    ("avg_pool3d", vector.pool(3, average=True)),
    ("adaptive_avg_pool1d", vector.adaptive_pool(1, average=True)),
    ("adaptive_avg_pool2d", vector.adaptive_pool(2, average=True)),
    ("adaptive_max_pool1d", vector.adaptive_pool(1, average=False)),
    ("adaptive_max_pool2d", vector.adaptive_pool(2, average=False)),
)

_NORMS: Final[tuple[tuple[str, Handler], ...]] = (
    ("batch_norm", vector.batch_norm),
    ("layer_norm", vector.norm("layer_norm")),
    ("group_norm instance_norm", vector.norm("group_norm")),
    ("rms_norm", vector.norm("rms_norm")),
)

_MOVES: Final[tuple[tuple[str, Handler], ...]] = (
    ("cat concat concatenate stack repeat tile repeat_interleave roll flip", vector.move),
    ("index index_select gather im2col unfold", vector.move),
    ("copy index_put", vector.write),
    ("col2im", vector.overlap_add),
    ("embedding", vector.embedding),
    ("upsample_nearest1d upsample_nearest2d", vector.upsample("nearest")),
    ("upsample_bilinear2d", vector.upsample("bilinear")),
    ("upsample_bicubic2d", vector.upsample("bicubic")),
)

_FREE: Final[tuple[tuple[str, Handler], ...]] = (
    ("flatten", vector.free("flatten")),
    ("view reshape unflatten view_as reshape_as", vector.free("reshape")),
    ("permute transpose t numpy_T mT movedim swapaxes", vector.free("reshape")),
    ("squeeze unsqueeze expand expand_as broadcast_to", vector.free("reshape")),
    ("channel_shuffle pixel_shuffle pixel_unshuffle", vector.free("reshape")),
    ("pad constant_pad_nd", vector.free("reshape")),
    ("slice select narrow diagonal", vector.free("slice")),
    ("dropout feature_dropout alpha_dropout identity", vector.free("identity")),
    ("contiguous clone detach alias to _to_copy type_as lift_fresh_copy", vector.same),
)


def _names(text: str) -> list[str]:
    return [f"aten.{name}" for name in text.split()]


HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        name: handler
        for table in (_MULTIPLY, _ACTIVATIONS, _ARITHMETIC, _REDUCTIONS, _NORMS, _MOVES, _FREE)
        for names, handler in table
        for name in _names(names)
    }
)
"""Operator -> what it is."""

CONTROL_FLOW: Final = frozenset(("cond", "while_loop"))
"""Operators that hold networks of their own and decide by values what of them runs."""

CONSTANT: Final = frozenset(
    _names("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty")
)
"""Operators that take only the shape of their argument; what they return is known beforehand."""

SPLITS: Final = frozenset(
    _names("chunk split split_with_sizes unbind tensor_split unsafe_chunk unsafe_split")
)
"""Operators that hand out views of parts of their argument."""

VIEWS: Final = SPLITS.union(
    _names("view reshape view_as reshape_as unflatten flatten permute transpose t numpy_T mT"),
    _names("movedim swapaxes squeeze unsqueeze expand slice select narrow diagonal alias detach"),
)
"""Operators whose result shares memory with their argument."""
