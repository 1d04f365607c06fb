"""Operators of the vector unit: pooling, additions, norms, activation functions."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from hwmpq.accelerator.energy import leakage_energy_pj
from hwmpq.accelerator.spec import Accelerator, Memory
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts
from hwmpq.precision import Precision
from hwmpq.workload.layer import VectorOp


def vector_cycles(operations: int, lanes: int) -> int:
    """Cycles of the vector unit: one elementary operation per lane and cycle.

    >>> vector_cycles(100, 16)
    7
    """
    return ceil(operations / lanes)


def vector_operations(layer: VectorOp) -> int:
    """Operations that are priced: those of the operator, at least a move per element written."""
    return max(layer.operations, layer.output_elements)


def port_bits_per_cycle(memory: Memory) -> int | None:
    """Bits that a memory's single ports pass in a cycle; None where their width is not known."""
    return None if memory.width_bits is None else memory.banks * memory.width_bits


def vector_memory(accelerator: Accelerator) -> Memory:
    """The memory behind the vector unit: the one that holds outputs, or the last one."""
    holders = (memory for memory in accelerator.memories if "output" in memory.holds)
    return next(holders, accelerator.memories[-1])


def vector_tensor_bits(layer: VectorOp, accelerator: Accelerator) -> tuple[int, int]:
    """Bits that an operator reads and writes; a fused one has no tensors of its own."""
    unit = accelerator.vector
    if layer.op in unit.fused:
        return 0, 0
    read = (layer.input_elements + layer.parameter_elements) * unit.element_bits
    return read, layer.output_elements * unit.element_bits


def vector_cost(
    layer: VectorOp, precisions: Sequence[Precision], accelerator: Accelerator
) -> LayerCosts:
    """Price one operator of the vector unit.

    It runs on elements of the unit's own width, before they are requantised for the next layer, so
    its cost is the same at every precision. Reading and writing overlap with computing: latency is
    the largest of the three, the excess over computing being the stall.

    Equations (ours): ``compute = ceil(operations / lanes)``; ``read = (inputs + parameters) *
    element_bits``; ``write = outputs * element_bits``. With operands on chip the buffer passes
    ``read + write`` through its ports. With operands in DRAM, or larger than the buffer, they
    stream through the buffer, which is then written and read once for every bit that crosses the
    chip's port, and ``latency = max(compute, ceil((read + write) / bandwidth), ceil(buffer bits /
    port width))``.

    A fused operator is applied on the way out of the array: no cycle and no traffic of its own,
    but its operations cost energy.
    """
    unit = accelerator.vector
    memory = vector_memory(accelerator)
    operations = vector_operations(layer)
    fused = layer.op in unit.fused
    compute = 0 if fused else vector_cycles(operations, unit.lanes)
    read, write = vector_tensor_bits(layer, accelerator)
    through_dram = unit.operands == "dram" or read + write > memory.size_bits
    dram_read, dram_write = (read, write) if through_dram else (0, 0)
    sram_read = read + dram_write
    sram_write = write + dram_read
    transfer = ceil((dram_read + dram_write) / accelerator.dram.bandwidth_bits_per_cycle)
    port = port_bits_per_cycle(memory)
    through_port = 0 if port is None else ceil((sram_read + sram_write) / port)
    latency = max(compute, transfer, through_port)
    size = len(precisions)

    def ints(value: int) -> IntArray:
        return np.full(size, value, dtype=np.int64)

    def floats(value: float) -> FloatArray:
        return np.full(size, value, dtype=np.float64)

    moved_pj = (
        dram_read * accelerator.dram.read_energy_pj_per_bit
        + dram_write * accelerator.dram.write_energy_pj_per_bit
    )
    return LayerCosts(
        compute_cycles=ints(compute),
        stall_cycles=ints(latency - compute),
        dram_read_bits=ints(dram_read),
        dram_write_bits=ints(dram_write),
        sram_read_bits={memory.name: ints(sram_read)},
        sram_write_bits={memory.name: ints(sram_write)},
        energy_pj={
            "compute.vector": floats(operations * unit.energy_pj_per_operation),
            f"sram.{memory.name}": floats(
                sram_read * memory.read_energy_pj_per_bit
                + sram_write * memory.write_energy_pj_per_bit
            ),
            "dram": floats(moved_pj),
            "leakage": leakage_energy_pj(accelerator, ints(latency)),
        },
        utilization=floats(0.0 if compute == 0 else operations / (compute * unit.lanes)),
        compute_bound_cycles=ints(compute),
        compulsory_dram_bits=ints(dram_read + dram_write),
    )
