"""Attention with quantised operands.

Torch computes it in one call, without the scores ever existing as a tensor; a quantiser of the
scores' softmax needs them, so the call is spelled out as torch's documentation defines it.
"""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmpq.quant.base import FakeQuantizer


class OperandQuantizers(nn.Module):
    """The quantisers of one product of two activations.

    Attributes:
        activation: of the ``[m, k]`` operand, at the activation bits.
        weight: of the ``[k, n]`` operand, which takes the weight path, at the weight bits.
    """

    def __init__(self, weight: FakeQuantizer, activation: FakeQuantizer) -> None:
        super().__init__()
        self.weight = weight
        self.activation = activation

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Both operands, quantised."""
        return self.activation(left), self.weight(right)


def attention(
    scores_operands: OperandQuantizers | None,
    values_operands: OperandQuantizers | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``scaled_dot_product_attention`` with its arguments, operands quantised.

    A product without quantisers stays in float. While nothing rounds the softmax, torch's own call
    runs.
    """
    if scores_operands is not None:
        query, key = scores_operands(query, key)
    if values_operands is None or values_operands.activation.passes:
        value = value if values_operands is None else values_operands.weight(value)
        fused: Tensor = functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
        return fused
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ key.transpose(-2, -1) * factor
    if is_causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(hidden, -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = torch.dropout(scores.softmax(-1), dropout_p, train=True)
    left, right = values_operands(weights, value)
    return torch.matmul(left, right)


def _no_override(*_: object) -> bool:
    return False


_source = cast("Any", functional.multi_head_attention_forward)
multi_head_attention: Final = FunctionType(
    _source.__code__,
    {**vars(functional), "has_torch_function": _no_override},
    _source.__name__,
    _source.__defaults__,
)
"""Torch's function of ``nn.MultiheadAttention``, but one that lets what it calls be intercepted.

The original hands itself over as a whole to whoever intercepts functions.
"""
