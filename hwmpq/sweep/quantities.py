"""Quantities that fronts and searches compare, as columns of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from hwmpq.errors import UnsupportedError
from hwmpq.sweep.fronts import FloatArray
from hwmpq.sweep.recipe import Quantity
from hwmpq.sweep.rows import FEASIBLE

COLUMNS: Final[dict[str, str]] = {
    "sensitivity": "sensitivity",
    "accuracy": "accuracy",
    "latency": "latency_s",
    "energy": "energy_pj",
    "area": "area_mm2",
    "weight_memory": "weight_memory_bits",
    "activation_memory": "peak_activation_memory_bits",
}
"""Column of each quantity; latency in seconds, since variants may differ in their clock."""
LARGER_IS_BETTER: Final = frozenset({"accuracy"})


def answered_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that hold an answer."""
    return frame[frame["status"].isin(FEASIBLE)]


def to_minimise(frame: pd.DataFrame, names: Sequence[Quantity]) -> FloatArray:
    """Quantities as ``[rows, quantities]``, each the better the smaller.

    Raises:
        UnsupportedError: a row lacks one.
    """
    found = []
    for name in names:
        values = frame[COLUMNS[name]].to_numpy(dtype=np.float64)
        if np.isnan(values).any():
            why = {
                "accuracy": "only trained points (method:) have one",
                "area": "an accelerator's area is not known",
            }.get(name, "it was not computed")
            msg = f"{int(np.isnan(values).sum())} rows have no {name}: {why}"
            raise UnsupportedError(msg)
        found.append(-values if name in LARGER_IS_BETTER else values)
    stacked: FloatArray = np.stack(found, axis=1)
    return stacked
