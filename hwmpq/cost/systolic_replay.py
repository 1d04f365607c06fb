"""Exact DRAM reads of convolutions: the array's address stream, replayed through the buffer.

Slow, time and memory growing with ``Fc m k`` words: meant for validating the fast estimate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hwmpq.cost.systolic_folds import Array, Folds, ceil_of
from hwmpq.cost.systolic_gemm import Gemm

Addresses = npt.NDArray[np.int64]
NOTHING = -1


def input_addresses(gemm: Gemm) -> Addresses:
    """Addresses of the unrolled input of one group, ``[m, k]``, padding as -1.

    Channels vary fastest, then columns, rows and samples, in memory and within a window.
    """
    rows, columns = gemm.vertical.positions(), gemm.horizontal.positions()
    height, width = gemm.vertical.size, gemm.horizontal.size
    row = rows[:, None, :, None]
    column = columns[None, :, None, :]
    pixel = np.where((row >= 0) & (column >= 0), row * width + column, NOTHING)
    channel = np.arange(gemm.channels, dtype=np.int64)
    address = pixel[..., None] * gemm.channels + channel
    address = np.where(pixel[..., None] >= 0, address, NOTHING).reshape(-1, gemm.k)
    sample = np.arange(gemm.samples, dtype=np.int64) * (height * width * gemm.channels)
    stacked = np.where(address >= 0, address + sample[:, None, None], NOTHING)
    return stacked.reshape(gemm.m, gemm.k)


def _diagonal(tile: Addresses) -> Addresses:
    """A tile ``[time, lane]`` in the order in which skewed lanes ask: lane l starts l later."""
    time, lane = np.indices(tile.shape)
    order = np.lexsort((lane.ravel(), (time + lane).ravel()))
    return tile.ravel()[order]


def input_stream(gemm: Gemm, folds: Folds, array: Array) -> Iterator[Addresses]:
    """Input addresses in the order in which the array asks for them, fold by fold."""
    matrix = input_addresses(gemm)
    rows, cols = array.rows, array.cols
    for col_fold in range(folds.col_folds):
        for row_fold in range(folds.row_folds):
            part = slice(row_fold * rows, (row_fold + 1) * rows)
            if array.dataflow == "os":
                tile = _diagonal(matrix[part].T)
            elif array.dataflow == "ws":
                tile = _diagonal(matrix[:, part])
            else:
                pixels = slice(col_fold * cols, (col_fold + 1) * cols)
                # The last row goes in first, so that the first ends up at the top.
                tile = matrix[pixels, part].T[::-1].ravel()
            yield tile[tile >= 0]


def replay(stream: Iterator[Addresses], half: int) -> int:
    """Words fetched for a stream by a buffer whose active half holds ``half`` words.

    >>> replay(iter([np.array([1, 2, 1, 3, 1])]), 2)
    4
    """
    addresses = np.concatenate(list(stream))
    before = _previous(addresses)
    fetched = start = 0
    while start < len(addresses):
        span = half
        while True:
            stop = min(start + span, len(addresses))
            new = np.cumsum(before[start:stop] < start)
            if new[-1] >= half or stop == len(addresses):
                break
            span *= 2
        end = int(np.searchsorted(new, half))
        fetched += min(int(new[-1]), half)
        start += end + 1
    return fetched


def _previous(addresses: Addresses) -> Addresses:
    """Index at which each address was asked for before, -1 the first time."""
    order = np.argsort(addresses, kind="stable")
    ordered = addresses[order]
    before = np.full(len(addresses), NOTHING, dtype=np.int64)
    again = ordered[1:] == ordered[:-1]
    before[order[1:][again]] = order[:-1][again]
    return before


def requests(gemm: Gemm, folds: Folds, array: Array) -> int:
    """Length of the stream of input addresses, to bound the memory of a replay."""
    passes = 1 if array.dataflow == "is" else ceil_of(folds.col_dim, array.cols)
    return passes * gemm.m * gemm.k
