"""Costs of a layer whose memory transfers overlap its computing.

Shared by the cost models that know compute cycles and bits moved in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwmpq.accelerator.energy import leakage_energy_pj
from hwmpq.accelerator.spec import Accelerator, Memory, Operand
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts


@dataclass(slots=True)
class Traffic:
    """Bits that one layer moves, ``[precisions]`` each.

    Attributes:
        dram_read_bits: read from DRAM.
        dram_write_bits: written to DRAM.
        sram_read_bits: read, by memory.
        sram_write_bits: written, by memory.
    """

    dram_read_bits: IntArray
    dram_write_bits: IntArray
    sram_read_bits: dict[str, IntArray] = field(default_factory=dict)
    sram_write_bits: dict[str, IntArray] = field(default_factory=dict)

    def read(self, memory: Memory, bits: IntArray) -> None:
        """Add bits read from an on-chip memory."""
        self.sram_read_bits[memory.name] = self.sram_read_bits.get(memory.name, 0) + bits

    def write(self, memory: Memory, bits: IntArray) -> None:
        """Add bits written to an on-chip memory."""
        self.sram_write_bits[memory.name] = self.sram_write_bits.get(memory.name, 0) + bits


def transfer_cycles(bits: IntArray, bandwidth_bits_per_cycle: float) -> IntArray:
    """Cycles that the DRAM port is busy.

    >>> int(transfer_cycles(np.array(100), 64.0))
    2
    """
    return np.asarray(np.ceil(bits / bandwidth_bits_per_cycle), dtype=np.int64)


def share_bits(accelerator: Accelerator, operand: Operand) -> int:
    """Capacity for one operand: its memory, divided evenly among the operands held there."""
    memory = accelerator.memory_for(operand)
    return memory.size_bits // len(memory.holds)


def traffic_energy_pj(accelerator: Accelerator, traffic: Traffic) -> dict[str, FloatArray]:
    """Energy of moving bits, by component.

    Equation: bits read times energy per bit read plus the same for writing, for DRAM and every
    memory.
    """
    dram = accelerator.dram
    energy: dict[str, FloatArray] = {
        "dram": traffic.dram_read_bits * dram.read_energy_pj_per_bit
        + traffic.dram_write_bits * dram.write_energy_pj_per_bit
    }
    nothing: IntArray = np.zeros_like(traffic.dram_read_bits)
    for memory in accelerator.memories:
        energy[f"sram.{memory.name}"] = (
            traffic.sram_read_bits.get(memory.name, nothing) * memory.read_energy_pj_per_bit
            + traffic.sram_write_bits.get(memory.name, nothing) * memory.write_energy_pj_per_bit
        )
    return energy


def overlapped_costs(
    accelerator: Accelerator,
    traffic: Traffic,
    *,
    compute_cycles: IntArray,
    compute_energy_pj: Mapping[str, FloatArray],
    utilization: FloatArray,
    compute_bound_cycles: IntArray,
    compulsory_dram_bits: IntArray,
    busy_cycles: IntArray | None = None,
    latency_bound_cycles: IntArray | None = None,
    mapping: Mapping[str, Sequence[str]] | None = None,
) -> LayerCosts:
    """Put a layer's costs together; transfers hide behind computing as far as they fit.

    Args:
        accelerator: whose memories and clock.
        traffic: bits moved.
        compute_cycles: cycles the array is busy.
        compute_energy_pj: energy of the array, by component.
        utilization: of the array, 0 to 1.
        compute_bound_cycles: lower bound of the compute cycles.
        compulsory_dram_bits: lower bound of the DRAM traffic.
        busy_cycles: cycles the DRAM is busy, for machines with more than one port.
        latency_bound_cycles: lower bound of the latency, for the same machines.
        mapping: what the model chose.

    Equation (double buffering, no start-up): ``latency = max(compute, ceil((read + written) /
    bandwidth))``; what exceeds computing is the stall.
    """
    moved = traffic.dram_read_bits + traffic.dram_write_bits
    busy = busy_cycles
    if busy is None:
        busy = transfer_cycles(moved, accelerator.dram.bandwidth_bits_per_cycle)
    stall: IntArray = np.maximum(busy - compute_cycles, 0)
    energy = {
        **compute_energy_pj,
        **traffic_energy_pj(accelerator, traffic),
        "leakage": leakage_energy_pj(accelerator, compute_cycles + stall),
    }
    return LayerCosts(
        compute_cycles=compute_cycles,
        stall_cycles=stall,
        dram_read_bits=traffic.dram_read_bits,
        dram_write_bits=traffic.dram_write_bits,
        sram_read_bits=traffic.sram_read_bits,
        sram_write_bits=traffic.sram_write_bits,
        energy_pj=energy,
        utilization=utilization,
        compute_bound_cycles=compute_bound_cycles,
        compulsory_dram_bits=compulsory_dram_bits,
        latency_bound_cycles=latency_bound_cycles,
        mapping=mapping or {},
    )
