"""Columns of the cost table that say what of a layer fits on chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hwmpq.accelerator.spec import Accelerator, Operand
from hwmpq.cost.base import FloatArray, IntArray, NumberArray, activation_bits, weight_bits
from hwmpq.cost.memory import operand_elements
from hwmpq.cost.vector import vector_memory, vector_tensor_bits
from hwmpq.precision import Precision
from hwmpq.workload.layer import MULTIPLY_LAYERS, Layer, VectorOp


def _operand_bits(
    layer: Layer, precisions: Sequence[Precision], accelerator: Accelerator
) -> Mapping[Operand, IntArray]:
    """Bits of each operand, ``[precisions]``; outputs at the vector unit's element width."""
    width: IntArray = np.full(len(precisions), accelerator.vector.element_bits, dtype=np.int64)
    if not isinstance(layer, MULTIPLY_LAYERS):
        return {}
    elements = operand_elements(layer)
    return {
        "weight": elements["weight"] * weight_bits(precisions),
        "input": elements["input"] * activation_bits(precisions),
        "output": elements["output"] * width,
    }


def _share(wanted_bits: IntArray, size_bits: int) -> FloatArray:
    """Part that is on chip at once, 0 to 1; all of nothing."""
    share: FloatArray = np.minimum(1.0, size_bits / np.maximum(wanted_bits, 1))
    return share


def on_chip_columns(
    layer: Layer, precisions: Sequence[Precision], accelerator: Accelerator
) -> dict[str, NumberArray]:
    """Working set of an operator and how much of it is on chip at once, each ``[precisions]``.

    ``working_set_bits`` holds every operand once and whole. ``resident_fraction.<memory>`` is the
    part of the operands that belong into a memory that it can hold, 1 where none do, and
    ``resident_fraction`` that of the whole working set, each operand in the memory that holds most
    of it. Tensors of a vector operator belong into the memory behind the vector unit.

    Equation: ``min(1, size_bits / bits of the operands a memory holds)``, as in
    `hwmpq.cost.memory.residency`.
    """
    held = _operand_bits(layer, precisions, accelerator)
    nothing: IntArray = np.zeros(len(precisions), dtype=np.int64)
    wanted: dict[str, IntArray] = {}
    for memory in accelerator.memories:
        parts = [held[operand] for operand in memory.holds if operand in held]
        wanted[memory.name] = sum(parts, start=nothing)
    behind = vector_memory(accelerator)
    tensors = nothing
    if isinstance(layer, VectorOp):
        tensors = nothing + sum(vector_tensor_bits(layer, accelerator))
        wanted[behind.name] = tensors
    shares = {
        memory.name: _share(wanted[memory.name], memory.size_bits)
        for memory in accelerator.memories
    }
    resident: FloatArray = tensors * shares[behind.name]
    for operand, bits in held.items():
        places = [shares[m.name] for m in accelerator.memories if operand in m.holds]
        resident = resident + bits * np.max(places, axis=0, initial=0.0)
    working_set = sum(held.values(), start=tensors)
    everything = np.maximum(working_set, 1)
    whole: FloatArray = np.where(working_set == 0, 1.0, resident / everything)
    return {
        "working_set_bits": working_set,
        "resident_fraction": np.minimum(whole, 1.0),
        **{f"resident_fraction.{name}": share for name, share in shares.items()},
    }
