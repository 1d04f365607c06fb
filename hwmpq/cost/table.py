"""The cost table: every layer of a workload at every precision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hwmpq import registry
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.base import CostModel, IntArray, NumberArray
from hwmpq.cost.columns import check_columns, layer_columns
from hwmpq.cost.vector import vector_cost
from hwmpq.errors import Problem, SpecError, UnsupportedError
from hwmpq.precision import Assignment, Precision
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import MULTIPLY_LAYERS, Layer, VectorOp, without_name

CSV_COLUMNS: Final = (
    "layer",
    "op",
    "weight_bits",
    "activation_bits",
    "macs",
    "compute_cycles",
    "stall_cycles",
    "latency_cycles",
    "dram_read_bits",
    "dram_write_bits",
    "sram_read_bits",
    "sram_write_bits",
    "weight_memory_bits",
    "activation_memory_bits",
    "energy_pj",
    "energy_compute_pj",
    "energy_sram_pj",
    "energy_dram_pj",
    "energy_leakage_pj",
    "utilization",
)
"""First columns of every cost CSV, in this order; further ones follow."""

_META_KEY: Final = b"hwmpq"


@dataclass(frozen=True, kw_only=True, eq=False)
class CostTable:
    """Costs of a workload on an accelerator; arrays are ``[layers, precisions]``.

    Attributes:
        workload: name of the workload.
        accelerator: name of the accelerator.
        clock_hz: clock, to turn cycles into seconds.
        layers: priced operators in execution order.
        ops: operator of each layer.
        macs: multiply-accumulate operations of each layer.
        choosable: whether a layer has a bit-width to choose; the others cost the same at every
            precision.
        precisions: the columns.
        columns: arrays by column name of the CSV form, further ones included
            (``sram_read_bits.weight_buffer``, ``bops``, bounds).
        mappings: what the model chose, ``[layers]`` of ``[precisions]`` text; may be empty.
        meta: hashes and versions of the inputs.
    """

    workload: str
    accelerator: str
    clock_hz: int
    layers: tuple[str, ...]
    ops: tuple[str, ...]
    macs: IntArray
    choosable: np.ndarray[Any, np.dtype[np.bool_]]
    precisions: tuple[Precision, ...]
    columns: Mapping[str, NumberArray]
    mappings: tuple[Mapping[str, Sequence[str]], ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """In a notebook, what it is instead of every number."""
        shape = f"{len(self.layers)} operators, {len(self.precisions)} precisions"
        return f"CostTable({self.workload} on {self.accelerator}: {shape})"

    def __getattr__(self, name: str) -> NumberArray:
        """Columns by attribute, such as ``table.latency_cycles``."""
        columns = self.__dict__.get("columns", {})
        if name in columns:
            found: NumberArray = columns[name]
            return found
        msg = f"a cost table has no column '{name}'"
        raise AttributeError(msg)

    @property
    def choosable_layers(self) -> tuple[str, ...]:
        """Layers that have a bit-width to choose."""
        return tuple(
            layer for layer, choose in zip(self.layers, self.choosable, strict=True) if choose
        )

    def precision_index(self, precision: Precision) -> int:
        """Column of a precision.

        Raises:
            UnsupportedError: the table has no such column.
        """
        try:
            return self.precisions.index(precision)
        except ValueError:
            known = ", ".join(str(known) for known in self.precisions)
            msg = f"the cost table has no precision {precision}; it holds {known}"
            raise UnsupportedError(msg) from None

    def select(self, assignment: Assignment) -> IntArray:
        """Column index of each layer under an assignment, ``[layers]``.

        Raises:
            UnsupportedError: a choosable layer has no entry, or an entry names no layer.
        """
        unknown = sorted(set(assignment) - set(self.choosable_layers))
        if unknown:
            msg = f"the policy names {unknown}, which are no layers of '{self.workload}'"
            raise UnsupportedError(msg)
        chosen = np.zeros(len(self.layers), dtype=np.int64)
        for row, layer in enumerate(self.layers):
            if not self.choosable[row]:
                continue
            if layer not in assignment:
                msg = f"the policy has no entry for layer '{layer}' of '{self.workload}'"
                raise UnsupportedError(msg)
            chosen[row] = self.precision_index(assignment[layer])
        return chosen

    def per_layer(self, column: str, assignment: Assignment) -> NumberArray:
        """One column under an assignment, ``[layers]``."""
        values: NumberArray = self.columns[column][
            np.arange(len(self.layers)), self.select(assignment)
        ]
        return values

    def total(self, column: str, assignment: Assignment) -> float:
        """Sum of a column over all layers under an assignment."""
        return float(self.per_layer(column, assignment).sum())

    def uniform(self, precision: Precision) -> dict[str, Precision]:
        """The assignment that gives every layer the same precision."""
        self.precision_index(precision)
        return dict.fromkeys(self.choosable_layers, precision)

    def to_pandas(self, assignment: Assignment | None = None) -> pd.DataFrame:
        """One row per layer and precision, with the CSV's columns.

        With an assignment, one row per layer: at its chosen precision, or at the first column
        where it has none to choose.
        """
        count = len(self.precisions)
        frame: dict[str, Any] = {
            "layer": np.repeat(np.array(self.layers, dtype=object), count),
            "op": np.repeat(np.array(self.ops, dtype=object), count),
            "weight_bits": np.tile([p.weight_bits for p in self.precisions], len(self.layers)),
            "activation_bits": np.tile(
                [p.activation_bits for p in self.precisions], len(self.layers)
            ),
            "macs": np.repeat(self.macs, count),
        }
        ordered = [name for name in CSV_COLUMNS if name in self.columns]
        ordered += [name for name in self.columns if name not in CSV_COLUMNS]
        frame |= {name: self.columns[name].reshape(-1) for name in ordered}
        table = pd.DataFrame(frame)
        if assignment is None:
            return table
        rows = np.arange(len(self.layers)) * count + self.select(assignment)
        return table.iloc[rows].reset_index(drop=True)

    def save(self, file: Path) -> None:
        """Write as Parquet, with names and hashes in its metadata."""
        meta = {
            "workload": self.workload,
            "accelerator": self.accelerator,
            "clock_hz": self.clock_hz,
            "choosable": [bool(value) for value in self.choosable],
            "meta": dict(self.meta),
        }
        table = pa.Table.from_pandas(self.to_pandas(), preserve_index=False)
        table = table.replace_schema_metadata({_META_KEY: json.dumps(meta).encode()})
        pq.write_table(table, file)

    @classmethod
    def load(cls, file: Path) -> CostTable:
        """Read what `save` wrote.

        Raises:
            SpecError: not a cost table.
        """
        try:
            table = pq.read_table(file)
            meta = json.loads((table.schema.metadata or {})[_META_KEY])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            rule = f"is not a cost table written by hwmpq ({type(error).__name__})"
            raise SpecError(str(file), [Problem("file", rule)]) from error
        frame = table.to_pandas()
        names = tuple(dict.fromkeys(frame["layer"]))
        count = len(frame) // len(names)
        columns = {
            name: frame[name].to_numpy().reshape(len(names), count)
            for name in frame.columns
            if name not in {"layer", "op", "weight_bits", "activation_bits", "macs"}
        }
        pairs = zip(frame["weight_bits"][:count], frame["activation_bits"][:count], strict=True)
        return cls(
            workload=meta["workload"],
            accelerator=meta["accelerator"],
            clock_hz=meta["clock_hz"],
            layers=names,
            ops=tuple(frame["op"][::count]),
            macs=frame["macs"].to_numpy()[::count],
            choosable=np.array(meta["choosable"], dtype=np.bool_),
            precisions=tuple(Precision(int(w), int(a)) for w, a in pairs),
            columns=columns,
            meta=meta["meta"],
        )


def _stack(rows: Sequence[NumberArray]) -> NumberArray:
    stacked: NumberArray = np.stack(rows)
    return stacked


def cost_model_of(workload: Workload, accelerator: Accelerator) -> tuple[CostModel, bool]:
    """The cost model that an accelerator names, and whether it tells equal layers apart.

    A model that prices layers by name or position (a measured table) binds to the workload.
    """
    model: CostModel = registry.resolve("cost", accelerator.architecture)
    bind = getattr(model, "bind", None)
    return (model, False) if bind is None else (bind(workload, accelerator), True)


def cost_table(
    workload: Workload, accelerator: Accelerator, precisions: Sequence[Precision]
) -> CostTable:
    """Price every operator of a workload at every precision; equal shapes are priced once.

    Raises:
        UnsupportedError: an operator or a precision that the accelerator cannot price.
    """
    wanted = tuple(dict.fromkeys(precisions))
    if not wanted:
        msg = "a cost table needs at least one precision"
        raise UnsupportedError(msg)
    accelerator.require(wanted)
    model, by_name = cost_model_of(workload, accelerator)
    seen: dict[Layer, tuple[dict[str, NumberArray], Mapping[str, Sequence[str]]]] = {}
    rows = []
    mappings = []
    for layer in workload.priced_layers:
        key = layer if by_name else without_name(layer)
        if key not in seen:
            if isinstance(layer, MULTIPLY_LAYERS):
                costs = model.layer_cost(layer, wanted, accelerator)
            elif isinstance(layer, VectorOp):
                costs = vector_cost(layer, wanted, accelerator)
            else:
                msg = f"layer '{layer.name}' ({layer.op}) has no price on '{accelerator.name}'"
                raise UnsupportedError(msg)
            columns = layer_columns(layer, costs, wanted, accelerator)
            check_columns(layer, columns, accelerator.name)
            seen[key] = (columns, costs.mapping)
        rows.append(seen[key][0])
        mappings.append(seen[key][1])
    names = dict.fromkeys(name for row in rows for name in row)
    none: IntArray = np.zeros(len(wanted), dtype=np.int64)
    layers = workload.priced_layers
    return CostTable(
        workload=workload.name,
        accelerator=accelerator.name,
        clock_hz=accelerator.clock_hz,
        layers=tuple(layer.name for layer in layers),
        ops=tuple(layer.op for layer in layers),
        macs=np.array([layer.macs for layer in layers], dtype=np.int64),
        choosable=np.array([isinstance(layer, MULTIPLY_LAYERS) for layer in layers]),
        precisions=wanted,
        columns={name: _stack([row.get(name, none) for row in rows]) for name in names},
        mappings=tuple(mappings),
        meta={
            "workload_sha256": workload.fingerprint,
            "accelerator_sha256": accelerator.fingerprint,
        },
    )
