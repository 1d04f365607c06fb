"""Our own memory model of a systolic array: tiles and DRAM traffic.

Unlike SCALE-Sim's buffers, which forget half of their words at once, these hold what a schedule
decides: partial sums stay on chip, and loops run in the order that costs less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hwmpq.cost.systolic_folds import Dataflow, Folds, ceil_of
from hwmpq.cost.systolic_gemm import Gemm

Outer = Literal["weight", "input"]
"""Operand whose loop over tiles is outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """The streamed dimension, cut so that partial sums fit the output buffer.

    Attributes:
        count: pieces.
        size: steps of one piece.
        on_chip: whether the partial sums of a piece fit.
    """

    count: int
    size: int
    on_chip: bool


def chunk_stream(stream: int, sums_per_step: int, sum_bits: int, half_bits: int) -> Chunks:
    """Cut the streamed dimension of a fold.

    Every step leaves one partial sum a column; the next row fold takes them up again. The longest
    piece of which half the output buffer holds the sums is used, and pieces are equally long. If
    not even one step fits, sums go through DRAM.

    >>> chunk_stream(3136, 32, 26, 1048576)
    Chunks(count=3, size=1046, on_chip=True)
    """
    longest = half_bits // (sums_per_step * sum_bits)
    if longest < 1:
        return Chunks(count=1, size=stream, on_chip=False)
    count = ceil_of(stream, longest)
    return Chunks(count=count, size=ceil_of(stream, count), on_chip=True)


def input_tile_words(gemm: Gemm, pixels: int) -> int:
    """Stored inputs that a run of output pixels of one group reads, halo rows included."""
    vertical, horizontal = gemm.vertical, gemm.horizontal
    per_sample = vertical.out * horizontal.out
    if pixels >= per_sample:
        samples = min(gemm.samples, ceil_of(pixels, per_sample))
        return ceil_of(gemm.input_words * samples, gemm.samples)
    out_rows = min(vertical.out, (pixels - 1) // horizontal.out + 2)
    reach = vertical.dilation * (vertical.kernel - 1) + 1
    in_rows = min(vertical.size, (out_rows - 1) * vertical.stride + reach)
    words = in_rows * horizontal.size * gemm.channels
    return min(words, ceil_of(gemm.input_words, gemm.samples))


def longest_piece(gemm: Gemm, words: int) -> int:
    """Most output pixels in a run whose inputs are no more than ``words``; 0 if one is too many.

    >>> from hwmpq.workload.layer import Linear
    >>> from hwmpq.cost.systolic_gemm import lower
    >>> longest_piece(lower(Linear(name="fc", batch=10, in_features=7, out_features=3)), 30)
    4
    """
    low, high = 0, gemm.m
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if input_tile_words(gemm, middle) <= words else (low, middle - 1)
        )
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One operand of a loop nest over tiles.

    Attributes:
        total_bits: all of it, of one group.
        tile_bits: what one tile of it holds.
        half_bits: half of its buffer, the other half being filled.
    """

    total_bits: int
    tile_bits: int
    half_bits: int

    def fetched_bits(self, passes: int, *, outer: bool) -> int:
        """Bits fetched when the other operand has ``passes`` tiles.

        With its loop outside, one tile must stay while the other operand's tiles pass; with its
        loop inside, all of it must stay from one round to the next.
        """
        stays = self.tile_bits if outer else self.total_bits
        return self.total_bits * (1 if stays <= self.half_bits else passes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetches:
    """DRAM reads of one group.

    Attributes:
        input_bits: of activations.
        weight_bits: of weights.
        order: operand whose loop is outside; None where buffers decide by themselves.
    """

    input_bits: int
    weight_bits: int
    order: Outer | None


def tile_counts(dataflow: Dataflow, folds: Folds, chunks: Chunks) -> tuple[int, int]:
    """Tiles along m (inputs) and along n (weights)."""
    if dataflow == "os":
        return folds.row_folds, folds.col_folds
    if dataflow == "ws":
        return chunks.count, folds.col_folds
    return folds.col_folds, chunks.count


def fetches(
    inputs: Operand, weights: Operand, input_tiles: int, weight_tiles: int, order: Outer
) -> Fetches:
    """DRAM reads in one loop order.

    Inputs have a tile for each part of m, weights for each part of n. Halo rows stay from one
    input tile to the next.
    """
    return Fetches(
        input_bits=inputs.fetched_bits(weight_tiles, outer=order == "input"),
        weight_bits=weights.fetched_bits(input_tiles, outer=order == "weight"),
        order=order,
    )
