"""Exact DRAM reads of convolutions: the array's address stream, replayed through the buffer.

Slow, its time growing with ``Fc m k`` requests: meant for validating the fast estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from hwmpq.cost.systolic_folds import Array, Folds
from hwmpq.cost.systolic_gemm import Gemm

Addresses = npt.NDArray[np.int64]
NOTHING: Final = -1

_PIECE: Final = 8192
"""Requests looked at together; short, since a phase that ends inside one repeats the rest."""


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


@lru_cache(maxsize=8)
def _diagonal(time: int, lanes: int) -> Addresses:
    """Order in which skewed lanes ask for a tile ``[time, lanes]``: lane l starts l later."""
    step, lane = np.indices((time, lanes))
    return np.lexsort((lane.ravel(), (step + lane).ravel()))


def _skewed(tile: Addresses) -> Addresses:
    return tile.ravel()[_diagonal(*tile.shape)]


def input_stream(gemm: Gemm, folds: Folds, array: Array) -> Iterator[Addresses]:
    """Input addresses in the order in which the array asks for them, fold by fold."""
    matrix = input_addresses(gemm)
    rows, cols = array.rows, array.cols
    for col_fold in range(folds.col_folds):
        for row_fold in range(folds.row_folds):
            part = slice(row_fold * rows, (row_fold + 1) * rows)
            if array.dataflow == "os":
                tile = _skewed(matrix[part].T)
            elif array.dataflow == "ws":
                tile = _skewed(matrix[:, part])
            else:
                pixels = slice(col_fold * cols, (col_fold + 1) * cols)
                # The last row goes in first, so that the first ends up at the top.
                tile = matrix[pixels, part].T[::-1].ravel()
            yield tile[tile >= 0]


class Buffer:
    """A read buffer whose active half is dropped whenever it holds ``half`` different words."""

    def __init__(self, half: int) -> None:
        self.half = half
        self._filled = 0
        self._phase = 0
        self._held = np.full(0, NOTHING, dtype=np.int64)

    def fetch(self, addresses: Addresses) -> int:
        """Words fetched for the next part of a stream."""
        starts = range(0, addresses.size, _PIECE)
        return sum(self._fetch(addresses[start : start + _PIECE]) for start in starts)

    def _fetch(self, rest: Addresses) -> int:
        short = int(rest.max()) + 1 - self._held.size
        if short > 0:
            self._held = np.concatenate([self._held, np.full(short, NOTHING, dtype=np.int64)])
        fetched = 0
        while rest.size:
            absent = np.flatnonzero(self._held[rest] != self._phase)
            first = np.unique(rest[absent], return_index=True)[1]
            room = self.half - self._filled
            if first.size < room:
                self._held[rest] = self._phase
                self._filled += first.size
                return fetched + first.size
            # The word that fills the half is the last of its phase.
            last = int(absent[np.partition(first, room - 1)[room - 1]])
            fetched += room
            self._filled, self._phase = 0, self._phase + 1
            rest = rest[last + 1 :]
        return fetched


def replay(stream: Iterable[Addresses], half: int) -> int:
    """Words fetched for a whole stream.

    >>> replay([np.array([1, 2, 1, 3, 1])], 2)
    5
    """
    buffer = Buffer(half)
    return sum(buffer.fetch(part) for part in stream)
