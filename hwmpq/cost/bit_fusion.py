"""Bit fusion: arrays whose units split into narrower multipliers, as in Bit Fusion (ISCA 2018).

Equations and choices are those of the public simulator hsharma35/bitfusion (commit 04ec1c8) and
of its fork in clevercool/ANT-Quantization (ant_simulator, commit bc84067). Where they differ, or
slip, the accelerator file's ``behavior`` decides (`BitFusionBehavior`).

The simulators know square, ungrouped convolutions and matrix products. Here, groups (of a
convolution, or of a batched matmul) run one after the other, each as a layer of its own; a kernel
of height R and width S counts as R S taps, and a window covers ``(o - 1) * stride + (kernel - 1) *
dilation + 1`` inputs along each axis. Operands wider than ``max_bits`` come in slices, each pair
of slices being one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost import base
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts, ceil_div
from hwmpq.cost.bit_fusion_array import Fusion, Steps, fusion_classes
from hwmpq.cost.bit_fusion_energy import (
    INNER_ORDERS,
    Exchange,
    buffer_accesses,
    energy,
    inner_accesses,
)
from hwmpq.cost.bit_fusion_layer import Buffers, TiledLayer
from hwmpq.cost.bit_fusion_search import Choice, Wanted, search
from hwmpq.cost.bit_fusion_spec import BitFusionArray, BitFusionBehavior
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.cost.tiling import LOOP_ORDERS
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, MultiplyLayer

IMAGE_CHANNELS = 4
"""A convolution of at most this many input channels is taken to read an image."""


def unrolled(layer: MultiplyLayer, behavior: BitFusionBehavior) -> bool:
    """Whether a layer reaches the chip as a matrix product, its kernel unrolled.

    >>> shape = {"in_height": 8, "in_width": 8, "out_channels": 4, "kernel_size": 3}
    >>> unrolled(Conv2d(name="image", in_channels=3, **shape), BitFusionBehavior())
    True
    """
    if isinstance(layer, Conv2d):
        if layer.im2col is not None:
            return layer.im2col
        if behavior.im2col == "first_conv":
            return layer.groups == 1 and layer.in_channels <= IMAGE_CHANNELS
    return behavior.im2col == "all"


def buffers_of(accelerator: Accelerator) -> Buffers:
    """The three buffers.

    Raises:
        UnsupportedError: two operands share one.
    """
    weight, inputs, outputs = (
        accelerator.memory_for(operand) for operand in ("weight", "input", "output")
    )
    if len({weight.name, inputs.name, outputs.name}) < 3:
        msg = (
            f"accelerator '{accelerator.name}': a bit-fusion machine has a buffer each for "
            f"weights, inputs and outputs, but got {weight.name}, {inputs.name}, {outputs.name}"
        )
        raise UnsupportedError(msg)
    return Buffers(weight, inputs, outputs, float(accelerator.dram.bandwidth_bits_per_cycle))


def compute_bound(macs: int, fusion: Fusion, array: BitFusionArray) -> IntArray:
    """Cycles with every unit busy in every cycle: ``ceil(macs * passes / (N M products))``."""
    units = array.rows * array.cols
    return ceil_div(macs * fusion.passes, units * fusion.products)


def compulsory_bits(
    layer: MultiplyLayer, weights: IntArray, activations: IntArray, behavior: BitFusionBehavior
) -> IntArray:
    """DRAM traffic with every operand moved once: ``W w + A a + O out``.

    A counts the inputs that a window touches, O has the width that the behavior writes.
    """
    acc = behavior.accumulator_bits
    written = np.full_like(activations, acc)
    if behavior.written_outputs == "consumer":
        written = np.minimum(activations, acc)
    bits: IntArray = (
        stationary_elements(layer) * weights
        + touched_input_elements(layer) * activations
        + layer.output_elements * written
    )
    return bits


def _texts(tiled: TiledLayer, choice: Choice, inner: IntArray) -> dict[str, list[str]]:
    sizes = tiled.grid.sizes[:, choice.candidates.tiling].T.tolist()
    tiles = [f"b={b} ow={ow} oh={oh} ic={ic} oc={oc}" for b, ow, oh, ic, oc in sizes]
    orders = [">".join(loop.name for loop in LOOP_ORDERS[rank]) for rank in choice.rank]
    return {
        "tile": tiles,
        "loop_order": orders,
        "inner_order": [INNER_ORDERS[index] for index in inner],
    }


class BitFusion:
    """The bit-fusion cost model."""

    compute_spec = BitFusionArray
    behavior_spec = BitFusionBehavior

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions at once.

        Raises:
            UnsupportedError: no tile of the layer fits the buffers.
        """
        array, behavior = accelerator.compute, accelerator.behavior
        if not isinstance(array, BitFusionArray) or not isinstance(behavior, BitFusionBehavior):
            msg = f"accelerator '{accelerator.name}' does not describe a bit-fusion machine"
            raise UnsupportedError(msg)
        weights, activations = base.weight_bits(precisions), base.activation_bits(precisions)
        fusion, index = fusion_classes(precisions, array, behavior)
        nest = layer.loops
        steps = Steps(nest, unrolled(layer, behavior), array, behavior.rows)
        narrowest = Precision(int(weights.min()), int(activations.min()))
        buffers = buffers_of(accelerator)
        tiled = TiledLayer.prepare(steps, fusion, behavior, buffers, narrowest)
        exchange = Exchange.prepare(tiled)
        try:
            choice = search(tiled, exchange, Wanted(index, weights, activations), accelerator)
        except UnsupportedError as error:
            msg = f"layer '{layer.name}' on '{accelerator.name}': {error}"
            raise UnsupportedError(msg) from error
        inner = inner_accesses(tiled, exchange, choice.candidates)
        accesses = buffer_accesses(inner, choice.traffic)
        parts = energy(tiled, choice.traffic, accesses, accelerator)
        names = {name: getattr(tiled.buffers, name).name for name in accesses.reads}
        traffic, groups = choice.traffic, nest.groups
        macs = nest.macs
        bound = compute_bound(macs, fusion, array)[index]
        peak = array.rows * array.cols * fusion.products[index]
        useful: FloatArray = macs * fusion.passes[index] / (groups * traffic.compute_cycles * peak)
        return LayerCosts(
            compute_cycles=groups * traffic.compute_cycles,
            stall_cycles=groups * (traffic.cycles - traffic.compute_cycles),
            dram_read_bits=groups * traffic.dram_read,
            dram_write_bits=groups * traffic.written,
            sram_read_bits={names[k]: groups * bits for k, bits in accesses.reads.items()},
            sram_write_bits={names[k]: groups * bits for k, bits in accesses.writes.items()},
            energy_pj={name: groups * value for name, value in parts.items()},
            utilization=useful,
            compute_bound_cycles=bound,
            compulsory_dram_bits=compulsory_bits(layer, weights, activations, behavior),
            mapping=_texts(tiled, choice, inner.order),
        )


COST_MODEL = BitFusion()
