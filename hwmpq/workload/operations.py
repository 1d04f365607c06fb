"""Elementary operations of the operators that run on the vector unit.

One elementary operation is what one lane does in one cycle: an addition, subtraction, comparison,
multiplication, table look-up or move. The counting rules (ours, listed in docs/models/vector.md):

* A reduction of ``n`` values takes ``n - 1`` two-operand operations.
* A division is one reciprocal looked up per divisor and one multiplication per element.
* A bounded function of one variable (exponential, sigmoid, tanh, the Gaussian distribution) is one
  look-up; an unbounded one (SiLU, GELU) is its bounded factor and a multiplication.
* An operator without arithmetic (concat, nearest upsampling, embedding) moves each element once,
  which occupies a lane: nothing but a `FreeOp` is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Final

from hwmpq.errors import UnsupportedError
from hwmpq.workload.layer import VectorKind

POINTWISE_OPERATIONS: Final[Mapping[VectorKind, int]] = MappingProxyType(
    {
        "relu": 1,  # compare with 0
        "relu6": 2,  # compare with 0 and with 6
        "hard_sigmoid": 4,  # add 3, two comparisons, multiply by 1/6
        "hard_swish": 5,  # the same, then times x
        "sigmoid": 1,  # look-up
        "tanh": 1,  # look-up
        "silu": 2,  # sigmoid look-up, times x
        "gelu": 2,  # look-up of the Gaussian distribution, times x
        "batch_norm": 2,  # running statistics folded into one scale and one shift a channel
    }
)
"""Operations per element of the operators that read one tensor, element by element."""

_TAPS: Final[Mapping[str, int]] = MappingProxyType({"nearest": 1, "bilinear": 4, "bicubic": 16})


def pointwise_operations(kind: VectorKind, elements: int) -> int:
    """Operations of an activation function or a batch norm.

    Raises:
        UnsupportedError: the operator is not a function of one element.

    >>> pointwise_operations("hard_swish", 10)
    50
    """
    if kind not in POINTWISE_OPERATIONS:
        known = ", ".join(POINTWISE_OPERATIONS)
        msg = f"'{kind}' is not computed element by element from one tensor; these are: {known}"
        raise UnsupportedError(msg)
    return POINTWISE_OPERATIONS[kind] * elements


def elementwise_operations(output_elements: int, operands: int = 2) -> int:
    """Operations of an addition or a multiplication of several tensors, or with a constant.

    A constant counts as an operand; one operation is the least, since the result is written.

    >>> elementwise_operations(100)
    100
    >>> elementwise_operations(100, operands=3)
    200
    """
    return output_elements * max(1, operands - 1)


def move_operations(output_elements: int) -> int:
    """Operations of a concat or an embedding: each written element is moved once.

    >>> move_operations(100)
    100
    """
    return output_elements


def max_pool_operations(output_elements: int, kernel_size: tuple[int, ...]) -> int:
    """Operations of a maximum over windows: all comparisons of a window, at least one move.

    Windows that reach over the border count whole.

    >>> max_pool_operations(4, (2, 2))
    12
    """
    return output_elements * max(1, prod(kernel_size) - 1)


def mean_operations(output_elements: int, averaged: int) -> int:
    """Operations of a mean over ``averaged`` values: the additions and one multiplication.

    >>> mean_operations(10, 49)
    490
    """
    return output_elements * max(1, averaged)


def average_pool_operations(output_elements: int, kernel_size: tuple[int, ...]) -> int:
    """Operations of an average over windows, counted as a mean over whole windows.

    >>> average_pool_operations(4, (2, 2))
    16
    """
    return mean_operations(output_elements, prod(kernel_size))


def softmax_operations(rows: int, length: int) -> int:
    """Operations of a softmax over ``rows`` vectors of ``length`` elements.

    Maximum ``n - 1``, subtraction ``n``, exponential ``n``, sum ``n - 1``, reciprocal 1,
    multiplication ``n``: ``5 n - 1`` a row.

    >>> softmax_operations(1, 10)
    49
    """
    return rows * (5 * length - 1)


def layer_norm_operations(rows: int, length: int, *, affine: bool = True) -> int:
    """Operations of a layer norm; a group norm is one with ``batch * groups`` rows.

    Mean ``n``, centring ``n``, squares ``n``, variance ``n``, epsilon and inverse root 2,
    scaling ``n``: ``5 n + 2`` a row, and ``2 n`` more with a learned scale and shift.

    >>> layer_norm_operations(1, 10)
    72
    """
    return rows * ((7 if affine else 5) * length + 2)


def rms_norm_operations(rows: int, length: int, *, affine: bool = True) -> int:
    """Operations of a root-mean-square norm.

    Squares ``n``, mean ``n``, epsilon and inverse root 2, scaling ``n``: ``3 n + 2`` a row, and
    ``n`` more with a learned scale.

    >>> rms_norm_operations(1, 10)
    42
    """
    return rows * ((4 if affine else 3) * length + 2)


def upsample_operations(output_elements: int, mode: str = "nearest") -> int:
    """Operations of an upsampling: a move, or a weighted sum of 4 or 16 neighbours.

    Raises:
        UnsupportedError: a mode that is not known.

    >>> upsample_operations(10, "bilinear")
    70
    """
    if mode not in _TAPS:
        msg = f"upsampling mode '{mode}' has no operation count; known: {', '.join(_TAPS)}"
        raise UnsupportedError(msg)
    return output_elements * (2 * _TAPS[mode] - 1)
