"""Fast estimate of a convolution's DRAM reads from SCALE-Sim's buffers.

The exact replay runs on a small likeness of the layer: one channel unless there are few, fewer
columns and as many fewer lanes, and a buffer as much smaller as the input is. What decides the
misses keeps its proportions: rows of input that the buffer holds, taps between two uses of a word,
pixels that the array takes at a time. The likeness is ours; its error is published with the model.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from hwmpq.cost.systolic_folds import Array, Folds, ceil_of
from hwmpq.cost.systolic_gemm import Gemm
from hwmpq.cost.systolic_phases import fetches, stream_of
from hwmpq.cost.systolic_replay import Addresses

_REQUESTS: Final = 60_000
"""Requests of one pass over the likeness, about; what one estimate may cost."""

_FEW_CHANNELS: Final = 8
"""Up to here all channels are kept for ws, whose folds then hold parts of taps."""

_PASSES: Final = 3
"""Passes that are replayed; later ones are like the last."""


def _addresses(gemm: Gemm, factor: int, channels: int) -> tuple[Addresses, int]:
    """Unrolled input of the likeness, ``[m, k]``, and its output columns.

    Columns are fewer by a factor and wrap around: a narrow image with edges would have too large a
    share of words that only the last windows read.
    """
    vertical, horizontal = gemm.vertical, gemm.horizontal
    reach = horizontal.dilation * (horizontal.kernel - 1) + 1
    least = min(horizontal.out, ceil_of(reach, horizontal.stride) + 1)
    out = max(least, ceil_of(horizontal.out, factor))
    columns = horizontal.positions()
    width = horizontal.size
    if out < horizontal.out:
        narrow = dataclasses.replace(horizontal, out=out, size=reach + out * horizontal.stride)
        width = out * horizontal.stride
        columns = dataclasses.replace(narrow, padding=0).positions() % width
    column, row = columns[None, :, None, :], vertical.positions()[:, None, :, None]
    stored = (row >= 0) & (column >= 0)
    pixel = (row * width + column)[..., None] * channels + np.arange(channels)
    address = np.where(stored[..., None], pixel, -1).reshape(vertical.out * out, -1)
    sample = np.arange(gemm.samples)[:, None, None] * (vertical.size * width * channels)
    stacked = np.where(address >= 0, address + sample, -1)
    return stacked.reshape(-1, address.shape[1]), out


def _pass(matrix: Addresses, array: Array, rows: int, lanes: int) -> Addresses:
    """Addresses of one pass over the likeness.

    Tiles of pixels with the taps one after another (os, is), or all pixels for each fold of taps
    that the rows hold at once (ws).

    Args:
        matrix: unrolled input of the likeness.
        array: the array.
        rows: rows of the array, in channels of the likeness.
        lanes: pixels of a tile.
    """
    pixels, taps = matrix.shape
    if array.dataflow != "ws":
        padded = np.full((ceil_of(pixels, lanes) * lanes, taps), -1, dtype=np.int64)
        padded[:pixels] = matrix
        return padded.reshape(-1, lanes, taps).transpose(0, 2, 1).ravel()
    fold = np.arange(taps) // rows
    parts = [matrix[:, fold == index].ravel() for index in range(int(fold[-1]) + 1)]
    return np.concatenate(parts)


def estimated_reads(gemm: Gemm, folds: Folds, array: Array, half: int) -> int:
    """Words fetched for one group whose input does not fit the active half of H words.

    Never fewer than the different words, never more than the requests.
    """
    few = array.dataflow == "ws" and gemm.channels <= _FEW_CHANNELS
    channels = gemm.channels if few else 1
    rows = max(1, array.rows * channels // gemm.channels)
    factor = ceil_of(gemm.m * gemm.k * channels, gemm.channels * _REQUESTS)
    matrix, width = _addresses(gemm, factor, channels)
    wanted = array.rows if array.dataflow == "os" else array.cols
    lanes = max(1, round(wanted * width / gemm.horizontal.out))
    once = _pass(matrix, array, rows, min(lanes, len(matrix)))
    once = once[once >= 0]
    stream = stream_of(once)
    scale = gemm.input_words / stream.words
    passes = 1 if array.dataflow == "is" else folds.col_folds
    fetched = fetches(stream, min(passes, _PASSES), max(1, round(half / scale)))
    reads = sum(fetched) + (passes - len(fetched)) * fetched[-1]
    return min(max(round(reads * scale), gemm.input_words), passes * gemm.input_reads)
