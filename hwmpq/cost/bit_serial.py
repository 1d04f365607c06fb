"""Bit-serial arrays of lanes, columns, rows and tiles: Stripes, Loom and bit-parallel DaDianNao.

The machines of the public simulator isakedo/DNNsim (commit 4748a60). A processing element
multiplies ``lanes`` pairs and adds them up; ``cols`` windows and ``rows * tiles`` filters run
side by side. A *step* feeds one slice of the reduction to all of them; how many cycles it takes is
what tells the machines apart:

    DaDianNao (nothing serial)     1
    Stripes (activations serial)   a
    Loom (both serial)             w * ceil(a / bits of an activation per cycle)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from hwmpq.accelerator.area import elements_area_mm2
from hwmpq.accelerator.spec import Accelerator, Spec
from hwmpq.cost import base, overlap
from hwmpq.cost.base import IntArray, LayerCosts, ceil_div
from hwmpq.cost.bit_serial_shape import DramImage, StepShape, dram_image, step_shape
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.cost.refetch import fetches
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.layer import MultiplyLayer

DRAM_BLOCK_BITS = 64
"""DNNsim moves blocks of 64 bits between DRAM and the global buffer."""


class BitSerialArray(Spec):
    """The array.

    Attributes:
        serial: which operands arrive bit by bit.
        lanes: products that one processing element adds up.
        cols: windows side by side.
        rows: filters side by side in one tile.
        tiles: tiles, each with its own filters.
        pe_width_bits: widest operand of one processing element; a wider activation takes
            ``ceil(a / width)`` columns, a wider weight as many rows.
        activation_bits_per_cycle: bits of a serial activation consumed per cycle (Loom-1b, -2b,
            -4b).
        energy_pj_per_lane_cycle: energy of one lane in one cycle, its share of the adder tree
            included.
        area_um2_per_lane: area of one lane, likewise, where known.
    """

    serial: Literal["none", "activation", "both"]
    lanes: PositiveInt
    cols: PositiveInt
    rows: PositiveInt
    tiles: PositiveInt
    pe_width_bits: PositiveInt
    activation_bits_per_cycle: PositiveInt = 1
    energy_pj_per_lane_cycle: NonNegativeFloat
    area_um2_per_lane: NonNegativeFloat | None = None

    @property
    def area_mm2(self) -> float | None:
        """Area of the array, where known."""
        lanes = self.lanes * self.cols * self.rows * self.tiles
        return elements_area_mm2(self.area_um2_per_lane, lanes)


class BitSerialBehavior(Spec):
    """Choices of the simulator, and where one may disagree.

    Attributes:
        first_layer: ``space_to_depth`` turns a strided layer of three channels into one of ``3
            s^2`` channels and stride 1, as DNNsim does; ``direct`` runs it as any other.
        grouped: ``two_or_dense`` is DNNsim's rule: two groups run one after the other, any other
            number of groups that is not depthwise shares its steps as if all filters read the same
            channels (too fast); ``per_group`` runs the groups one after the other.
        linear: ``staggered`` feeds the slices of one row to the columns in turn, one a cycle
            (DNNsim); ``windows`` treats rows as windows of a 1 x 1 convolution, which is faster
            from about ``cols`` rows on.
        wide_serial_weight: ``full_width`` runs a serial weight wider than an element through all
            its bits although several rows share them (a slip of DNNsim's Loom, whose activations
            and whose Stripes do not); ``sliced`` takes the cycles of the widest slice.
        step_fraction: measured cycles over those of the static precisions, for machines that drop
            leading zeros of the activations they are fed (Loom: 0.87 to 1.00 on uniform random
            data); 1 keeps the upper bound.
        dram_word: ``power_of_two`` stores a value in the next power of two of its bits (DNNsim);
            ``exact`` packs.
        data_width_bits: least width of a value in DRAM and buffers (DNNsim's ``data_width``).
        outputs: ``kept_if_fits`` writes outputs to DRAM only when they exceed the memory that
            holds them (DNNsim has 1 GiB and never writes); ``dram`` always writes them.
    """

    first_layer: Literal["space_to_depth", "direct"] = "space_to_depth"
    grouped: Literal["two_or_dense", "per_group"] = "two_or_dense"
    linear: Literal["staggered", "windows"] = "staggered"
    wide_serial_weight: Literal["full_width", "sliced"] = "full_width"
    step_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    dram_word: Literal["power_of_two", "exact"] = "power_of_two"
    data_width_bits: PositiveInt = 1
    outputs: Literal["kept_if_fits", "dram"] = "kept_if_fits"


def cycles_per_step(
    array: BitSerialArray, behavior: BitSerialBehavior, weight: IntArray, activation: IntArray
) -> IntArray:
    """Cycles of one step, by the table above (`core/src` of DNNsim: `Stripes.cpp`, `Loom.cpp`).

    An operand wider than an element is cut into slices that run side by side, so that a step takes
    as long as the widest slice.
    """
    if array.serial == "none":
        return np.ones_like(activation)
    activation = np.minimum(activation, array.pe_width_bits)
    if array.serial == "activation":
        return activation
    if behavior.wide_serial_weight == "sliced":
        weight = np.minimum(weight, array.pe_width_bits)
    return weight * ceil_div(activation, array.activation_bits_per_cycle)


def staggered_cycles(steps: IntArray, columns: IntArray, cycles: IntArray) -> IntArray:
    """Cycles of steps that start one a cycle, each in the next column once that is free.

    Equation (closed form of `core/src/Stripes.cpp::process_tiles`, linear layers): step ``i``
    starts at ``floor(i / C) * max(C, c) + i mod C`` and the last ends ``c`` later.

    >>> int(staggered_cycles(np.array(128), np.array(16), np.array(8)))
    135
    """
    last = steps - 1
    return np.asarray(
        (last // columns) * np.maximum(columns, cycles) + last % columns + cycles, dtype=np.int64
    )


def word_bits(bits: IntArray, behavior: BitSerialBehavior) -> IntArray:
    """Bits a value takes in DRAM and buffers.

    >>> word_bits(np.array([3, 8]), BitSerialBehavior())
    array([4, 8])
    """
    if behavior.dram_word == "power_of_two":
        bits = np.asarray(2 ** np.ceil(np.log2(bits)), dtype=np.int64)
    return np.maximum(bits, behavior.data_width_bits)


@dataclass(frozen=True, slots=True)
class _Machine:
    """The array at each precision.

    Attributes:
        columns: windows side by side.
        rows: filters side by side in one tile.
        step_cycles: cycles of one step.
        filters_at_once: filters side by side over all tiles that the layer can use.
    """

    columns: IntArray
    rows: IntArray
    step_cycles: IntArray
    filters_at_once: IntArray


class BitSerial:
    """The cost model."""

    compute_spec = BitSerialArray
    behavior_spec = BitSerialBehavior

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions at once.

        Raises:
            UnsupportedError: a precision needs more columns or rows than there are.
        """
        array = cast(BitSerialArray, accelerator.compute)
        behavior = cast(BitSerialBehavior, accelerator.behavior)
        weight = base.weight_bits(precisions)
        activation = base.activation_bits(precisions)
        shape = step_shape(
            layer,
            array.lanes,
            reshape_first=behavior.first_layer == "space_to_depth",
            two_or_dense=behavior.grouped == "two_or_dense",
            staggered=behavior.linear == "staggered",
        )
        machine = _machine(array, behavior, shape, precisions)
        ideal = _compute_cycles(shape, machine)
        peak = array.lanes * array.tiles * machine.columns * _rows(array, precisions)
        work = layer.macs * machine.step_cycles
        word_w, word_a = word_bits(weight, behavior), word_bits(activation, behavior)
        image = dram_image(shape, machine.rows, word_w, word_a, DRAM_BLOCK_BITS)
        outputs = layer.output_elements * word_a
        kept = overlap.share_bits(accelerator, "output") if behavior.outputs != "dram" else -1
        spilled = np.where(outputs > kept, outputs, 0)
        traffic = _traffic(shape, machine, image, (word_w, word_a), accelerator)
        _move_outputs(traffic, outputs, spilled, accelerator)
        compulsory = (
            touched_input_elements(layer) * activation
            + stationary_elements(layer) * weight
            + np.where(spilled > 0, layer.output_elements * activation, 0)
        )
        slices = ceil_div(weight, array.pe_width_bits) * ceil_div(activation, array.pe_width_bits)
        energy = work * slices * (array.energy_pj_per_lane_cycle * behavior.step_fraction)
        return overlap.overlapped_costs(
            accelerator,
            traffic,
            compute_cycles=_scaled(ideal, behavior.step_fraction),
            compute_energy_pj={"compute.array": np.asarray(energy, dtype=np.float64)},
            utilization=np.asarray(work / (peak * ideal), dtype=np.float64),
            compute_bound_cycles=_scaled(ceil_div(work, peak), behavior.step_fraction),
            compulsory_dram_bits=compulsory,
        )


def _scaled(cycles: IntArray, fraction: float) -> IntArray:
    """Cycles times a measured fraction, rounded up; exact where there is none."""
    if fraction == 1.0:
        return cycles
    return np.asarray(np.ceil(cycles * fraction), dtype=np.int64)


def _rows(array: BitSerialArray, precisions: Sequence[Precision]) -> IntArray:
    return array.rows // ceil_div(base.weight_bits(precisions), array.pe_width_bits)


def _machine(
    array: BitSerialArray,
    behavior: BitSerialBehavior,
    shape: StepShape,
    precisions: Sequence[Precision],
) -> _Machine:
    """The array at each precision; operands wider than an element take several of them."""
    weight = base.weight_bits(precisions)
    activation = base.activation_bits(precisions)
    columns = array.cols // ceil_div(activation, array.pe_width_bits)
    rows = _rows(array, precisions)
    for precision, column, row in zip(precisions, columns, rows, strict=True):
        if not column or not row:
            msg = (
                f"precision {precision} needs more columns or rows than the array has "
                f"({array.cols} x {array.rows} of {array.pe_width_bits} bits); "
                "use a wider array or narrower operands"
            )
            raise UnsupportedError(msg)
    if shape.depthwise:
        rows = np.minimum(rows, array.lanes)
    return _Machine(
        columns=columns,
        rows=rows,
        step_cycles=cycles_per_step(array, behavior, weight, activation),
        filters_at_once=rows * (1 if shape.depthwise else array.tiles),
    )


def _compute_cycles(shape: StepShape, machine: _Machine) -> IntArray:
    """Cycles of all steps.

    Equations (`core/src/OutputStationary.cpp::configure_layer`, `WindowFirstOutS.cpp`), per
    image::

        convolution  groups * ceil(windows / C) * ceil(K / (R T)) * taps * ceil(Cin / L) * c
        depthwise    ceil(K / d) * ceil(windows / C) * taps * c,   d = min(L, R), one tile
        linear       staggered(ceil(K / (R T)) * ceil(Cin / L), C, c)
    """
    sets = ceil_div(shape.filters, machine.filters_at_once)
    if shape.staggered:
        cycles = staggered_cycles(sets * shape.slices, machine.columns, machine.step_cycles)
        return shape.images * cycles
    windows = ceil_div(shape.windows, machine.columns)
    steps = shape.images * shape.groups * windows * sets * shape.taps * shape.slices
    return steps * machine.step_cycles


def _traffic(
    shape: StepShape,
    machine: _Machine,
    image: DramImage,
    words: tuple[IntArray, IntArray],
    accelerator: Accelerator,
) -> overlap.Traffic:
    """Bits of weights and inputs moved.

    Buffers are double-buffered: half of each serves the layer being computed. A window's slice is
    read once for every set of filters, a filter's slice once for every set of windows; a depthwise
    step reads one channel a filter.
    """
    word_w, word_a = words
    inputs, weights = accelerator.memory_for("input"), accelerator.memory_for("weight")
    times_w, times_a = fetches(
        image.weight_bits // shape.groups,
        image.input_bits // shape.groups,
        overlap.share_bits(accelerator, "weight") // 2,
        overlap.share_bits(accelerator, "input") // 2,
    )
    traffic = overlap.Traffic(
        dram_read_bits=image.weight_bits * times_w + image.input_bits * times_a,
        dram_write_bits=np.zeros_like(word_a),
    )
    slices = shape.images * shape.groups * shape.taps * shape.slices
    filter_sets = ceil_div(shape.filters, machine.filters_at_once)
    values = shape.filters if shape.depthwise else filter_sets * shape.lanes
    traffic.read(inputs, slices * shape.windows * values * word_a)
    window_sets = ceil_div(shape.windows, machine.columns)
    traffic.read(weights, slices * window_sets * shape.filters * shape.lanes * word_w)
    traffic.write(inputs, image.input_bits * times_a)
    traffic.write(weights, image.weight_bits * times_w)
    return traffic


def _move_outputs(
    traffic: overlap.Traffic, outputs: IntArray, spilled: IntArray, accelerator: Accelerator
) -> None:
    """Outputs go to their buffer; those that do not fit go on to DRAM."""
    results = accelerator.memory_for("output")
    traffic.write(results, outputs)
    traffic.read(results, spilled)
    traffic.dram_write_bits = traffic.dram_write_bits + spilled


COST_MODEL = BitSerial()
"""The registered model."""
