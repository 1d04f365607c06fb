"""From bits that were learned to bits that a machine runs: the distance, and what snapping did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

import numpy as np

from hwmpq.precision import Assignment, Precision
from hwmpq.sensitivity.base import SensitivityTable

_SPARE_BIT: Final = 1 / 64
"""A bit more than learned: of no use, so a little worse than none."""
_BELOW_WHOLE: Final = 1e-6


def distance(learned: float, bits: int) -> float:
    """How far a width is from the one learned.

    Short of it, ``4^(learned - bits) - 1``: each missing bit doubles the step and so quadruples
    the quantisation noise, counted in units of the noise that learning settled for. Beyond it, a
    64th for each whole bit that learning had no use for.

    >>> distance(4, 4), distance(4, 3), distance(4, 2)
    (0.0, 3.0, 15.0)
    >>> distance(2.6, 4)
    0.015625
    """
    if bits < learned - _BELOW_WHOLE:
        return float(4 ** (learned - bits) - 1)
    return _SPARE_BIT * (bits - ceil(learned - _BELOW_WHOLE))


def distance_table(
    learned: Mapping[str, tuple[float, float]], precisions: Sequence[Precision], metric: str
) -> SensitivityTable:
    """Distances of weights and activations, added up.

    Args:
        learned: bits of weights and activations by layer, possibly fractional.
        precisions: the columns.
        metric: where the bits were learned.
    """
    rows = [
        [
            distance(weight, precision.weight_bits)
            + distance(activation, precision.activation_bits)
            for precision in precisions
        ]
        for weight, activation in learned.values()
    ]
    return SensitivityTable(
        layers=tuple(learned),
        precisions=tuple(precisions),
        values=np.array(rows, dtype=np.float64).reshape(len(learned), len(precisions)),
        metric=metric,
        meta={"law": "4^missing - 1"},
    )


def snapping_note(learned: Assignment, snapped: Assignment, spent: Mapping[str, float]) -> str:
    """What learning chose and what snapping changed, in one line.

    Args:
        learned: whole bits that learning chose.
        snapped: bits put in force.
        spent: share of its limit that each budget spends at the learned bits.
    """
    shares = ", ".join(f"{share:.2f} of the {name} limit" for name, share in spent.items())
    changes = [
        f"{name} {precision} to {snapped[name]}"
        for name, precision in learned.items()
        if snapped[name] != precision
    ]
    snapping = f"snapping changed {len(changes)} of {len(learned)} layers"
    listed = f": {', '.join(changes)}" if changes else ""
    return f"learned bits spend {shares}; {snapping}{listed}"
