"""The seam of cost models: one layer in, its costs at every precision out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from hwmpq.accelerator.spec import Accelerator
from hwmpq.precision import Precision
from hwmpq.workload.layer import MultiplyLayer

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
NumberArray: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerCosts:
    """What one layer costs; every array is ``[precisions]``.

    Attributes:
        compute_cycles: cycles the array is busy.
        stall_cycles: further cycles spent waiting for memory.
        dram_read_bits: read from DRAM.
        dram_write_bits: written to DRAM.
        sram_read_bits: read, by name of the on-chip memory.
        sram_write_bits: written, by name of the on-chip memory.
        energy_pj: by component. A component's group is the text before the first dot: ``compute``,
            ``sram.weight_buffer``, ``dram``,
            ``leakage``. Groups other than sram, dram and leakage count as compute in summaries.
        utilization: useful work over what the array could do in the compute cycles, 0 to 1.
        compute_bound_cycles: lower bound of the compute cycles: all units busy in every cycle.
        compulsory_dram_bits: lower bound of DRAM traffic: every operand moved once. Zero where the
            model keeps a layer's operands on chip.
        latency_bound_cycles: lower bound of the latency; None stands for the larger of
            ``compute_bound_cycles`` and the compulsory traffic over the DRAM bandwidth. A model
            that
            knows no bandwidth gives its compute bound.
        mapping: what the model chose, by name (tile sizes, loop order), one text a precision; may
            be empty.
    """

    compute_cycles: IntArray
    stall_cycles: IntArray
    dram_read_bits: IntArray
    dram_write_bits: IntArray
    sram_read_bits: Mapping[str, IntArray]
    sram_write_bits: Mapping[str, IntArray]
    energy_pj: Mapping[str, FloatArray]
    utilization: FloatArray
    compute_bound_cycles: IntArray
    compulsory_dram_bits: IntArray
    latency_bound_cycles: IntArray | None = None
    mapping: Mapping[str, Sequence[str]] = field(default_factory=dict)


class CostModel(Protocol):
    """Prices the multiplying layers of one family of accelerators.

    A module of ``hwmpq/cost`` that defines ``COST_MODEL`` is such a model; its registry name is
    the module name. Layers of equal shape are priced once; a model that prices them by name or
    position defines ``bind(workload, accelerator)``, which returns the model of that workload, and
    is then asked for every layer. A ``compute`` that reads files lists them in ``input_files``. A
    model of machines that take other resources than area names them in ``resources(accelerator)``.

    Attributes:
        compute_spec: schema of the accelerator file's ``compute``.
        behavior_spec: schema of its ``behavior``.
    """

    @property
    def compute_spec(self) -> type[BaseModel]:
        """Schema of ``compute``."""
        ...

    @property
    def behavior_spec(self) -> type[BaseModel]:
        """Schema of ``behavior``."""
        ...

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions at once.

        Raises:
            UnsupportedError: the layer or a precision cannot be priced.
        """
        ...


def weight_bits(precisions: Sequence[Precision]) -> IntArray:
    """Weight bits as an array ``[precisions]``."""
    return np.array([precision.weight_bits for precision in precisions], dtype=np.int64)


def activation_bits(precisions: Sequence[Precision]) -> IntArray:
    """Activation bits as an array ``[precisions]``."""
    return np.array([precision.activation_bits for precision in precisions], dtype=np.int64)


def ceil_div(numerator: IntArray | int, denominator: IntArray | int) -> IntArray:
    """Integer division rounded up.

    >>> int(ceil_div(7, 2))
    4
    """
    return np.asarray(-(-np.asarray(numerator) // np.asarray(denominator)), dtype=np.int64)
