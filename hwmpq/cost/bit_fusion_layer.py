"""One layer on a bit-fusion machine, prepared for every tiling: sizes, cycles and traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hwmpq.accelerator.spec import Memory
from hwmpq.cost.base import IntArray, ceil_div
from hwmpq.cost.bit_fusion_array import Fusion, Steps
from hwmpq.cost.bit_fusion_spec import BitFusionBehavior
from hwmpq.cost.bit_fusion_tiles import (
    Factors,
    Grown,
    input_factors,
    output_factors,
    pick,
    tile_grid,
    weight_factors,
)
from hwmpq.cost.loop_outcomes import outcomes
from hwmpq.cost.tiling import BoolArray, Loop, Order, TileGrid
from hwmpq.precision import Precision


def transfer_cycles(bits: IntArray, bits_per_cycle: float) -> IntArray:
    """Cycles of a transfer, rounded up.

    >>> transfer_cycles(np.array([0, 192, 193]), 192.0).tolist()
    [0, 1, 2]
    """
    if bits_per_cycle.is_integer():
        return ceil_div(bits, int(bits_per_cycle))
    return np.ceil(bits / bits_per_cycle).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Buffers:
    """The three on-chip memories and the width of the DRAM port."""

    weight: Memory
    input: Memory
    output: Memory
    bits_per_cycle: float


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pairs of a precision and a tiling; every array is ``[candidates]``.

    Attributes:
        precision: index of the precision.
        fusion: its fusion class.
        weight_bits: its weight bits.
        activation_bits: its activation bits.
        tiling: index of the tiling.
    """

    precision: IntArray
    fusion: IntArray
    weight_bits: IntArray
    activation_bits: IntArray
    tiling: IntArray

    def take(self, index: IntArray | BoolArray | slice) -> Candidates:
        """Some of them."""
        return Candidates(
            self.precision[index],
            self.fusion[index],
            self.weight_bits[index],
            self.activation_bits[index],
            self.tiling[index],
        )

    def __len__(self) -> int:
        return len(self.tiling)


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """What candidates move and how long they take; every array has the same shape.

    Attributes:
        weights: bits of weights read from DRAM.
        inputs: bits of inputs read from DRAM.
        fills: bits of partial sums read from DRAM.
        drains: bits of sums that leave the output buffer.
        written: bits written to DRAM.
        compute_cycles: cycles the array is busy.
        cycles: cycles in all.
    """

    weights: IntArray
    inputs: IntArray
    fills: IntArray
    drains: IntArray
    written: IntArray
    compute_cycles: IntArray
    cycles: IntArray

    def take(self, index: tuple[IntArray, ...]) -> Traffic:
        """Chosen entries."""
        return Traffic(
            self.weights[index],
            self.inputs[index],
            self.fills[index],
            self.drains[index],
            self.written[index],
            self.compute_cycles[index],
            self.cycles[index],
        )

    @property
    def dram_read(self) -> IntArray:
        """Bits read from DRAM."""
        return self.weights + self.inputs + self.fills


@dataclass(frozen=True, slots=True, eq=False)
class OrderedTraffic:
    """Traffic of candidates in every loop order that makes a difference, ``[outcomes]`` each.

    Attributes:
        candidate: index of the candidate, ascending.
        order: index of the first of the orders that move and take the same.
        traffic: what they move and take.
    """

    candidate: IntArray
    order: IntArray
    traffic: Traffic


def _possible(
    grid: TileGrid,
    steps: Steps,
    behavior: BitFusionBehavior,
    buffers: Buffers,
    narrowest: Precision,
) -> TileGrid:
    """Drop tilings that fit at no precision, padding aside; keep one, for the error to name."""
    b, ow, oh, ic, oc = grid.sizes
    pixels, weights = b * ow * oh, steps.taps * ic * oc
    fits = 2 * weights * narrowest.weight_bits <= buffers.weight.size_bits
    # A window moves by at least one input per output, so tiles hold at least their pixels.
    inputs = pixels * ic * (steps.taps if steps.im2col else 1)
    fits &= 2 * inputs * narrowest.activation_bits <= buffers.input.size_bits
    if behavior.output_tile == "checked":
        fits &= 2 * pixels * oc * behavior.accumulator_bits <= buffers.output.size_bits
    fits[0] |= not fits.any()
    return TileGrid(grid.extents, grid.sizes[:, fits], grid.used)


def idle_loops_count(behavior: BitFusionBehavior) -> bool:
    """Whether the place of a loop of one trip changes what an order costs.

    It does under ``write_back_size: fills``, which asks whether any loop was absorbed.
    """
    return behavior.write_back_size == "fills"


@dataclass(frozen=True, slots=True, eq=False)
class TiledLayer:
    """A layer, one group of it, under every candidate tiling.

    Attributes:
        steps: the layer's loops on the array.
        fusion: the fusion classes of the precisions asked for.
        behavior: the model's choices.
        buffers: the memories.
        grid: the tilings.
        weights: sizes of weight tiles.
        inputs: sizes of input tiles.
        outputs: sizes of output tiles.
        grown: sizes of weights, inputs and outputs that are kept while loops run.
        compute_cycles: cycles of the array, ``[classes, tilings]``.
    """

    steps: Steps
    fusion: Fusion
    behavior: BitFusionBehavior
    buffers: Buffers
    grid: TileGrid
    weights: Factors
    inputs: Factors
    outputs: Factors
    grown: tuple[Grown, Grown, Grown]
    compute_cycles: IntArray

    @classmethod
    def prepare(
        cls,
        steps: Steps,
        fusion: Fusion,
        behavior: BitFusionBehavior,
        buffers: Buffers,
        narrowest: Precision,
    ) -> TiledLayer:
        """Size every tiling that has a chance to fit at the narrowest of some precisions."""
        grid = tile_grid(steps, behavior)
        grid = _possible(grid, steps, behavior, buffers, narrowest)
        running = tuple(
            loop for loop in Loop if idle_loops_count(behavior) or (grid.trips[loop] > 1).any()
        )
        weights = weight_factors(grid, steps, fusion, behavior)
        inputs = input_factors(grid, steps, fusion, behavior)
        outputs = output_factors(grid, steps, fusion, behavior)
        return cls(
            steps=steps,
            fusion=fusion,
            behavior=behavior,
            buffers=buffers,
            grid=grid,
            weights=weights,
            inputs=inputs,
            outputs=outputs,
            grown=(weights.grown(running), inputs.grown(running), outputs.grown(running)),
            compute_cycles=steps.compute_cycles(grid, fusion),
        )

    def fits(
        self, fusion: IntArray, weight_bits: IntArray, activation_bits: IntArray
    ) -> BoolArray:
        """Whether a tile of each operand fits half its buffer, ``[precisions, tilings]``."""
        weights, inputs, outputs = self.of_classes("tile_elements", fusion)
        buffers, behavior = self.buffers, self.behavior
        fit = 2 * weights * weight_bits[:, None] <= buffers.weight.size_bits
        fit = fit & (2 * inputs * activation_bits[:, None] <= buffers.input.size_bits)
        if behavior.output_tile == "checked":
            fit = fit & (2 * outputs * behavior.accumulator_bits <= buffers.output.size_bits)
        return fit

    def of_classes(
        self, sizes: Literal["tile_elements", "all_elements"], fusion: IntArray
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Sizes of weights, inputs and outputs for the classes given, ``[classes, tilings]``."""
        found = [getattr(factors, sizes) for factors in (self.weights, self.inputs, self.outputs)]
        weights, inputs, outputs = (size[fusion if len(size) > 1 else [0]] for size in found)
        return weights, inputs, outputs

    def finished_bits(self, activation_bits: IntArray) -> IntArray:
        """Width of finished outputs in DRAM."""
        width = self.behavior.accumulator_bits
        if self.behavior.written_outputs == "consumer":
            return np.minimum(activation_bits, width)
        return np.full_like(activation_bits, width)

    def traffic(self, candidates: Candidates, orders: tuple[Order, ...]) -> OrderedTraffic:
        """What every loop order that makes a difference moves and takes."""
        behavior, buffers = self.behavior, self.buffers
        w, a = candidates.weight_bits, candidates.activation_bits
        width = np.full_like(a, behavior.accumulator_bits)
        growths = [
            grown.growth(candidates.fusion, candidates.tiling, bits, memory.size_bits)
            for grown, bits, memory in zip(
                self.grown,
                (w, a, width),
                (buffers.weight, buffers.input, buffers.output),
                strict=True,
            )
        ]
        exposing = behavior.exposed_transfer == "largest_resident"
        trips = self.grid.trips[:, candidates.tiling]
        found = outcomes(growths, trips, orders, residents=exposing)
        weights, inputs, outputs = found.moved
        finished = pick(self.outputs.all_elements, candidates.fusion, candidates.tiling)
        evicted = outputs.bits - (finished * width)[found.candidate]
        fills = {
            "every_visit": outputs.bits,
            "after_first": evicted,
            "never": np.zeros_like(outputs.bits),
        }[behavior.partial_sum_reads]
        written = outputs.bits
        if behavior.written_outputs == "consumer":
            written = evicted + (finished * self.finished_bits(a))[found.candidate]
        compute = pick(self.compute_cycles, candidates.fusion, candidates.tiling)[found.candidate]
        hidden = weights.bits + inputs.bits + fills + written
        exposed = np.zeros_like(hidden)
        if exposing:
            resident = outputs.resident_bits
            first = weights.resident_bits + inputs.resident_bits
            if behavior.partial_sum_reads == "every_visit":
                first = first + resident
            last = resident
            if behavior.write_back_size == "fills" and behavior.partial_sum_reads != "every_visit":
                last = np.where(outputs.grew, 0, resident)
            hidden = hidden - first - last
            exposed = transfer_cycles(first, buffers.bits_per_cycle)
            exposed = exposed + transfer_cycles(last, buffers.bits_per_cycle)
        waiting = np.maximum(0, transfer_cycles(hidden, buffers.bits_per_cycle) - compute)
        return OrderedTraffic(
            candidate=found.candidate,
            order=found.order,
            traffic=Traffic(
                weights=weights.bits,
                inputs=inputs.bits,
                fills=fills,
                drains=outputs.bits,
                written=written,
                compute_cycles=compute,
                cycles=compute + waiting + exposed,
            ),
        )
