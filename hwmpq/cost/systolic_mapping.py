"""How one layer lies on a systolic array at one precision, in whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwmpq.cost.systolic_folds import (
    Accesses,
    Folds,
    accesses,
    ceil_of,
    fold,
    groups_per_fold,
    overlapped_cycles,
    serial_cycles,
)
from hwmpq.cost.systolic_gemm import Gemm
from hwmpq.cost.systolic_precision import Rate, rate
from hwmpq.cost.systolic_spec import SystolicBehavior, SystolicCompute
from hwmpq.cost.systolic_tiles import Chunks, chunk_stream
from hwmpq.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A layer on the array at one precision.

    Attributes:
        mode: widths that the elements compute at.
        rate: what an element does in that mode.
        folds: folds of one group.
        chunks: pieces of the streamed dimension.
        packed: groups on the array at once.
        rounds: sets of groups, one after another.
        repeats: times every fold is run, once a pass unless passes run inside it.
        step_cycles: cycles of one step of the stream, one a pass that runs inside a fold.
        sum_bits: width of partial sums.
        visits: times that every output is written, the last time finished.
    """

    mode: Precision
    rate: Rate
    folds: Folds
    chunks: Chunks
    packed: int
    rounds: int
    repeats: int
    step_cycles: int
    sum_bits: int
    visits: int

    @property
    def fold_runs(self) -> int:
        """Folds of the whole layer, repeats counted."""
        return self.rounds * self.chunks.count * self.folds.count * self.repeats

    def __str__(self) -> str:
        steps = self.chunks.size * self.step_cycles
        text = f"{self.folds.row_folds}x{self.folds.col_folds} folds of {steps}"
        if self.chunks.count > 1:
            text += f", {self.chunks.count} chunks"
        return f"{text}, {self.packed} groups at once" if self.packed > 1 else text


def packings(
    gemm: Gemm, mode: Precision, compute: SystolicCompute, behavior: SystolicBehavior
) -> Iterator[tuple[int, int]]:
    """Groups on the array at once and sets of groups, the fewest sets first.

    No set is larger than its number asks for.
    """
    speed = rate(mode, compute.scaling)
    shape = (gemm.m, ceil_of(gemm.n, speed.apart), ceil_of(gemm.k, speed.together))
    most = 1
    if behavior.groups == "packed" and gemm.groups > 1:
        most = groups_per_fold(*shape, compute.array, gemm.groups)
    while most > 0:
        rounds = ceil_of(gemm.groups, most)
        packed = ceil_of(gemm.groups, rounds)
        yield packed, rounds
        most = packed - 1


def place(
    gemm: Gemm,
    sum_bits: int,
    mode: Precision,
    packing: tuple[int, int],
    compute: SystolicCompute,
    behavior: SystolicBehavior,
    output_buffer_bits: int,
) -> Placement:
    """Lay a layer over the array, its stream in the longest pieces that keep sums on chip.

    Args:
        gemm: the layer.
        sum_bits: width of partial sums.
        mode: widths that the elements compute at.
        packing: groups at once, and sets of groups.
        compute: the array.
        behavior: choices of the machine.
        output_buffer_bits: size of the memory that holds outputs.
    """
    array = compute.array
    speed = rate(mode, compute.scaling)
    folds = fold(gemm.m, gemm.n, gemm.k, array, together=speed.together, apart=speed.apart)
    packed, rounds = packing
    inside = compute.scaling.passes == "inside_fold"
    repeats = 1 if inside else speed.passes
    in_array = 1 if array.dataflow == "os" else folds.row_folds
    visits = in_array * repeats
    chunks = Chunks(count=1, size=folds.stream, on_chip=False)
    if visits > 1 and behavior.partial_sums == "on_chip":
        sums = min(array.cols, folds.col_dim * packed) * speed.apart
        if array.dataflow == "os":
            fits = sums * min(array.rows, folds.row_dim) * sum_bits <= output_buffer_bits // 2
            chunks = Chunks(count=1, size=folds.stream, on_chip=fits)
        else:
            chunks = chunk_stream(folds.stream, sums, sum_bits, output_buffer_bits // 2)
    return Placement(
        mode=mode,
        rate=speed,
        folds=folds,
        chunks=chunks,
        packed=packed,
        rounds=rounds,
        repeats=repeats,
        step_cycles=speed.passes if inside else 1,
        sum_bits=sum_bits,
        visits=visits,
    )


def compute_cycles(
    placement: Placement, compute: SystolicCompute, behavior: SystolicBehavior
) -> int:
    """Cycles of all folds, less one a layer where the last is not counted."""
    schedule = overlapped_cycles if compute.weight_double_buffer else serial_cycles
    pieces = placement.chunks.count
    cycles = schedule(
        placement.fold_runs // pieces,
        placement.folds.stream,
        compute.array,
        pieces=pieces,
        passes=placement.step_cycles,
    )
    return cycles - (placement.rounds if behavior.uncounted_last_cycle else 0)


def spilled_bits(
    gemm: Gemm, placement: Placement, behavior: SystolicBehavior, output_bits: int
) -> int:
    """Partial sums that go to DRAM, written; as many are read back.

    Each is as wide as the accumulator, or, where every one is sent to DRAM as in SCALE-Sim, as
    wide as an output.
    """
    return 0 if placement.chunks.on_chip else _sums(gemm, placement, behavior, output_bits)


def _sums(gemm: Gemm, placement: Placement, behavior: SystolicBehavior, output_bits: int) -> int:
    width = output_bits if behavior.partial_sums == "dram" else placement.sum_bits
    return (placement.visits - 1) * gemm.m * gemm.n * gemm.groups * width


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayTraffic:
    """Bits between the array and its buffers for a whole layer.

    Attributes:
        input_reads: from the input buffer.
        weight_reads: from the weight buffer.
        output_writes: to the output buffer.
        sum_reads: of partial sums, from the output buffer.
    """

    input_reads: int
    weight_reads: int
    output_writes: int
    sum_reads: int


def array_traffic(
    gemm: Gemm,
    placement: Placement,
    precision: Precision,
    compute: SystolicCompute,
    behavior: SystolicBehavior,
    output_bits: int,
) -> ArrayTraffic:
    """Bits that the array reads and writes."""
    dataflow, groups = compute.dataflow, gemm.groups
    entries = gemm.m * gemm.k if behavior.padding == "stored" else gemm.input_reads
    words: Accesses = accesses(
        gemm.m, gemm.n, gemm.k, placement.folds, dataflow, input_reads=entries
    )
    again = placement.chunks.count
    outputs = gemm.m * gemm.n * groups
    sums = _sums(gemm, placement, behavior, output_bits)
    slip = 0
    if behavior.extra_output_writes and dataflow == "os":
        slip = placement.folds.count * placement.repeats * groups * (compute.rows + compute.cols)
    return ArrayTraffic(
        input_reads=words.input_reads
        * (again if dataflow == "is" else 1)
        * placement.rate.input_reads
        * groups
        * precision.activation_bits,
        weight_reads=words.weight_reads
        * (again if dataflow == "ws" else 1)
        * placement.rate.weight_reads
        * groups
        * precision.weight_bits,
        output_writes=outputs * output_bits + sums + slip * output_bits,
        sum_reads=sums if behavior.partial_sum_reads else 0,
    )
