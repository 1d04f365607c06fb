"""Accesses to the buffers of a bit-fusion machine within its tiles, and the energy of it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from hwmpq.accelerator.energy import leakage_energy_pj
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.base import FloatArray, IntArray
from hwmpq.cost.bit_fusion_layer import Candidates, TiledLayer, Traffic
from hwmpq.cost.bit_fusion_tiles import pick
from hwmpq.cost.tiling import Loop

INNER_ORDERS: Final = ("input_stationary", "output_stationary", "weight_stationary")
"""Operand that stays in place within a tile; of equally good ones the first is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class InnerAccesses:
    """Bits between the array and its buffers; every array is ``[candidates]``.

    Attributes:
        inputs: read from the input buffer.
        weights: read from the weight buffer.
        outputs: read from the output buffer, and as many written to it.
        order: index of the inner order in `INNER_ORDERS`.
    """

    inputs: IntArray
    weights: IntArray
    outputs: IntArray
    order: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class BufferAccesses:
    """Bits through the ports of the buffers, fills from DRAM and drains to it included.

    Attributes:
        reads: by buffer: weight, input, output.
        writes: by buffer.
    """

    reads: Mapping[str, IntArray]
    writes: Mapping[str, IntArray]


def buffer_accesses(inner: InnerAccesses, traffic: Traffic) -> BufferAccesses:
    """Accesses of chosen candidates."""
    return BufferAccesses(
        reads={
            "weight": inner.weights,
            "input": inner.inputs,
            "output": traffic.drains + inner.outputs,
        },
        writes={
            "weight": traffic.weights,
            "input": traffic.inputs,
            "output": traffic.fills + inner.outputs,
        },
    )


def _padded_bits(layer: TiledLayer, candidates: Candidates) -> IntArray:
    """Bits that each inner order moves in one tile, padded to the array, ``[orders, candidates]``.

    Equations (hsharma35/bitfusion, bitfusion/src/optimizer/optimizer.py), with ``i`` reduction
    elements, ``o`` output channels and ``p`` pixels of a tile:

        input stationary    i p (a + o (w + 32))
        output stationary   o p (32 + i (a + w))
        weight stationary   i o (w + p (a + 32))
    """
    size, array = layer.grid.sizes[:, candidates.tiling], layer.steps.array
    row = layer.fusion.row_factor[candidates.fusion]
    column = layer.fusion.column_factor[candidates.fusion]
    i = layer.steps.reduction(size[Loop.IC], row) * array.rows * row
    o = layer.steps.outputs(size[Loop.OC], column) * array.cols * column
    p = size[Loop.B] * size[Loop.OW] * size[Loop.OH]
    w, a = candidates.weight_bits, candidates.activation_bits
    acc = layer.behavior.accumulator_bits
    return np.stack(
        [i * p * (a + o * (w + acc)), o * p * (acc + i * (a + w)), i * o * (w + p * (a + acc))]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """Elements that pass between the array and its buffers, by what stays in place within a tile.

    Without credit for forwarding, an operand that does not stay in place is read once per
    multiplication. With it, inputs are read once for all columns and outputs accessed once for
    all rows. The operand in place is accessed once per tile. Slices of wide operands repeat the
    reads of the other operand; their sums are added up in place where outputs stay. Every array
    is ``[classes or 1, tilings]``.

    Attributes:
        kept_inputs: inputs that stay in place.
        streamed_inputs: inputs that do not.
        kept_weights: weights that stay in place.
        streamed_weights: weights that do not.
        kept_outputs: outputs that stay in place.
        streamed_outputs: outputs that do not.
    """

    kept_inputs: IntArray
    streamed_inputs: IntArray
    kept_weights: IntArray
    streamed_weights: IntArray
    kept_outputs: IntArray
    streamed_outputs: IntArray

    @classmethod
    def prepare(cls, layer: TiledLayer) -> Exchange:
        """Count the elements of every tiling."""
        grid, fusion, trips = layer.grid, layer.fusion, layer.grid.trips
        b, ow, oh, ic, oc = (grid.total(loop, lambda size: size) for loop in Loop)
        pixels, reduction = b * ow * oh, layer.steps.taps * ic
        macs = (pixels * reduction * oc)[None, :]
        streamed, summed = macs, macs
        if layer.behavior.sram_reuse == "systolic":

            def steps(loop: Loop, measure: Callable[..., IntArray], factors: IntArray) -> IntArray:
                each = [grid.total(loop, partial(measure, factor=int(f))) for f in factors]
                return np.stack(each)

            streamed = (
                pixels * reduction * steps(Loop.OC, layer.steps.outputs, fusion.column_factor)
            )
            summed = pixels * oc * steps(Loop.IC, layer.steps.reduction, fusion.row_factor)
        pixel_tiles = trips[Loop.B] * trips[Loop.OW] * trips[Loop.OH]
        return cls(
            kept_inputs=(pixels * reduction * trips[Loop.OC])[None, :],
            streamed_inputs=streamed * fusion.weight_slices[:, None],
            kept_weights=(reduction * oc * pixel_tiles)[None, :],
            streamed_weights=macs * fusion.activation_slices[:, None],
            kept_outputs=(pixels * oc * trips[Loop.IC])[None, :],
            streamed_outputs=summed * fusion.passes[:, None],
        )


def inner_accesses(layer: TiledLayer, exchange: Exchange, candidates: Candidates) -> InnerAccesses:
    """What the array exchanges with its buffers, in the inner order that the behavior asks for."""
    w, a = candidates.weight_bits, candidates.activation_bits
    acc = layer.behavior.accumulator_bits

    def bits(elements: IntArray, width: IntArray | int) -> IntArray:
        return np.asarray(pick(elements, candidates.fusion, candidates.tiling) * width)

    moved_inputs, moved_weights, moved_outputs = (
        bits(exchange.streamed_inputs, a),
        bits(exchange.streamed_weights, w),
        bits(exchange.streamed_outputs, acc),
    )
    inputs = np.stack([bits(exchange.kept_inputs, a), moved_inputs, moved_inputs])
    outputs = np.stack([moved_outputs, bits(exchange.kept_outputs, acc), moved_outputs])
    weights = np.stack([moved_weights, moved_weights, bits(exchange.kept_weights, w)])
    rule = layer.behavior.inner_order
    if rule == "least_bits":
        order = np.argmin(_padded_bits(layer, candidates), axis=0)
    elif rule == "least_energy":
        order = np.argmin(_exchange_energy(layer, inputs, weights, outputs), axis=0)
    else:
        order = np.full(len(candidates), INNER_ORDERS.index(rule), dtype=np.int64)
    chosen = (order, np.arange(len(candidates)))
    return InnerAccesses(inputs[chosen], weights[chosen], outputs[chosen], order.astype(np.int64))


def _exchange_energy(
    layer: TiledLayer, inputs: IntArray, weights: IntArray, outputs: IntArray
) -> FloatArray:
    memory = layer.buffers
    both_ways = memory.output.read_energy_pj_per_bit + memory.output.write_energy_pj_per_bit
    cost: FloatArray = (
        weights * memory.weight.read_energy_pj_per_bit
        + inputs * memory.input.read_energy_pj_per_bit
        + outputs * both_ways
    )
    return cost


def _array_energy(layer: TiledLayer, traffic: Traffic) -> FloatArray:
    array = layer.steps.array
    core = array.rows * array.cols * array.energy_pj_per_unit_cycle
    stalled = traffic.cycles - traffic.compute_cycles
    busy = traffic.compute_cycles + stalled * array.stall_energy_fraction
    return np.asarray(busy * core, dtype=np.float64)


def energy(
    layer: TiledLayer, traffic: Traffic, accesses: BufferAccesses, accelerator: Accelerator
) -> dict[str, FloatArray]:
    """Energy in pJ by component.

    Equation (hsharma35/bitfusion, bitfusion/src/simulator/stats.py, get_energy): busy cycles times
    the energy of the array, plus bits times energy per bit for every buffer and DRAM; idle cycles
    and leakage are ours.
    """
    parts: dict[str, FloatArray] = {"compute": _array_energy(layer, traffic)}
    for name in ("weight", "input", "output"):
        memory = getattr(layer.buffers, name)
        parts[f"sram.{memory.name}"] = (
            accesses.reads[name] * memory.read_energy_pj_per_bit
            + accesses.writes[name] * memory.write_energy_pj_per_bit
        )
    dram = accelerator.dram
    parts["dram"] = (
        traffic.dram_read * dram.read_energy_pj_per_bit
        + traffic.written * dram.write_energy_pj_per_bit
    )
    parts["leakage"] = leakage_energy_pj(accelerator, traffic.cycles)
    return parts


def total_energy(
    layer: TiledLayer, inner: InnerAccesses, traffic: Traffic, accelerator: Accelerator
) -> FloatArray:
    """The sum of `energy` over its components, ``[candidates]``."""
    memory, dram = layer.buffers, accelerator.dram
    fetched = (
        (traffic.weights, memory.weight.write_energy_pj_per_bit),
        (traffic.inputs, memory.input.write_energy_pj_per_bit),
        (traffic.fills, memory.output.write_energy_pj_per_bit),
    )
    cost = _array_energy(layer, traffic)
    for bits, per_bit in fetched:
        cost = cost + bits * (per_bit + dram.read_energy_pj_per_bit)
    cost = cost + traffic.drains * memory.output.read_energy_pj_per_bit
    cost = cost + traffic.written * dram.write_energy_pj_per_bit
    cost = cost + leakage_energy_pj(accelerator, traffic.cycles)
    return cost + _exchange_energy(layer, inner.inputs, inner.weights, inner.outputs)


def energy_floor(
    layer: TiledLayer, traffic: Traffic, refetched: IntArray, accelerator: Accelerator
) -> FloatArray:
    """A bound of `total_energy` that is cheap to compute: no access to a buffer counts."""
    dram = accelerator.dram
    per_bit = min(dram.read_energy_pj_per_bit, dram.write_energy_pj_per_bit)
    moved = traffic.dram_read + traffic.written + refetched
    cost = _array_energy(layer, traffic) + moved * per_bit
    return cost + leakage_energy_pj(accelerator, traffic.cycles)
