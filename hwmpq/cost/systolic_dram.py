"""DRAM reads of SCALE-Sim's double buffers, in closed form where one exists.

A read buffer is 100 sets, half of them active. Words that the array asks for join the active half
until it holds H different ones; then the whole half is dropped and filling starts again. DRAM
reads are the different words of all these phases (``memory/read_buffer_estimate_bw.py`` of
SCALE-Sim 3.0.0). Nothing stalls.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from hwmpq.cost.systolic_estimate import estimated_reads
from hwmpq.cost.systolic_folds import Array, Folds, ceil_of
from hwmpq.cost.systolic_gemm import Gemm
from hwmpq.cost.systolic_replay import input_stream, replay

_ENDLESS: Final = 2**62


def active_words(size_words: int) -> int:
    """Words of the active half of a buffer: ``H = 50 floor(size / 100)``.

    A buffer of less than 100 words has empty sets, which never fill: nothing is ever dropped.

    >>> active_words(256 * 1024)
    131050
    """
    return 50 * (size_words // 100) or _ENDLESS


def cyclic_reads(words: int, passes: int, half: int) -> int:
    """Words fetched when ``words`` different ones are asked for in order, ``passes`` times.

    ``D`` if all fit below H or there is one pass, else ``passes D``: a phase ends before any word
    comes round again.

    >>> cyclic_reads(100, 3, 101), cyclic_reads(100, 3, 100)
    (100, 300)
    """
    return words if words < half or passes == 1 else passes * words


def tiled_reads(tile_words: int, tiles: int, last_words: int, repeats: int, half: int) -> int:
    """Words fetched when tiles come one after another, each asked for ``repeats`` times in a row.

    The filter of an output-stationary array: a column tile of s words is asked for once a row
    fold. With a fill of ``cnt`` words of the phase so far, a tile takes

        s >= H         repeats s, cnt = (cnt + repeats s) mod H
        cnt + s < H    s, cnt = cnt + s
        else           s + (H - cnt) if repeats > 1, cnt = s
                       s             otherwise,      cnt = s - (H - cnt)

    The tile that straddles the end of a phase loses the part that came before it.

    Args:
        tile_words: words of every tile but the last.
        tiles: number of tiles.
        last_words: words of the last tile.
        repeats: times a tile is asked for in a row.
        half: H.
    """
    fetched = fill = 0
    for tile in range(tiles):
        words = tile_words if tile < tiles - 1 else last_words
        if words >= half:
            fetched += repeats * words
            fill = (fill + repeats * words) % half
        elif fill + words < half:
            fetched += words
            fill += words
        else:
            room = half - fill
            fetched += words + (room if repeats > 1 else 0)
            fill = words if repeats > 1 else words - room
    return fetched


def active_half(size_bits: int, operand_bits: int, word_bits: int | None) -> int:
    """Words of the active half of a buffer, operands taking whole words if these have a width.

    >>> active_half(2097152, 4, 8), active_half(2097152, 4, None)
    (131050, 262100)
    """
    if word_bits is None:
        return active_words(size_bits // operand_bits)
    return active_words(size_bits // (word_bits * ceil_of(operand_bits, word_bits)))


def weight_reads(n: int, k: int, folds: Folds, array: Array, half: int) -> int:
    """Weights fetched for one product ``[m, k] x [k, n]``."""
    if array.dataflow == "ws":
        return n * k
    if array.dataflow == "is":
        return cyclic_reads(n * k, folds.col_folds, half)
    width = ceil_of(n, folds.col_dim) * array.cols
    last = n - (folds.col_folds - 1) * width
    return tiled_reads(k * width, folds.col_folds, k * last, folds.row_folds, half)


@lru_cache(maxsize=1024)
def input_reads(gemm: Gemm, folds: Folds, array: Array, half: int, *, exact: bool) -> int:
    """Inputs fetched for one group.

    Everything is fetched once if it stays below H. Otherwise a layer whose unrolled input repeats
    no address is read in the same order again and again; one that does is replayed or estimated.
    """
    words = gemm.input_words
    if words < half:
        return words
    if not gemm.repeats:
        return words if array.dataflow == "is" else cyclic_reads(words, folds.col_folds, half)
    if exact:
        return replay(input_stream(gemm, folds, array), half)
    return estimated_reads(gemm, folds, array, half)
