"""Fast estimate of a convolution's DRAM reads from SCALE-Sim's buffers."""

from __future__ import annotations

from hwmpq.cost.systolic_folds import Array, Folds
from hwmpq.cost.systolic_gemm import Gemm


def estimated_reads(gemm: Gemm, folds: Folds, array: Array, half: int) -> int:
    """Words fetched for one group whose input does not fit."""
    passes = 1 if array.dataflow == "is" else folds.col_folds
    return max(passes * gemm.input_words, half)
