"""Operators of the vector unit: pooling, additions, norms, activation functions."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.precision import Precision
from hwmpq.workload.layer import VectorOp


def vector_cycles(operations: int, lanes: int) -> int:
    """Cycles of the vector unit: one elementary operation per lane and cycle.

    >>> vector_cycles(100, 16)
    7
    """
    return ceil(operations / lanes)


def vector_cost(
    layer: VectorOp, precisions: Sequence[Precision], accelerator: Accelerator
) -> LayerCosts:
    """Price one operator of the vector unit.

    It runs on elements of the unit's own width, before they are requantised for the next layer, so
    its cost is the same at every precision.
    Reading and writing overlap with computing: latency is the larger of the two, the excess of
    traffic over computing being the stall.

    Equations (ours): ``compute = ceil(operations / lanes)``, ``traffic = (inputs + parameters +
    outputs) * element_bits`` and, with
    operands in DRAM, ``latency = max(compute, ceil(traffic / bandwidth))``.
    """
    unit = accelerator.vector
    fused = layer.op in unit.fused
    compute = 0 if fused else vector_cycles(layer.operations, unit.lanes)
    read = 0 if fused else (layer.input_elements + layer.parameter_elements) * unit.element_bits
    write = 0 if fused else layer.output_elements * unit.element_bits
    through_dram = unit.operands == "dram"
    dram_read, dram_write = (read, write) if through_dram else (0, 0)
    transfer = ceil((dram_read + dram_write) / accelerator.dram.bandwidth_bits_per_cycle)
    latency = max(compute, transfer)
    size = len(precisions)
    memory = next((m for m in accelerator.memories if "output" in m.holds), None)
    name = memory.name if memory else accelerator.memories[-1].name
    holder = memory or accelerator.memories[-1]

    def ints(value: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.full(size, value, dtype=np.int64)

    def floats(value: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.full(size, value, dtype=np.float64)

    return LayerCosts(
        compute_cycles=ints(compute),
        stall_cycles=ints(latency - compute),
        dram_read_bits=ints(dram_read),
        dram_write_bits=ints(dram_write),
        sram_read_bits={name: ints(read)},
        sram_write_bits={name: ints(write)},
        energy_pj={
            "compute.vector": floats(layer.operations * unit.energy_pj_per_operation),
            f"sram.{name}": floats(
                read * holder.read_energy_pj_per_bit + write * holder.write_energy_pj_per_bit
            ),
            "dram": floats(
                dram_read * accelerator.dram.read_energy_pj_per_bit
                + dram_write * accelerator.dram.write_energy_pj_per_bit
            ),
            "leakage": floats(0.0),
        },
        utilization=floats(0.0 if compute == 0 else layer.operations / (compute * unit.lanes)),
        compute_bound_cycles=ints(compute),
        compulsory_dram_bits=ints(dram_read + dram_write),
    )
