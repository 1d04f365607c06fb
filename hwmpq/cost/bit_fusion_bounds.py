"""What a tiling of a bit-fusion layer costs at least, whatever its loop order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmpq.cost.base import FloatArray, IntArray
from hwmpq.cost.bit_fusion_layer import TiledLayer, Traffic, transfer_cycles
from hwmpq.cost.tiling import Loop


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Lower bounds over all loop orders; every array is ``[precisions, tilings]``.

    Attributes:
        traffic: every operand moved once, and the least cycles, which count refetches.
        refetched: bits that are moved a second time at least.
    """

    traffic: Traffic
    refetched: IntArray


def lower_bounds(
    layer: TiledLayer, fusion: IntArray, weight_bits: IntArray, activation_bits: IntArray
) -> Bounds:
    """Bound what precisions cost under every tiling.

    As a transfer is cut into parts that are each rounded up, and computing hides none of the
    first and the last one, ``cycles >= max(compute + first + last, total / bandwidth)``.
    """
    behavior, rate = layer.behavior, layer.buffers.bits_per_cycle
    w, a = weight_bits[:, None], activation_bits[:, None]
    width = behavior.accumulator_bits
    every_visit = behavior.partial_sum_reads == "every_visit"
    weights, inputs, outputs = layer.of_classes("all_elements", fusion)
    compute = layer.compute_cycles[fusion]
    sums = outputs * width
    fills = sums if every_visit else np.zeros_like(sums)
    moved = (weights * w, inputs * a, fills, sums, outputs * layer.finished_bits(a))
    read, fed, filled, drained, written = (np.broadcast_to(part, compute.shape) for part in moved)
    refetched = _refetched(layer, read, fed, drained)
    total = read + fed + filled + written + refetched
    busy = compute
    if behavior.exposed_transfer == "largest_resident":
        weight, input_, output = layer.of_classes("tile_elements", fusion)
        first, last = weight * w + input_ * a, output * width
        busy = busy + transfer_cycles(first + last if every_visit else first, rate)
        if behavior.write_back_size == "outputs":
            busy = busy + transfer_cycles(last, rate)
    cycles = np.maximum(busy, transfer_cycles(total, rate))
    return Bounds(Traffic(read, fed, filled, drained, written, compute, cycles), refetched)


def _refetched(layer: TiledLayer, weights: IntArray, inputs: IntArray, sums: IntArray) -> IntArray:
    """Bits that no order avoids to move again.

    Some loop of several trips is the outermost one. All loops that index an operand which that
    loop does not index lie inside of it, so it fetches the operand anew in each trip, unless the
    operand fits half its buffer whole or is one tile: loops of one trip may lie outside, where
    even a tile that is larger than its buffer (`output_tile: unchecked`) is moved but once. The
    outermost loop of least harm gives the bound.
    """
    trips = layer.grid.trips
    again: FloatArray = np.where(trips > 1, trips - 1.0, np.inf)
    pixels = np.minimum(np.minimum(again[Loop.B], again[Loop.OW]), again[Loop.OH])
    ways = 1 if layer.behavior.partial_sum_reads == "never" else 2
    buffers = layer.buffers
    harms = (
        (weights, pixels, (Loop.IC, Loop.OC), buffers.weight, 1),
        (inputs, again[Loop.OC], (Loop.B, Loop.OW, Loop.OH, Loop.IC), buffers.input, 1),
        (sums, again[Loop.IC], (Loop.B, Loop.OW, Loop.OH, Loop.OC), buffers.output, ways),
    )
    least: FloatArray = np.full(weights.shape, np.inf)
    for bits, times, indexing, memory, directions in harms:
        leaves = (2 * bits > memory.size_bits) & (trips[list(indexing)] > 1).any(axis=0)
        # A loop of one trip is no candidate; one that does no harm is the best.
        harm = np.where(leaves, bits * times * directions, np.where(np.isinf(times), np.inf, 0.0))
        least = np.minimum(least, harm)
    return np.where(np.isinf(least), 0.0, least).astype(np.int64)
