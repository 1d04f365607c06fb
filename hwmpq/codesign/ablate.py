"""Allocating by wrong scores on purpose, as the papers' ablations do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from hwmpq.sensitivity.base import SensitivityTable

Ablation: TypeAlias = Literal["reversed", "random"]


def ablated(
    table: SensitivityTable, ablation: Ablation | None, *, fixed: Collection[str], seed: int
) -> SensitivityTable:
    """Hand the layers' rows round: the most sensitive layer gets the least sensitive one's.

    ``random`` deals them by the seed. Pinned layers keep their rows; None changes nothing.
    """
    if ablation is None:
        return table
    free = np.array([i for i, layer in enumerate(table.layers) if layer not in fixed])
    spread = np.array([np.ptp(row[np.isfinite(row)]) for row in table.values[free]])
    order = free[np.argsort(spread, kind="stable")]
    dealt = (
        order[::-1] if ablation == "reversed" else np.random.default_rng(seed).permutation(order)
    )
    values = table.values.copy()
    values[order] = table.values[dealt]
    return replace(table, values=values, meta={**table.meta, "ablation": ablation})
