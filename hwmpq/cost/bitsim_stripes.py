"""Stripes as the public simulator BitSim has it: weights bit by bit, activations parallel.

yc2367/BitSim (commit 6845fad), the accelerator simulator of the BBS and BitMoD authors. The serial
operand is the weight, unlike in the published Stripes; see `hwmpq.cost.bit_serial` for that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from hwmpq.accelerator.area import elements_area_mm2
from hwmpq.accelerator.spec import Accelerator, Spec
from hwmpq.cost import base, overlap
from hwmpq.cost.base import IntArray, LayerCosts, ceil_div
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.cost.refetch import fetches
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, MultiplyLayer


class BitSimArray(Spec):
    """The array.

    Attributes:
        rows: output channels side by side.
        cols: output pixels of one row, or tokens, side by side.
        dot_product: products that one element adds up.
        parallel_bits: width of the parallel operand and of every stored value; at most a byte.
        energy_pj_per_element_cycle: energy of one element in one cycle, busy or not.
        weight_register_energy_pj: energy of one row's weight registers in one cycle.
        input_register_energy_pj: energy of one column's registers and dispatcher for one tile.
        area_um2_per_element: area of one element, where known.
    """

    rows: PositiveInt
    cols: PositiveInt
    dot_product: PositiveInt
    parallel_bits: Annotated[int, Field(ge=1, le=8)]
    energy_pj_per_element_cycle: NonNegativeFloat
    weight_register_energy_pj: NonNegativeFloat
    input_register_energy_pj: NonNegativeFloat
    area_um2_per_element: NonNegativeFloat | None = None

    @property
    def area_mm2(self) -> float | None:
        """Area of the array, where known."""
        return elements_area_mm2(self.area_um2_per_element, self.rows * self.cols)


class BitSimBehavior(Spec):
    """Choices of the simulator.

    Attributes:
        stored_weight: ``parallel_bits`` keeps weights at full width in memory at any serial width,
            as the simulator does; ``serial_bits`` stores what is used.
        activations: ``kept_if_fits`` writes outputs to DRAM only when inputs and outputs of the
            layer together exceed the activation memory, and reads inputs only when twice the
            inputs do, taking the layer before to be as large on both sides; the simulator instead
            looks at the layer before in its list. ``dram`` moves both through DRAM always.
        network_input_channels: a convolution that reads this many channels reads the network's
            input, which always comes from DRAM.
        grouped: ``idle_rows`` runs a layer with groups one output channel at a time (the simulator
            takes each for depthwise); ``per_group`` fills the rows with the filters of one group.
        part_cycles: ``dropped`` cuts the DRAM time of a layer to whole cycles, as the simulator's
            ``int()`` does; ``counted`` rounds it up.
    """

    stored_weight: Literal["parallel_bits", "serial_bits"] = "parallel_bits"
    activations: Literal["kept_if_fits", "dram"] = "kept_if_fits"
    network_input_channels: PositiveInt = 3
    grouped: Literal["idle_rows", "per_group"] = "idle_rows"
    part_cycles: Literal["dropped", "counted"] = "dropped"


def tile_count(layer: MultiplyLayer, array: BitSimArray, *, idle_rows: bool) -> int:
    """Tiles of a layer; each takes as many cycles as the weight has bits.

    Equations (`sim/sim/stripes.py::_calc_tile_conv2d`, `_calc_tile_dwconv`, `_calc_tile_fc`), with
    ``T = R * S`` taps::

        convolution  (ceil(T / dp) * C  if T > C  else  ceil(C / dp) * T)
                     * ceil(K / rows) * OH * ceil(OW / cols)
        groups       ceil(T / dp) * C / groups * K * OH * ceil(OW / cols)
        linear       ceil(C / dp) * ceil(K / rows) * ceil(tokens / cols)

    The simulator ignores the batch of convolutions; here images run one after the other, and a
    matmul is a linear layer per batch entry.
    """
    nest = layer.loops
    taps, channels = nest.kernel_height * nest.kernel_width, nest.in_channels

    def up(extent: int, side: int) -> int:
        return -(-extent // side)

    if not isinstance(layer, Conv2d):
        kernel = up(channels, array.dot_product) * up(nest.out_channels, array.rows)
        return nest.groups * kernel * up(nest.batch, array.cols)
    pixels = layer.batch * layer.out_height * up(layer.out_width, array.cols)
    if layer.groups > 1 and idle_rows:
        return up(taps, array.dot_product) * channels * layer.out_channels * pixels
    kernel = up(channels, array.dot_product) * taps
    if taps > channels:
        kernel = up(taps, array.dot_product) * channels
    return nest.groups * kernel * up(nest.out_channels, array.rows) * pixels


class BitSimStripes:
    """The cost model."""

    compute_spec = BitSimArray
    behavior_spec = BitSimBehavior

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions at once.

        Equation: ``latency = max(tiles * w, floor(moved bits / bandwidth))``.
        """
        array = cast(BitSimArray, accelerator.compute)
        behavior = cast(BitSimBehavior, accelerator.behavior)
        weight = base.weight_bits(precisions)
        activation = base.activation_bits(precisions)
        count = tile_count(layer, array, idle_rows=behavior.grouped == "idle_rows")
        compute = count * weight
        elements = array.rows * array.cols
        peak = elements * array.dot_product
        work = layer.macs * weight
        bound = ceil_div(work, peak)
        width = array.parallel_bits
        exceed, reads, writes = _through_dram(layer, width, accelerator)
        compulsory = stationary_elements(layer) * weight
        # That a network's first layer reads from DRAM whatever its size is no bound: a layer of
        # one channel more, which is not recognised as the first, need not.
        compulsory += (touched_input_elements(layer) * activation) * exceed
        compulsory += (layer.output_elements * activation) * writes
        stored = weight
        if behavior.stored_weight == "parallel_bits":
            stored = np.full_like(weight, width)
        traffic = _traffic(layer, stored, accelerator, reads=reads, writes=writes)
        slice_bits = count * array.dot_product * width
        tiles = np.full_like(weight, slice_bits)
        traffic.read(accelerator.memory_for("weight"), tiles * array.rows)
        traffic.read(accelerator.memory_for("input"), tiles * array.cols)
        registers = array.weight_register_energy_pj * array.rows * compute
        inputs = array.input_register_energy_pj * array.cols * count
        return overlap.overlapped_costs(
            accelerator,
            traffic,
            compute_cycles=compute,
            compute_energy_pj={
                "compute.array": np.asarray(
                    compute * (array.energy_pj_per_element_cycle * elements), dtype=np.float64
                ),
                "compute.weight_registers": np.asarray(registers, dtype=np.float64),
                "compute.input_registers": np.full(len(weight), inputs),
            },
            utilization=np.asarray(work / (peak * compute), dtype=np.float64),
            compute_bound_cycles=bound,
            compulsory_dram_bits=compulsory,
            busy_cycles=_busy(traffic.dram_read_bits + traffic.dram_write_bits, accelerator),
            latency_bound_cycles=np.maximum(bound, _busy(compulsory, accelerator)),
        )


def _busy(bits: IntArray, accelerator: Accelerator) -> IntArray:
    behavior = cast(BitSimBehavior, accelerator.behavior)
    bandwidth = accelerator.dram.bandwidth_bits_per_cycle
    if behavior.part_cycles == "counted":
        return overlap.transfer_cycles(bits, bandwidth)
    return np.asarray(np.floor(bits / bandwidth), dtype=np.int64)


def _through_dram(
    layer: MultiplyLayer, width: int, accelerator: Accelerator
) -> tuple[bool, bool, bool]:
    """Whether a layer's inputs exceed the memory, come from DRAM, and its outputs go there."""
    behavior = cast(BitSimBehavior, accelerator.behavior)
    if behavior.activations == "dram":
        return True, True, True
    room = accelerator.memory_for("input").size_bits
    moved = stationary_free_inputs(layer) * width
    outputs = layer.output_elements * width
    first = isinstance(layer, Conv2d) and layer.in_channels == behavior.network_input_channels
    exceed = 2 * moved >= room
    return exceed, first or exceed, moved + outputs >= room


def stationary_free_inputs(layer: MultiplyLayer) -> int:
    """Input elements but those on the weight path."""
    if isinstance(layer, Conv2d):
        return layer.input_elements
    return touched_input_elements(layer)


def _words(elements: int, bits: IntArray, word_bits: int) -> IntArray:
    return ceil_div(elements * bits, word_bits) * word_bits


def _traffic(
    layer: MultiplyLayer, stored: IntArray, accelerator: Accelerator, *, reads: bool, writes: bool
) -> overlap.Traffic:
    """Bits moved.

    Equations (`_check_layer_mem_size`, `_calc_num_mem_refetch`, `_calc_sram_wr_energy_conv`):
    channels are padded to bytes in DRAM and to 64-bit words in the buffers.
    """
    array = cast(BitSimArray, accelerator.compute)
    nest = layer.loops
    width = np.full_like(stored, array.parallel_bits)
    taps = nest.kernel_height * nest.kernel_width
    filters = nest.groups * nest.out_channels * taps
    inputs, channels = nest.groups * nest.batch, nest.in_channels
    outputs, results = inputs, nest.out_channels
    if isinstance(layer, Conv2d):
        inputs = layer.batch * layer.in_height * layer.in_width
        outputs = layer.batch * layer.out_height * layer.out_width
        channels, results = layer.in_channels, layer.out_channels
    w_memory, i_memory = accelerator.memory_for("weight"), accelerator.memory_for("input")
    w_bits = filters * _words(nest.in_channels, stored, 8)
    i_bits = inputs * _words(channels, width, 8)
    times_w, times_i = fetches(w_bits, i_bits, w_memory.size_bits, i_memory.size_bits)
    traffic = overlap.Traffic(
        dram_read_bits=w_bits * times_w + i_bits * times_i * reads,
        dram_write_bits=outputs * _words(results, width, 8) * writes,
    )
    traffic.write(w_memory, filters * _words(nest.in_channels, stored, 64) * times_w)
    traffic.write(i_memory, inputs * _words(channels, width, 64) * times_i)
    traffic.write(accelerator.memory_for("output"), outputs * _words(results, width, 64))
    return traffic


COST_MODEL = BitSimStripes()
"""The registered model."""
