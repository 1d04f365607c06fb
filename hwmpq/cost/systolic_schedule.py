"""The schedule of a layer on a systolic array: the fastest of those that the machine can run.

A schedule is a mode of the elements, a number of groups at once, a cut of the stream into pieces
and a loop order. A smaller layer, or one of narrower operands, can run any schedule of a larger
one and costs no more in it; so the fastest schedule of the larger one is never the faster of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost import systolic_dram
from hwmpq.cost.systolic_folds import Array, ceil_of, drain_cycles
from hwmpq.cost.systolic_gemm import Gemm
from hwmpq.cost.systolic_latency import Exposed, Port, exposed, latency
from hwmpq.cost.systolic_mapping import (
    Placement,
    compute_cycles,
    packings,
    place,
    spilled_bits,
)
from hwmpq.cost.systolic_precision import accumulator_bits, modes
from hwmpq.cost.systolic_spec import SystolicBehavior, SystolicCompute
from hwmpq.cost.systolic_tiles import (
    Fetches,
    Operand,
    Outer,
    fetches,
    input_tile_words,
    longest_piece,
    tile_counts,
)
from hwmpq.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a layer is run at one precision, and what that takes.

    Attributes:
        placement: on the array.
        fetched: DRAM reads of one group's operands.
        spilled_bits: partial sums written to DRAM.
        compute_cycles: cycles the array is busy.
        latency_cycles: with the time it waits.
    """

    placement: Placement
    fetched: Fetches
    spilled_bits: int
    compute_cycles: int
    latency_cycles: int

    @property
    def fetched_bits(self) -> int:
        """DRAM reads of one group's operands."""
        return self.fetched.input_bits + self.fetched.weight_bits


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """A layer on the array, before a precision and tiles are chosen.

    Attributes:
        placement: with its stream in the longest pieces.
        exposed: operands of all groups on the array that no computing hides.
        compute_cycles: cycles the array is busy.
    """

    placement: Placement
    exposed: Exposed
    compute_cycles: int


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """Schedules of one layer on one accelerator.

    Attributes:
        gemm: the layer.
        accelerator: the machine.
    """

    gemm: Gemm
    accelerator: Accelerator
    _layouts: dict[tuple[Precision, tuple[int, int], int], _Layout] = field(default_factory=dict)
    _packings: dict[Precision, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    _tile_words: dict[int, int] = field(default_factory=dict)
    _longest: dict[int, int] = field(default_factory=dict)

    @cached_property
    def compute(self) -> SystolicCompute:
        """The array."""
        return cast("SystolicCompute", self.accelerator.compute)

    @cached_property
    def behavior(self) -> SystolicBehavior:
        """Choices of the machine."""
        return cast("SystolicBehavior", self.accelerator.behavior)

    @cached_property
    def _sizes(self) -> tuple[int, int, int]:
        machine = self.accelerator
        return (
            machine.memory_for("input").size_bits,
            machine.memory_for("weight").size_bits,
            machine.memory_for("output").size_bits,
        )

    @cached_property
    def _array(self) -> Array:
        return self.compute.array

    @cached_property
    def _port(self) -> Port:
        return Port(
            bandwidth_bits_per_cycle=self.accelerator.dram.bandwidth_bits_per_cycle,
            fetch_latency_cycles=self.behavior.dram_latency_cycles,
        )

    def best(self, precision: Precision, output_bits: int) -> Schedule:
        """The fastest schedule, of equally fast ones the one in the narrower mode.

        Where groups at once, pieces or loop order do not matter for time, the most groups, then
        the fewest DRAM bits, then the longest pieces are taken. SCALE-Sim's buffers leave nothing
        to choose.

        Args:
            precision: bits of the operands.
            output_bits: width of a written output.
        """
        if self.behavior.dram != "tiled":
            mode = modes(precision, self.compute.scaling)[0]
            layout = self._layout(precision, mode, self._groups(mode)[0])
            fetched = self._forgetful_fetches(layout.placement, precision)
            return self._schedule(layout, fetched, precision, output_bits)
        found: Schedule | None = None
        once = self._once(precision)
        for mode in modes(precision, self.compute.scaling):
            for packing in self._groups(mode):
                layout = self._layout(precision, mode, packing)
                least = self._schedule(layout, once, precision, output_bits)
                if found is not None and least.latency_cycles >= found.latency_cycles:
                    continue
                ways = [
                    self._schedule(cut, fetched, precision, output_bits)
                    for cut, fetched in self._tilings(layout, precision, once)
                ]
                way = min(ways, key=lambda way: (way.latency_cycles, way.fetched_bits))
                if found is None or way.latency_cycles < found.latency_cycles:
                    found = way
        return cast("Schedule", found)

    def _groups(self, mode: Precision) -> tuple[tuple[int, int], ...]:
        if mode not in self._packings:
            found = tuple(packings(self.gemm, mode, self.compute, self.behavior))
            self._packings[mode] = found
        return self._packings[mode]

    def _layout(self, precision: Precision, mode: Precision, packing: tuple[int, int]) -> _Layout:
        sum_bits = self.compute.accumulator_bits or accumulator_bits(precision, self.gemm.k)
        key = (mode, packing, sum_bits)
        if key not in self._layouts:
            placement = place(
                self.gemm, sum_bits, mode, packing, self.compute, self.behavior, self._sizes[2]
            )
            rate = placement.rate
            edge = exposed(self.gemm, self.compute, together=rate.together, apart=rate.apart)
            self._layouts[key] = _Layout(
                placement=placement,
                exposed=Exposed(
                    inputs=placement.packed * edge.inputs,
                    weights=placement.packed * edge.weights,
                    outputs=placement.packed * edge.outputs,
                ),
                compute_cycles=compute_cycles(placement, self.compute, self.behavior),
            )
        return self._layouts[key]

    def _once(self, precision: Precision) -> Fetches:
        """Every operand read once, the least there is."""
        return Fetches(
            input_bits=self.gemm.input_words * precision.activation_bits,
            weight_bits=self.gemm.k * self.gemm.n * precision.weight_bits,
            order=None,
        )

    def _tilings(
        self, layout: _Layout, precision: Precision, once: Fetches
    ) -> Iterator[tuple[_Layout, Fetches]]:
        """Both loop orders, and tiles small enough to stay in their buffer."""
        placement = layout.placement
        for order in ("weight", "input"):
            yield layout, self._fetches(placement, precision, once, order)
        for order, cut in self._cuts(placement, precision):
            cycles = compute_cycles(cut, self.compute, self.behavior)
            yield (
                replace(layout, placement=cut, compute_cycles=cycles),
                self._fetches(cut, precision, once, order),
            )

    def _cuts(
        self, placement: Placement, precision: Precision
    ) -> Iterator[tuple[Outer, Placement]]:
        """Placements with more tiles, so that one stays, by the operand that it is of.

        Inputs have a tile for each piece of the stream (ws) or for each fold along the pixels (os,
        is), which then leaves elements idle; weights have one for each piece of the stream (is).
        """
        gemm, dataflow, folds = self.gemm, self.compute.dataflow, placement.folds
        pixels = self._longest_run(self._sizes[0] // 2 // placement.packed, precision)
        if dataflow == "ws":
            yield from (("input", cut) for cut in _shorter_pieces(placement, pixels))
            return
        least = folds.row_folds if dataflow == "os" else folds.col_folds
        if 1 <= pixels < ceil_of(gemm.m, least):
            count = ceil_of(gemm.m, pixels)
            rows, cols = (count, folds.col_folds) if dataflow == "os" else (folds.row_folds, count)
            more = replace(folds, row_folds=rows, col_folds=cols)
            yield "input", replace(placement, folds=more)
        if dataflow == "is":
            half = self._sizes[1] // 2 // placement.packed
            steps = half // (gemm.k * precision.weight_bits) // placement.rate.apart
            yield from (("weight", cut) for cut in _shorter_pieces(placement, steps))

    def _longest_run(self, bits: int, precision: Precision) -> int:
        """Most output pixels in a run whose inputs fit."""
        words = bits // precision.activation_bits
        if words not in self._longest:
            self._longest[words] = longest_piece(self.gemm, words)
        return self._longest[words]

    def _fetches(
        self, placement: Placement, precision: Precision, once: Fetches, order: Outer
    ) -> Fetches:
        """DRAM reads of one group's operands, tile by tile."""
        gemm, compute, chunks = self.gemm, self.compute, placement.chunks
        input_size, weight_size, _ = self._sizes
        input_tiles, weight_tiles = tile_counts(compute.dataflow, placement.folds, chunks)
        pixels = ceil_of(gemm.m, input_tiles)
        columns = chunks.size if compute.dataflow == "is" else compute.cols
        channels = min(gemm.n, columns * placement.rate.apart)
        if pixels not in self._tile_words:
            self._tile_words[pixels] = input_tile_words(gemm, pixels)
        return fetches(
            Operand(
                total_bits=once.input_bits,
                tile_bits=self._tile_words[pixels] * precision.activation_bits,
                half_bits=input_size // 2 // placement.packed,
            ),
            Operand(
                total_bits=once.weight_bits,
                tile_bits=gemm.k * channels * precision.weight_bits,
                half_bits=weight_size // 2 // placement.packed,
            ),
            input_tiles,
            weight_tiles,
            order,
        )

    def _forgetful_fetches(self, placement: Placement, precision: Precision) -> Fetches:
        """DRAM reads of one group's operands by SCALE-Sim's buffers."""
        gemm, behavior = self.gemm, self.behavior
        array, folds, word = self._array, placement.folds, behavior.word_bits
        input_half = systolic_dram.active_half(self._sizes[0], precision.activation_bits, word)
        weight_half = systolic_dram.active_half(self._sizes[1], precision.weight_bits, word)
        exact = behavior.dram == "replay"
        input_words = systolic_dram.input_reads(gemm, folds, array, input_half, exact=exact)
        weight_words = systolic_dram.weight_reads(gemm.n, gemm.k, folds, array, weight_half)
        return Fetches(
            input_bits=input_words * precision.activation_bits,
            weight_bits=weight_words * precision.weight_bits,
            order=None,
        )

    def _schedule(
        self, layout: _Layout, fetched: Fetches, precision: Precision, output_bits: int
    ) -> Schedule:
        """A schedule with its time."""
        gemm, behavior = self.gemm, self.behavior
        placement, edge = layout.placement, layout.exposed
        spilled = spilled_bits(gemm, placement, behavior, output_bits)
        time = layout.compute_cycles
        if behavior.stalls == "double_buffered":
            reads = gemm.groups * (fetched.input_bits + fetched.weight_bits)
            time = latency(
                time,
                drain_cycles(self._array),
                placement.fold_runs,
                read_bits=reads + (spilled if behavior.partial_sum_reads else 0),
                write_bits=gemm.m * gemm.n * gemm.groups * output_bits + spilled,
                first_bits=edge.inputs * precision.activation_bits
                + edge.weights * precision.weight_bits,
                last_bits=edge.outputs * output_bits,
                port=self._port,
            )
        return Schedule(
            placement=placement,
            fetched=fetched,
            spilled_bits=spilled,
            compute_cycles=layout.compute_cycles,
            latency_cycles=time,
        )


def _shorter_pieces(placement: Placement, steps: int) -> Iterator[Placement]:
    """The placement with its stream in pieces of at most ``steps``, if that is a change."""
    stream, chunks = placement.folds.stream, placement.chunks
    if 1 <= steps < chunks.size:
        count = ceil_of(stream, steps)
        shorter = replace(chunks, count=count, size=ceil_of(stream, count))
        yield replace(placement, chunks=shorter)
