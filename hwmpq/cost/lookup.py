"""Any measured table as a cost model: latencies of a real device drive everything else.

The table gives a latency for every layer and pair of bit-widths, as CSV or as NPY in the form that
HAQ published (layers x weight bits x activation bits). What a table does not say is not made up:
without energies the accelerator file must state that there are none, and a missing entry is an
error that names the layer and the precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import BeforeValidator, Field

from hwmpq.accelerator.spec import Accelerator, BitWidths, Spec
from hwmpq.cost.base import FloatArray, IntArray, LayerCosts
from hwmpq.cost.lookup_table import ENERGY, LATENCY, Measured, read_csv, read_npy
from hwmpq.errors import Problem, SpecError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import MultiplyLayer


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class LookupTable(Spec):
    """Where the measurements are.

    Attributes:
        table: a ``.csv`` or ``.npy`` file; a relative path starts at the accelerator file's
            folder.
        match: ``name`` finds a layer by its name; ``order`` takes the table's layers for the
            workload's multiplying layers in execution order, and wants as many of them.
        layers: names of an NPY table's layers, in order, for ``match: name``.
        weight_bits: widths along an NPY table's second axis; 1, 2, ... when left out.
        activation_bits: widths along its third axis; 1, 2, ... when left out.
        energy_table: an NPY file of the same shape with energies in pJ.
    """

    table: Annotated[str, Field(min_length=1)]
    match: Literal["name", "order"] = "name"
    layers: Annotated[tuple[str, ...] | None, BeforeValidator(_tuple)] = None
    weight_bits: BitWidths | None = None
    activation_bits: BitWidths | None = None
    energy_table: Annotated[str, Field(min_length=1)] | None = None

    @property
    def input_files(self) -> tuple[str, ...]:
        """Files whose content decides costs."""
        return (self.table, self.energy_table) if self.energy_table else (self.table,)


class LookupBehavior(Spec):
    """What to do about what was not measured.

    Attributes:
        energy: ``measured`` needs energies in the table; ``none`` reports zero energy, which then
            means nothing and must not be budgeted.
    """

    energy: Literal["measured", "none"] = "measured"


def read_table(accelerator: Accelerator) -> Measured:
    """Read and check the table that an accelerator file names.

    Raises:
        SpecError: the file is missing or broken; all problems at once.
    """
    spec = cast(LookupTable, accelerator.compute)
    file = accelerator.resolve_path(spec.table)
    suffix = file.suffix.lower()
    if suffix == ".csv":
        measured = read_csv(file, accelerator.clock_hz)
    elif suffix == ".npy":
        if spec.match == "name" and spec.layers is None:
            fix = "List the layers' names in compute.layers, or set match: order."
            rule = "an NPY table names no layers"
            raise SpecError(str(file), [Problem("compute.match", rule, value="name", fix=fix)])
        energy = accelerator.resolve_path(spec.energy_table) if spec.energy_table else None
        measured = read_npy(file, energy, spec.layers, spec.weight_bits, spec.activation_bits)
    else:
        raise SpecError(
            str(file), [Problem("compute.table", "must end in .csv or .npy", value=file.suffix)]
        )
    behavior = cast(LookupBehavior, accelerator.behavior)
    if behavior.energy == "measured" and ENERGY not in measured.columns:
        fix = (
            f"Add a column {ENERGY} (or compute.energy_table), or state that there is none with "
            "behavior: {energy: none}."
        )
        raise SpecError(str(file), [Problem(ENERGY, "the table holds no energies", fix=fix)])
    return measured


@dataclass(frozen=True, slots=True)
class BoundLookup:
    """The cost model of one workload: its layers' names resolved to rows of the table.

    Attributes:
        file: the table, for messages.
        rows: row name in the table by layer name; names that are missing stand for themselves.
        measured: the table.
    """

    file: Path
    measured: Measured
    rows: Mapping[str, str] = field(default_factory=dict)
    compute_spec: type[Spec] = LookupTable
    behavior_spec: type[Spec] = LookupBehavior

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Look one layer up at all precisions.

        A measured latency is its own lower bound: nothing is known of what the device could do.

        Raises:
            UnsupportedError: the table has no entry for the layer or a precision.
        """
        row = self.rows.get(layer.name, layer.name)
        found = self.measured.find(row, precisions, f"layer '{layer.name}' in '{self.file}'")
        size = len(precisions)
        nothing: IntArray = np.zeros(size, dtype=np.int64)

        def whole(name: str) -> IntArray:
            values = found.get(name)
            return nothing if values is None else np.asarray(np.ceil(values), dtype=np.int64)

        latency = whole(LATENCY)
        compute = whole("compute_cycles") if "compute_cycles" in found else latency
        behavior = cast(LookupBehavior, accelerator.behavior)
        energy: FloatArray = np.zeros(size)
        if behavior.energy == "measured":
            energy = found[ENERGY]
        return LayerCosts(
            compute_cycles=compute,
            stall_cycles=latency - compute,
            dram_read_bits=whole("dram_read_bits"),
            dram_write_bits=whole("dram_write_bits"),
            sram_read_bits={},
            sram_write_bits={},
            energy_pj={"compute.measured": energy},
            utilization=np.ones(size),
            compute_bound_cycles=compute,
            compulsory_dram_bits=nothing,
            latency_bound_cycles=latency,
        )


class Lookup:
    """The cost model; `bind` gives the one for a workload."""

    compute_spec = LookupTable
    behavior_spec = LookupBehavior

    def bind(self, workload: Workload, accelerator: Accelerator) -> BoundLookup:
        """Read the table once and match its layers with a workload's.

        Raises:
            SpecError: the table is broken.
            UnsupportedError: matched by order, the numbers of layers differ.
        """
        spec = cast(LookupTable, accelerator.compute)
        file = accelerator.resolve_path(spec.table)
        measured = read_table(accelerator)
        if spec.match == "name":
            return BoundLookup(file, measured)
        names = [layer.name for layer in workload.multiply_layers]
        if len(names) != len(measured.layers):
            msg = (
                f"'{file}' holds {len(measured.layers)} layers, but '{workload.name}' has "
                f"{len(names)} multiplying layers; match: order needs as many"
            )
            raise UnsupportedError(msg)
        return BoundLookup(file, measured, dict(zip(names, measured.layers, strict=True)))

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Look one layer up by name, outside any workload.

        Raises:
            SpecError: the table is broken.
            UnsupportedError: no such entry, or layers are matched by order.
        """
        spec = cast(LookupTable, accelerator.compute)
        if spec.match == "order":
            msg = (
                f"accelerator '{accelerator.name}' matches layers by order, which needs the whole "
                "workload; price it with cost_table"
            )
            raise UnsupportedError(msg)
        bound = BoundLookup(accelerator.resolve_path(spec.table), read_table(accelerator))
        return bound.layer_cost(layer, precisions, accelerator)


COST_MODEL = Lookup()
"""The registered model."""
