"""From one layer's costs to the columns of the cost table: sums, memory, bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.base import (
    FloatArray,
    IntArray,
    LayerCosts,
    NumberArray,
    activation_bits,
    weight_bits,
)
from hwmpq.cost.on_chip import on_chip_columns
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.layer import MULTIPLY_LAYERS, Layer


def _group_energy(costs: LayerCosts) -> dict[str, FloatArray]:
    """Energy by group; what is neither sram, dram nor leakage counts as compute."""
    zero: FloatArray = np.zeros(len(costs.compute_cycles), dtype=np.float64)
    groups: dict[str, FloatArray] = dict.fromkeys(("compute", "sram", "dram", "leakage"), zero)
    for component, values in costs.energy_pj.items():
        head = component.partition(".")[0]
        group = head if head in groups else "compute"
        groups[group] = groups[group] + values
    return groups


def _sum(
    parts: Mapping[str, Any], dtype: type[np.int64] | type[np.float64], size: int
) -> NumberArray:
    """Sum of named arrays ``[precisions]``."""
    total: NumberArray = np.zeros(size, dtype=dtype)
    for part in parts.values():
        total = total + part
    return total


def latency_bound_cycles(costs: LayerCosts, bandwidth_bits_per_cycle: float) -> IntArray:
    """Lower bound of a layer's latency, ``[precisions]``: busy units or a busy DRAM port.

    Equation: ``max(compute_bound, ceil(compulsory_dram_bits / bandwidth))``, unless the model
    states its own.
    """
    if costs.latency_bound_cycles is not None:
        return costs.latency_bound_cycles
    transfer = np.ceil(costs.compulsory_dram_bits / bandwidth_bits_per_cycle).astype(np.int64)
    bound: IntArray = np.maximum(costs.compute_bound_cycles, transfer)
    return bound


def layer_columns(
    layer: Layer, costs: LayerCosts, precisions: Sequence[Precision], accelerator: Accelerator
) -> dict[str, NumberArray]:
    """One layer's columns of the cost table, each ``[precisions]``."""
    weights, activations = weight_bits(precisions), activation_bits(precisions)
    if not isinstance(layer, MULTIPLY_LAYERS):
        # the vector unit keeps its own width, whatever the columns say
        weights = activations = np.full_like(weights, accelerator.vector.element_bits)
    groups = _group_energy(costs)
    moving = layer.input_elements + layer.output_elements
    columns: dict[str, NumberArray] = {
        "compute_cycles": costs.compute_cycles,
        "stall_cycles": costs.stall_cycles,
        "latency_cycles": costs.compute_cycles + costs.stall_cycles,
        "dram_read_bits": costs.dram_read_bits,
        "dram_write_bits": costs.dram_write_bits,
        "sram_read_bits": _sum(costs.sram_read_bits, np.int64, len(weights)),
        "sram_write_bits": _sum(costs.sram_write_bits, np.int64, len(weights)),
        "weight_memory_bits": layer.weight_elements * weights,
        "activation_memory_bits": moving * activations,
        "energy_pj": _sum(groups, np.float64, len(weights)),
        **{f"energy_{group}_pj": values for group, values in groups.items()},
        "utilization": costs.utilization,
        "bops": layer.macs * weights * activations,
        "compute_bound_cycles": costs.compute_bound_cycles,
        "compulsory_dram_bits": costs.compulsory_dram_bits,
        "latency_bound_cycles": latency_bound_cycles(
            costs, accelerator.dram.bandwidth_bits_per_cycle
        ),
        **on_chip_columns(layer, precisions, accelerator),
    }
    columns |= {f"sram_read_bits.{name}": bits for name, bits in costs.sram_read_bits.items()}
    columns |= {f"sram_write_bits.{name}": bits for name, bits in costs.sram_write_bits.items()}
    columns |= {f"energy_pj.{name}": energy for name, energy in costs.energy_pj.items()}
    return columns


def check_columns(layer: Layer, columns: Mapping[str, NumberArray], accelerator: str) -> None:
    """Refuse costs that no machine has.

    Raises:
        UnsupportedError: a cost is negative or not finite.
    """
    for name, values in columns.items():
        # Comparisons with what is not a number are false.
        if not (values.min() >= 0 and values.max() < np.inf):
            msg = (
                f"the cost model of '{accelerator}' gave {name} = {values.tolist()} for layer "
                f"'{layer.name}'; costs must be finite and not negative"
            )
            raise UnsupportedError(msg)
