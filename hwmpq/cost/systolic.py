"""Systolic arrays: SCALE-Sim's to the cycle, and ours with precision, padding, groups and stalls.

Equations and their sources stand in the modules ``systolic_*``; this one puts them together for
the layers and precisions of a cost table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

import numpy as np

from hwmpq.accelerator.energy import leakage_energy_pj
from hwmpq.accelerator.spec import Accelerator, Operand
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.cost.systolic_folds import ceil_of
from hwmpq.cost.systolic_gemm import Gemm, lower
from hwmpq.cost.systolic_mapping import ArrayTraffic, array_traffic
from hwmpq.cost.systolic_ports import check_accumulator, check_ports
from hwmpq.cost.systolic_precision import energy_pj_per_mac, rate
from hwmpq.cost.systolic_schedule import Scheduler
from hwmpq.cost.systolic_spec import SystolicBehavior, SystolicCompute
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.layer import MultiplyLayer

OPERANDS: Final[tuple[Operand, ...]] = ("input", "weight", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """Costs of a layer at one precision; names as in `LayerCosts`."""

    compute_cycles: int
    latency_cycles: int
    dram_input_bits: int
    dram_weight_bits: int
    dram_output_bits: int
    dram_sum_bits: int
    traffic: ArrayTraffic
    bound_cycles: int
    compulsory_bits: int
    busy: float
    mac_energy_pj: float
    mode: str
    placement: str
    order: str


@dataclass(frozen=True)
class _Pricer:
    """A layer on an accelerator, before a precision is chosen."""

    layer: MultiplyLayer
    accelerator: Accelerator
    compute: SystolicCompute
    behavior: SystolicBehavior
    gemm: Gemm
    scheduler: Scheduler

    def output_bits(self, precision: Precision) -> int:
        """Width of a written output."""
        bits = self.behavior.output_bits
        return precision.activation_bits if bits == "activation" else bits

    @cached_property
    def elements(self) -> tuple[int, int, int]:
        """Inputs that are used, weights, and outputs."""
        layer = self.layer
        return touched_input_elements(layer), stationary_elements(layer), layer.output_elements

    @cached_property
    def macs(self) -> int:
        """Operations of the layer itself."""
        return self.layer.macs

    def compulsory_bits(self, precision: Precision) -> int:
        """Every stored input that is used, every weight and every output, moved once."""
        inputs, weights, outputs = self.elements
        return (
            inputs * precision.activation_bits
            + weights * precision.weight_bits
            + outputs * self.output_bits(precision)
        )

    def price(self, precision: Precision) -> _Point:
        """Costs at one precision.

        Raises:
            UnsupportedError: a port or the accumulator is too narrow.
        """
        gemm, compute, behavior = self.gemm, self.compute, self.behavior
        output_bits = self.output_bits(precision)
        check_accumulator(self.layer.name, precision, gemm.k, compute, self.accelerator.name)
        check_ports(precision, gemm.k, compute, self.accelerator)
        schedule = self.scheduler.best(precision, output_bits)
        placement, fetched = schedule.placement, schedule.fetched
        cycles, spilled = schedule.compute_cycles, schedule.spilled_bits
        mode = placement.mode
        traffic = array_traffic(gemm, placement, precision, compute, behavior, output_bits)
        outputs = gemm.m * gemm.n * gemm.groups * output_bits
        elements = compute.rows * compute.cols
        fastest = rate(precision, compute.scaling)
        slip = placement.rounds if behavior.uncounted_last_cycle else 0
        work = gemm.m * gemm.n * gemm.k * gemm.groups
        done, offered = work * placement.rate.passes, elements * placement.rate.products * cycles
        bound = ceil_of(self.macs * fastest.passes, elements * fastest.products) - slip
        return _Point(
            compute_cycles=cycles,
            latency_cycles=schedule.latency_cycles,
            dram_input_bits=gemm.groups * fetched.input_bits,
            dram_weight_bits=gemm.groups * fetched.weight_bits,
            dram_output_bits=outputs + spilled,
            dram_sum_bits=spilled if behavior.partial_sum_reads else 0,
            traffic=traffic,
            bound_cycles=max(0, bound),
            compulsory_bits=self.compulsory_bits(precision),
            busy=min(1.0, done / offered) if offered else 1.0,
            mac_energy_pj=work * energy_pj_per_mac(mode, compute.scaling, compute.mac_energy),
            mode=str(mode),
            placement=str(placement),
            order=fetched.order or "",
        )


def _ints(values: Sequence[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def _costs(points: Sequence[_Point], accelerator: Accelerator) -> LayerCosts:
    """Arrays over precisions, with the energy of what was counted."""
    behavior = cast("SystolicBehavior", accelerator.behavior)
    inputs = accelerator.memory_for("input")
    weights = accelerator.memory_for("weight")
    outputs = accelerator.memory_for("output")
    dram = accelerator.dram
    dram_inputs = _ints([point.dram_input_bits for point in points])
    dram_weights = _ints([point.dram_weight_bits for point in points])
    dram_sums = _ints([point.dram_sum_bits for point in points])
    stored = _ints([point.dram_output_bits for point in points])
    fills = 1 if behavior.buffer_fills else 0
    traffic = [point.traffic for point in points]
    reads = {
        inputs.name: _ints([part.input_reads for part in traffic]),
        weights.name: _ints([part.weight_reads for part in traffic]),
        outputs.name: _ints([part.sum_reads for part in traffic]) + fills * stored,
    }
    writes = {
        inputs.name: fills * dram_inputs,
        weights.name: fills * dram_weights,
        outputs.name: _ints([part.output_writes for part in traffic]) + fills * dram_sums,
    }
    cycles = _ints([point.compute_cycles for point in points])
    latency = _ints([point.latency_cycles for point in points])
    fetched = dram_inputs + dram_weights + dram_sums
    energy: dict[str, FloatArray] = {
        "compute": np.array([point.mac_energy_pj for point in points], dtype=np.float64)
    }
    for memory in (inputs, weights, outputs):
        energy[f"sram.{memory.name}"] = (
            reads[memory.name] * memory.read_energy_pj_per_bit
            + writes[memory.name] * memory.write_energy_pj_per_bit
        )
    energy["dram"] = fetched * dram.read_energy_pj_per_bit + stored * dram.write_energy_pj_per_bit
    energy["leakage"] = leakage_energy_pj(accelerator, latency)
    bound = _ints([point.bound_cycles for point in points])
    return LayerCosts(
        compute_cycles=cycles,
        stall_cycles=latency - cycles,
        dram_read_bits=fetched,
        dram_write_bits=stored,
        sram_read_bits=reads,
        sram_write_bits=writes,
        energy_pj=energy,
        utilization=np.array([point.busy for point in points], dtype=np.float64),
        compute_bound_cycles=bound,
        compulsory_dram_bits=_ints([point.compulsory_bits for point in points]),
        latency_bound_cycles=bound if behavior.stalls == "none" else None,
        mapping={
            "mode": [point.mode for point in points],
            "folds": [point.placement for point in points],
            "dram_order": [point.order for point in points],
        },
    )


def _require_own_memories(accelerator: Accelerator) -> None:
    names = {accelerator.memory_for(operand).name for operand in OPERANDS}
    if len(names) < len(OPERANDS):
        msg = (
            f"accelerator '{accelerator.name}': a systolic array needs a memory of its own for "
            f"inputs, weights and outputs, but {sorted(names)} hold them; split the shared one"
        )
        raise UnsupportedError(msg)


@dataclass(frozen=True, slots=True)
class Systolic:
    """Cost model of systolic arrays."""

    compute_spec: type[SystolicCompute] = SystolicCompute
    behavior_spec: type[SystolicBehavior] = SystolicBehavior

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions.

        Raises:
            UnsupportedError: a port or the accumulator is too narrow for a precision, or operands
                share a memory.
        """
        _require_own_memories(accelerator)
        behavior = cast("SystolicBehavior", accelerator.behavior)
        gemm = lower(
            layer,
            store_padding=behavior.padding == "stored",
            ceiling=behavior.output_size == "ceiling",
        )
        pricer = _Pricer(
            layer=layer,
            accelerator=accelerator,
            compute=cast("SystolicCompute", accelerator.compute),
            behavior=behavior,
            gemm=gemm,
            scheduler=Scheduler(gemm=gemm, accelerator=accelerator),
        )
        return _costs([pricer.price(precision) for precision in precisions], accelerator)


COST_MODEL: Final = Systolic()
"""The registered model."""
