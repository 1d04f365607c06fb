"""Folds of a systolic array: how often a product is laid over it, and for how long.

Equations are those of SCALE-Sim 3.0.0 (``compute/systolic_compute_{os,ws,is}.py``), which its
traces obey exactly, with its slips as separate arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dataflow = Literal["os", "ws", "is"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Processing elements.

    Attributes:
        dataflow: operand that stays in the array: outputs, weights or inputs.
        rows: R.
        cols: C.
    """

    dataflow: Dataflow
    rows: int
    cols: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """A product laid over the array.

    Attributes:
        row_dim: Sr, the dimension along the rows.
        col_dim: Sc, the dimension along the columns.
        stream: T, the dimension that passes in time.
        row_folds: Fr = ceil(Sr / R).
        col_folds: Fc = ceil(Sc / C).
    """

    row_dim: int
    col_dim: int
    stream: int
    row_folds: int
    col_folds: int

    @property
    def count(self) -> int:
        """Folds altogether."""
        return self.row_folds * self.col_folds


def ceil_of(numerator: int, denominator: int) -> int:
    """Integer division rounded up.

    >>> ceil_of(33, 32)
    2
    """
    return -(-numerator // denominator)


def fold(m: int, n: int, k: int, array: Array, *, together: int = 1, apart: int = 1) -> Folds:
    """Lay ``[m, k] x [k, n]`` over the array.

    Products that an element adds up shorten k, products that it keeps apart shorten n:

        os: Sr = m, Sc = n, T = k      ws: Sr = k, Sc = n, T = m      is: Sr = k, Sc = m, T = n

    Args:
        m: output pixels.
        n: output channels.
        k: depth.
        array: the array.
        together: products that one element forms and adds up per cycle.
        apart: products that one element forms for different output channels per cycle.

    >>> folds = fold(197, 197, 64, Array(dataflow="os", rows=32, cols=32), together=16)
    >>> folds.count, folds.stream
    (49, 4)
    """
    depth, outputs = ceil_of(k, together), ceil_of(n, apart)
    row_dim, col_dim, stream = {
        "os": (m, outputs, depth),
        "ws": (depth, outputs, m),
        "is": (depth, m, outputs),
    }[array.dataflow]
    return Folds(
        row_dim=row_dim,
        col_dim=col_dim,
        stream=stream,
        row_folds=ceil_of(row_dim, array.rows),
        col_folds=ceil_of(col_dim, array.cols),
    )


def fold_cycles(stream: int, array: Array) -> int:
    """Cycles of one fold: load, stream, fill and drain.

    ``os: T + R + C - 2``, ``ws, is: T + 2 R + C - 2``: R cycles push the stationary operand in,
    and operands enter along a diagonal. A partly filled fold is not shorter.

    >>> fold_cycles(64, Array(dataflow="os", rows=32, cols=32))
    126
    """
    load = 0 if array.dataflow == "os" else array.rows
    return load + stream + drain_cycles(array)


def serial_cycles(
    folds: int, stream: int, array: Array, *, pieces: int = 1, passes: int = 1
) -> int:
    """Cycles of folds that do not overlap: ``Fr Fc fold``, each piece of the stream a fold.

    Arguments are those of `overlapped_cycles`.
    """
    return folds * (stream * passes + pieces * fold_cycles(0, array))


def overlapped_cycles(
    folds: int, stream: int, array: Array, *, pieces: int = 1, passes: int = 1
) -> int:
    """Cycles of folds whose stationary operand changes behind the running one.

    ``R + folds sum over pieces of max(T_i, R) + R + C - 2``: shadow registers take the next
    weights (ws), inputs (is) or let finished outputs leave (os) in R cycles while the array works.

    Args:
        folds: how many.
        stream: steps of one fold, cut into pieces as equal as whole steps allow.
        array: the array.
        pieces: of the stream.
        passes: cycles of one step.

    >>> overlapped_cycles(3, 100, Array(dataflow="ws", rows=32, cols=32))
    394
    >>> overlapped_cycles(1, 65, Array(dataflow="ws", rows=32, cols=32), pieces=2)
    159
    """
    load = 0 if array.dataflow == "os" else array.rows
    short, longer = divmod(stream, pieces)
    steps = longer * max((short + 1) * passes, array.rows)
    steps += (pieces - longer) * max(short * passes, array.rows)
    return load + folds * steps + drain_cycles(array)


def drain_cycles(array: Array) -> int:
    """Cycles from the last operand's entering to the last output's leaving: ``R + C - 2``."""
    return array.rows + array.cols - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """On-chip accesses of one product, in words.

    Attributes:
        input_reads: from the input buffer.
        weight_reads: from the weight buffer.
        output_writes: to the output buffer, every partial sum counted.
        partial_sum_reads: from the output buffer, to go on accumulating.
    """

    input_reads: int
    weight_reads: int
    output_writes: int
    partial_sum_reads: int


def accesses(
    m: int, n: int, k: int, folds: Folds, dataflow: Dataflow, *, input_reads: int | None = None
) -> Accesses:
    """Words that the array asks for and delivers.

    ======== =========== ============ ============ =============
    dataflow input reads weight reads output writes partial sums
    ======== =========== ============ ============ =============
    os       Fc m k      Fr n k       m n          0
    ws       Fc m k      n k          Fr m n       (Fr - 1) m n
    is       m k         Fc n k       Fr m n       (Fr - 1) m n
    ======== =========== ============ ============ =============

    Args:
        m: output pixels.
        n: output channels.
        k: depth.
        folds: how the product lies over the array.
        dataflow: what stays in the array.
        input_reads: entries of the unrolled input that are read, ``m k`` unless some are padding.
    """
    entries = m * k if input_reads is None else input_reads
    if dataflow == "os":
        return Accesses(
            input_reads=folds.col_folds * entries,
            weight_reads=folds.row_folds * n * k,
            output_writes=m * n,
            partial_sum_reads=0,
        )
    by_weight = dataflow == "ws"
    return Accesses(
        input_reads=entries * (folds.col_folds if by_weight else 1),
        weight_reads=n * k * (1 if by_weight else folds.col_folds),
        output_writes=folds.row_folds * m * n,
        partial_sum_reads=(folds.row_folds - 1) * m * n,
    )


def groups_per_fold(m: int, n: int, k: int, array: Array, groups: int) -> int:
    """Groups that lie on the array at once, on blocks along its diagonal.

    A group takes Sr rows and Sc columns of its own; the elements of its rows in other groups'
    columns hold zeros. Depthwise convolutions with k = 9 so share 32 weight-stationary rows three
    at a time.

    >>> groups_per_fold(3136, 1, 9, Array(dataflow="ws", rows=32, cols=32), 64)
    3
    """
    alone = fold(m, n, k, array)
    return max(1, min(array.rows // alone.row_dim, array.cols // alone.col_dim, groups))
