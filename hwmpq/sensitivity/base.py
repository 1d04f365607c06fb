"""The seam of sensitivity metrics, and the table that a metric fills."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hwmpq.errors import Problem, SpecError, UnsupportedError
from hwmpq.files import write_atomic
from hwmpq.precision import Precision

if TYPE_CHECKING:
    from torch import nn

    from hwmpq.workload.graph import Workload

FloatArray: TypeAlias = npt.NDArray[np.float64]
_META_KEY: Final = b"hwmpq"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SensitivityTable:
    """How much each layer minds each precision; lower is better.

    Only differences within a layer and sums over layers mean anything; the unit is the metric's.

    Attributes:
        layers: names of the layers that have a bit-width to choose.
        precisions: the columns.
        values: ``[layers, precisions]``; positive infinity forbids a choice.
        metric: registry name of the metric, or where the table came from.
        meta: seed, hashes and settings of the measurement.
    """

    layers: tuple[str, ...]
    precisions: tuple[Precision, ...]
    values: FloatArray
    metric: str
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        shape = (len(self.layers), len(self.precisions))
        if values.shape != shape:
            msg = f"sensitivities must have shape {shape}, but got {values.shape}"
            raise UnsupportedError(msg)
        for what, names in (("layers", self.layers), ("precisions", self.precisions)):
            if len(set(names)) != len(names):
                msg = f"the {what} of a sensitivity table must differ, but got {names}"
                raise UnsupportedError(msg)
        bad = np.isnan(values) | np.isneginf(values)
        if bad.any():
            row, column = (int(index) for index in np.argwhere(bad)[0])
            msg = (
                f"metric '{self.metric}' gave {values[row, column]} for layer "
                f"'{self.layers[row]}' at {self.precisions[column]}; sensitivities must be "
                "numbers (positive infinity forbids a choice)"
            )
            raise UnsupportedError(msg)
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __repr__(self) -> str:
        """In a notebook, what it is instead of every number."""
        shape = f"{len(self.layers)} layers, {len(self.precisions)} precisions"
        return f"SensitivityTable({self.metric}: {shape})"

    def row(self, layer: str) -> FloatArray:
        """Sensitivities of one layer, ``[precisions]``.

        Raises:
            UnsupportedError: the table has no such layer.
        """
        try:
            values: FloatArray = self.values[self.layers.index(layer)]
        except ValueError:
            msg = f"the sensitivity table of '{self.metric}' has no layer '{layer}'"
            raise UnsupportedError(msg) from None
        return values

    def at(self, layer: str, precision: Precision) -> float:
        """One entry.

        Raises:
            UnsupportedError: the table has no such layer or precision.
        """
        row = self.row(layer)
        if precision not in self.precisions:
            known = ", ".join(str(column) for column in self.precisions)
            msg = f"the sensitivity table has no precision {precision}; it holds {known}"
            raise UnsupportedError(msg)
        return float(row[self.precisions.index(precision)])

    def to_pandas(self) -> pd.DataFrame:
        """One row per layer and precision."""
        count = len(self.precisions)
        return pd.DataFrame(
            {
                "layer": np.repeat(np.array(self.layers, dtype=object), count),
                "weight_bits": np.tile([p.weight_bits for p in self.precisions], len(self.layers)),
                "activation_bits": np.tile(
                    [p.activation_bits for p in self.precisions], len(self.layers)
                ),
                "sensitivity": self.values.reshape(-1),
            }
        )

    def save(self, file: Path) -> None:
        """Write as Parquet, with the metric and its settings in the metadata.

        Raises:
            OutputError: the file cannot be written.
        """
        meta = {
            "kind": "sensitivity",
            "metric": self.metric,
            "meta": dict(self.meta),
            "precisions": [str(precision) for precision in self.precisions],
        }
        table = pa.Table.from_pandas(self.to_pandas(), preserve_index=False)
        table = table.replace_schema_metadata({_META_KEY: json.dumps(meta).encode()})
        write_atomic(file, lambda part: pq.write_table(table, part))

    @classmethod
    def load(cls, file: Path) -> SensitivityTable:
        """Read what `save` wrote.

        Raises:
            SpecError: not a sensitivity table.
        """
        try:
            table = pq.read_table(file)
            meta = json.loads((table.schema.metadata or {})[_META_KEY])
            frame = table.to_pandas()
            precisions = tuple(Precision.parse(text) for text in meta["precisions"])
            values = frame["sensitivity"].to_numpy().reshape(-1, len(precisions))
            layers = tuple(frame["layer"][:: len(precisions)])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            rule = f"is not a sensitivity table written by hwmpq ({type(error).__name__})"
            raise SpecError(str(file), [Problem("file", rule)]) from error
        return cls(
            layers=layers,
            precisions=precisions,
            values=values,
            metric=meta["metric"],
            meta=meta["meta"],
        )


class SensitivityMetric(Protocol):
    """Measures a network's sensitivity to precision.

    A module of ``hwmpq/sensitivity`` that defines ``METRIC`` is such a metric; its registry name
    is the module name.
    """

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Measure every layer that has a bit-width to choose, at every precision.

        Args:
            model: the network, trained.
            workload: the same network as a graph; its multiplying layers are measured.
            data: calibration batches; metrics that look at weights only ignore it.
            precisions: the columns wanted.

        Raises:
            UnsupportedError: a layer cannot be measured.
        """
        ...
