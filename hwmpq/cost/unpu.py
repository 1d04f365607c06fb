"""UNPU, a chip with bit-serial weights of 1 to 16 bits, by its published peak rates.

J. Lee et al., "UNPU", ISSCC 2018 and JSSC 2019. There is no public simulator and no published
mapping, so a layer runs at the peak rate times a stated share of it: a roofline, and the same one
for every kind of layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, cast

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from hwmpq.accelerator.spec import Accelerator, Spec
from hwmpq.cost import base, overlap
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.cost.refetch import fetches
from hwmpq.precision import Precision
from hwmpq.workload.layer import MultiplyLayer


class UnpuArray(Spec):
    """The peak.

    Attributes:
        weight_bit_macs_per_cycle: products of one weight bit with an activation per cycle, all
            cores together.
        single_bit_macs_per_cycle: the same at 1-bit weights, where the chip is faster than in
            proportion.
        energy_pj_per_mac_1bit: energy of a MAC with a 1-bit weight, on-chip memory included.
        energy_pj_per_mac_16bit: energy of a MAC with a 16-bit weight, on-chip memory included.
    """

    weight_bit_macs_per_cycle: PositiveInt
    single_bit_macs_per_cycle: PositiveInt
    energy_pj_per_mac_1bit: NonNegativeFloat
    energy_pj_per_mac_16bit: NonNegativeFloat


class UnpuBehavior(Spec):
    """What the published figures leave open.

    Attributes:
        share_of_peak: share of the peak rate that layers reach; 1 is the published peak.
    """

    share_of_peak: Annotated[float, Field(gt=0, le=1)] = 1.0


def compute_cycles(macs: int, weight: IntArray, array: UnpuArray, share: float) -> IntArray:
    """Cycles at the peak rate.

    Equation: ``ceil(macs * w / 13824)`` for 2 bits and more, ``ceil(macs / 18430)`` for 1 bit,
    from 345.6 GOPS at 16 bits and 7372 GOPS at 1 bit, 200 MHz, two operations a MAC.
    """
    scale = Fraction(share)
    widths, entries = np.unique(weight, return_inverse=True)
    cycles = []
    for bits in widths.tolist():
        rate = Fraction(array.weight_bit_macs_per_cycle, bits)
        if bits == 1:
            rate = Fraction(array.single_bit_macs_per_cycle)
        exact = macs / (rate * scale)
        cycles.append(-(-exact.numerator // exact.denominator))
    return np.array(cycles, dtype=np.int64)[entries]


def energy_pj(macs: int, weight: IntArray, array: UnpuArray) -> FloatArray:
    """Energy on the chip.

    Equation (assumed between the two published points):
    ``macs * (e1 + (e16 - e1) * (w - 1) / 15)``.
    """
    slope = (array.energy_pj_per_mac_16bit - array.energy_pj_per_mac_1bit) / 15
    per_mac = array.energy_pj_per_mac_1bit + slope * (weight - 1)
    return np.asarray(macs * per_mac, dtype=np.float64)


class Unpu:
    """The cost model."""

    compute_spec = UnpuArray
    behavior_spec = UnpuBehavior

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions at once.

        Operands are dense in DRAM at their own width; outputs are written at the activations'.
        """
        array = cast(UnpuArray, accelerator.compute)
        behavior = cast(UnpuBehavior, accelerator.behavior)
        weight = base.weight_bits(precisions)
        activation = base.activation_bits(precisions)
        compute = compute_cycles(layer.macs, weight, array, behavior.share_of_peak)
        bound = compute_cycles(layer.macs, weight, array, 1.0)
        weights = stationary_elements(layer) * weight
        inputs = touched_input_elements(layer) * activation
        outputs = layer.output_elements * activation
        groups = layer.loops.groups
        times_w, times_a = fetches(
            weights // groups,
            inputs // groups,
            overlap.share_bits(accelerator, "weight") // 2,
            overlap.share_bits(accelerator, "input") // 2,
        )
        traffic = overlap.Traffic(
            dram_read_bits=weights * times_w + inputs * times_a, dram_write_bits=outputs
        )
        traffic.write(accelerator.memory_for("weight"), weights * times_w)
        traffic.write(accelerator.memory_for("input"), inputs * times_a)
        traffic.write(accelerator.memory_for("output"), outputs)
        traffic.read(accelerator.memory_for("output"), outputs)
        return overlap.overlapped_costs(
            accelerator,
            traffic,
            compute_cycles=compute,
            compute_energy_pj={"compute.chip": energy_pj(layer.macs, weight, array)},
            utilization=np.asarray(bound / compute, dtype=np.float64),
            compute_bound_cycles=bound,
            compulsory_dram_bits=weights + inputs + outputs,
        )


COST_MODEL = Unpu()
"""The registered model."""
