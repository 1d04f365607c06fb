"""BitMoD, an array for language models with bit-serial weights, two bits a cycle.

Y. Chen et al., "BitMoD", HPCA 2025; the roofline of its public simulator,
abdelfattah-lab/BitMoD-HPCA-25 (`bitmod_sim/accelerator.py`, commit e445a5f).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from hwmpq.accelerator.area import elements_area_mm2
from hwmpq.accelerator.spec import Accelerator, Spec
from hwmpq.cost import base, overlap
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts, ceil_div
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.cost.refetch import fetches
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, MatMul, MultiplyLayer


class Grid(Spec):
    """One arrangement of the processing elements.

    Attributes:
        rows: output channels side by side.
        cols: tokens side by side.
    """

    rows: PositiveInt
    cols: PositiveInt


class BitModArray(Spec):
    """The array.

    Attributes:
        dot_product: products that one element adds up.
        weight_bits_per_cycle: weight bits consumed per cycle; None for a bit-parallel baseline
            that needs one cycle at any width.
        decode: arrangement for few tokens.
        prefill: arrangement for many.
        energy_pj_per_element_cycle: energy of one element in one cycle, busy or not.
        area_um2_per_element: area of one element, where known.
    """

    dot_product: PositiveInt
    weight_bits_per_cycle: PositiveInt | None
    decode: Grid
    prefill: Grid
    energy_pj_per_element_cycle: NonNegativeFloat
    area_um2_per_element: NonNegativeFloat | None = None

    @property
    def area_mm2(self) -> float | None:
        """Area of the array, where known; both arrangements hold the same elements."""
        return elements_area_mm2(self.area_um2_per_element, self.decode.rows * self.decode.cols)


class BitModBehavior(Spec):
    """Choices of the simulator.

    Attributes:
        arrangement: which grid a layer runs on; ``by_tokens`` takes ``decode`` as long as its
            columns hold all tokens.
        metadata_bits: bits stored with each weight of a layer narrower than
            ``metadata_below_bits``: an 8-bit scale and type per group of 128 weights. They are
            read from DRAM and cost no cycle.
        metadata_below_bits: weights of this width and wider, and both operands of a matmul (the
            key-value cache), carry none.
        part_cycles: ``dropped`` cuts the DRAM time of a layer to whole cycles, as the simulator's
            ``int()`` does; ``counted`` rounds it up.
    """

    arrangement: Literal["by_tokens", "decode", "prefill"] = "by_tokens"
    metadata_bits: Annotated[float, Field(ge=0)] = 0.0625
    metadata_below_bits: PositiveInt = 8
    part_cycles: Literal["dropped", "counted"] = "dropped"


def row_bits(elements: int, bits: FloatArray, grain_bits: int) -> IntArray:
    """Bits of one row of a matrix, rounded up to whole grains.

    >>> row_bits(4096, np.array([3.0625]), 8)
    array([12544])
    """
    return np.asarray(np.ceil(elements * bits / grain_bits), dtype=np.int64) * grain_bits


class BitMod:
    """The cost model."""

    compute_spec = BitModArray
    behavior_spec = BitModBehavior

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions at once.

        A convolution, which the simulator does not know, is lowered to a matrix product with a
        token per output pixel; groups run one after the other.

        Equations (`_calc_tile_fc`, `_calc_dram_cycle`)::

            compute = groups * ceil(K / dp) * ceil(N / rows) * ceil(M / cols) * ceil(w / 2)
            latency = max(compute, floor((W nW + A nA + O) / bandwidth))
        """
        array = cast(BitModArray, accelerator.compute)
        behavior = cast(BitModBehavior, accelerator.behavior)
        nest = layer.loops
        tokens = nest.batch * nest.out_height * nest.out_width
        grid = _grid(array, behavior, tokens)
        weight = base.weight_bits(precisions)
        activation = base.activation_bits(precisions)
        reduction = nest.in_channels * nest.kernel_height * nest.kernel_width
        tiles = nest.groups
        for extent, side in (
            (reduction, array.dot_product),
            (nest.out_channels, grid.rows),
            (tokens, grid.cols),
        ):
            tiles *= -(-extent // side)
        serial = array.weight_bits_per_cycle
        step = np.ones_like(weight) if serial is None else ceil_div(weight, serial)
        compute = tiles * step
        elements = grid.rows * grid.cols
        work = layer.macs * step
        peak = elements * array.dot_product
        traffic = _traffic(layer, weight, activation, accelerator)
        traffic.read(
            accelerator.memory_for("weight"), tiles * grid.rows * array.dot_product * weight
        )
        traffic.read(
            accelerator.memory_for("input"), tiles * grid.cols * array.dot_product * activation
        )
        bound = ceil_div(work, peak)
        compulsory = (
            stationary_elements(layer) * weight
            + (touched_input_elements(layer) + layer.output_elements) * activation
        )
        return overlap.overlapped_costs(
            accelerator,
            traffic,
            compute_cycles=compute,
            compute_energy_pj={
                "compute.array": np.asarray(
                    compute * (array.energy_pj_per_element_cycle * elements), dtype=np.float64
                )
            },
            utilization=np.asarray(work / (peak * compute), dtype=np.float64),
            compute_bound_cycles=bound,
            compulsory_dram_bits=compulsory,
            busy_cycles=_busy(traffic.dram_read_bits + traffic.dram_write_bits, accelerator),
            latency_bound_cycles=np.maximum(bound, _busy(compulsory, accelerator)),
        )


def _grid(array: BitModArray, behavior: BitModBehavior, tokens: int) -> Grid:
    fits = tokens <= array.decode.cols
    decode = behavior.arrangement == "decode" or (behavior.arrangement == "by_tokens" and fits)
    return array.decode if decode else array.prefill


def _busy(bits: IntArray, accelerator: Accelerator) -> IntArray:
    behavior = cast(BitModBehavior, accelerator.behavior)
    bandwidth = accelerator.dram.bandwidth_bits_per_cycle
    if behavior.part_cycles == "counted":
        return overlap.transfer_cycles(bits, bandwidth)
    return np.asarray(np.floor(bits / bandwidth), dtype=np.int64)


def _traffic(
    layer: MultiplyLayer, weight: IntArray, activation: IntArray, accelerator: Accelerator
) -> overlap.Traffic:
    """Bits moved.

    Equations (`_check_layer_mem_size`, `_calc_sram_wr_energy_fc`): rows are padded to bytes in
    DRAM and to 64-bit words in the buffers, which hold one operand each and are not
    double-buffered.
    """
    behavior = cast(BitModBehavior, accelerator.behavior)
    nest = layer.loops
    stored = np.asarray(weight, dtype=np.float64)
    if not isinstance(layer, MatMul):
        stored = stored + np.where(
            weight < behavior.metadata_below_bits, behavior.metadata_bits, 0.0
        )
    rows_w = nest.groups * nest.out_channels
    row_w = nest.in_channels * nest.kernel_height * nest.kernel_width
    rows_i, rows_o = nest.groups * nest.batch, nest.groups * nest.batch
    row_i, row_o = nest.in_channels, nest.out_channels
    if isinstance(layer, Conv2d):
        rows_i = layer.batch * layer.in_height * layer.in_width
        rows_o = layer.batch * layer.out_height * layer.out_width
        row_i, row_o = layer.in_channels, layer.out_channels
    wide = np.asarray(activation, dtype=np.float64)
    w_memory, i_memory = accelerator.memory_for("weight"), accelerator.memory_for("input")
    weights = rows_w * row_bits(row_w, stored, 8)
    inputs = rows_i * row_bits(row_i, wide, 8)
    times_w, times_i = fetches(weights, inputs, w_memory.size_bits, i_memory.size_bits)
    traffic = overlap.Traffic(
        dram_read_bits=weights * times_w + inputs * times_i,
        dram_write_bits=rows_o * row_bits(row_o, wide, 8),
    )
    traffic.write(w_memory, rows_w * row_bits(row_w, stored, 64) * times_w)
    traffic.write(i_memory, rows_i * row_bits(row_i, wide, 64) * times_i)
    traffic.write(accelerator.memory_for("output"), rows_o * row_bits(row_o, wide, 64))
    return traffic


COST_MODEL = BitMod()
"""The registered model."""
