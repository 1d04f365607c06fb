"""Systolic arrays: SCALE-Sim's to the cycle, and ours with precision, padding, groups and stalls.

Equations and their sources stand in the modules ``systolic_*``; this one puts them together for
the layers and precisions of a cost table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from hwmpq.accelerator.energy import leakage_energy_pj
from hwmpq.accelerator.spec import Accelerator, Operand
from hwmpq.cost import systolic_dram, systolic_tiles
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.cost.systolic_folds import ceil_of
from hwmpq.cost.systolic_gemm import Gemm, lower
from hwmpq.cost.systolic_mapping import (
    ArrayTraffic,
    Placement,
    array_traffic,
    compute_cycles,
    place,
)
from hwmpq.cost.systolic_ports import check_accumulator, check_ports
from hwmpq.cost.systolic_precision import energy_pj_per_mac
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
    placement: str
    order: str


@dataclass(frozen=True, slots=True)
class _Pricer:
    """A layer on an accelerator, before a precision is chosen."""

    layer: MultiplyLayer
    accelerator: Accelerator
    compute: SystolicCompute
    behavior: SystolicBehavior
    gemm: Gemm

    def output_bits(self, precision: Precision) -> int:
        """Width of a written output."""
        bits = self.behavior.output_bits
        return precision.activation_bits if bits == "activation" else bits

    def compulsory_bits(self, precision: Precision) -> int:
        """Every stored input that is used, every weight and every output, moved once."""
        return (
            touched_input_elements(self.layer) * precision.activation_bits
            + stationary_elements(self.layer) * precision.weight_bits
            + self.layer.output_elements * self.output_bits(precision)
        )

    def fetches(self, placement: Placement, precision: Precision) -> systolic_tiles.Fetches:
        """DRAM reads of one group's operands."""
        inputs = self.accelerator.memory_for("input").size_bits
        weights = self.accelerator.memory_for("weight").size_bits
        gemm = self.gemm
        if self.behavior.dram != "tiled":
            word = self.behavior.word_bits
            exact = self.behavior.dram == "replay"
            array, folds = self.compute.array, placement.folds
            input_half = systolic_dram.active_half(inputs, precision.activation_bits, word)
            weight_half = systolic_dram.active_half(weights, precision.weight_bits, word)
            input_words = systolic_dram.input_reads(gemm, folds, array, input_half, exact=exact)
            weight_words = systolic_dram.weight_reads(gemm.n, gemm.k, folds, array, weight_half)
            return systolic_tiles.Fetches(
                input_bits=input_words * precision.activation_bits,
                weight_bits=weight_words * precision.weight_bits,
                order="",
            )
        tiles = systolic_tiles.tile_counts(
            self.compute.dataflow, placement.folds, placement.chunks
        )
        share, input_tiles, weight_tiles = placement.packed, tiles[0], tiles[1]
        tile_words = systolic_tiles.input_tile_words(gemm, ceil_of(gemm.m, input_tiles))
        total = gemm.k * gemm.n * precision.weight_bits
        return systolic_tiles.fetches(
            systolic_tiles.Operand(
                total_bits=gemm.input_words * precision.activation_bits,
                tile_bits=tile_words * precision.activation_bits,
                half_bits=inputs // 2 // share,
            ),
            systolic_tiles.Operand(
                total_bits=total,
                tile_bits=ceil_of(total, weight_tiles),
                half_bits=weights // 2 // share,
            ),
            input_tiles,
            weight_tiles,
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
        output_buffer = self.accelerator.memory_for("output").size_bits
        placement = place(gemm, precision, compute, behavior, output_buffer)
        cycles = compute_cycles(placement, compute, behavior)
        traffic = array_traffic(gemm, placement, precision, compute, behavior, output_bits)
        fetched = self.fetches(placement, precision)
        outputs = gemm.m * gemm.n * gemm.groups * output_bits
        sums_read = traffic.spilled if behavior.partial_sum_reads else 0
        reads = gemm.groups * (fetched.input_bits + fetched.weight_bits)
        latency = cycles
        if behavior.stalls == "double_buffered":
            latency = systolic_tiles.latency(
                cycles,
                placement.fold_runs,
                reads + sums_read,
                outputs + traffic.spilled,
                self.accelerator.dram.bandwidth_bits_per_cycle,
                behavior.dram_latency_cycles,
            )
        speed = placement.rate
        elements = compute.rows * compute.cols * speed.products
        slip = placement.rounds if behavior.uncounted_last_cycle else 0
        energy = energy_pj_per_mac(precision, compute.scaling, compute.mac_energy)
        work = gemm.m * gemm.n * gemm.k * gemm.groups
        return _Point(
            compute_cycles=cycles,
            latency_cycles=latency,
            dram_input_bits=gemm.groups * fetched.input_bits,
            dram_weight_bits=gemm.groups * fetched.weight_bits,
            dram_output_bits=outputs + traffic.spilled,
            dram_sum_bits=sums_read,
            traffic=traffic,
            bound_cycles=max(0, ceil_of(self.layer.macs * speed.passes, elements) - slip),
            compulsory_bits=self.compulsory_bits(precision),
            busy=min(1.0, work * speed.passes / (elements * cycles)) if cycles else 1.0,
            mac_energy_pj=work * energy,
            placement=str(placement),
            order=fetched.order,
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
        pricer = _Pricer(
            layer=layer,
            accelerator=accelerator,
            compute=cast("SystolicCompute", accelerator.compute),
            behavior=behavior,
            gemm=lower(
                layer,
                store_padding=behavior.padding == "stored",
                ceiling=behavior.output_size == "ceiling",
            ),
        )
        return _costs([pricer.price(precision) for precision in precisions], accelerator)


COST_MODEL: Final = Systolic()
"""The registered model."""
