"""Pareto fronts of two or three quantities: what is on them, their knee, their hypervolume.

Everything is minimised; negate what should be large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def undominated(values: FloatArray) -> BoolArray:
    """Points that no other beats: as good everywhere and better somewhere, ``[points]``.

    Of equal points all stay.

    Args:
        values: ``[points, quantities]``.

    >>> undominated(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0]])).tolist()
    [True, True, False]
    """
    kept = np.zeros(len(values), dtype=np.bool_)
    # Sorted by the first quantity, then the others, a point can only be beaten by one before it.
    order = np.lexsort(values.T[::-1])
    front: FloatArray = np.empty((0, values.shape[1]))
    for index in order.tolist():
        here = values[index]
        worse = np.all(front <= here, axis=1) & np.any(front < here, axis=1)
        if not worse.any():
            kept[index] = True
            front = np.vstack([front, here])
    return kept


def normalised(front: FloatArray) -> FloatArray:
    """A front's points between its best (0) and its worst (1) of each quantity."""
    low, high = front.min(axis=0), front.max(axis=0)
    scaled: FloatArray = (front - low) / np.where(high > low, high - low, 1.0)
    return scaled


def knee(front: FloatArray) -> int:
    """The point that lies furthest below the plane through the ends of the front.

    On normalised axes the plane is ``sum(x) = 1`` and the distance ``(1 - sum(x)) / sqrt(k)``
    (I. Das, "On characterizing the 'knee' of the Pareto curve based on normal-boundary
    intersection", Structural Optimization 18, 1999, with the ends on the axes).

    >>> knee(np.array([[0.0, 1.0], [0.1, 0.2], [1.0, 0.0]]))
    1
    """
    return int(np.argmin(normalised(front).sum(axis=1)))


def hypervolume(values: FloatArray, reference: Any) -> float:
    """Volume between a reference point and what is at least as good as some point.

    Points that are worse than the reference anywhere count for nothing. Three quantities are cut
    into slices along the third.

    Args:
        values: ``[points, quantities]``, two or three quantities.
        reference: ``[quantities]``, worse than what counts.

    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), [3.0, 3.0])
    3.0
    >>> hypervolume(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), [2.0, 2.0, 2.0])
    8.0
    """
    corner = np.asarray(reference, dtype=np.float64)
    inside = values[np.all(values < corner, axis=1)]
    if not len(inside):
        return 0.0
    if values.shape[1] == 2:
        return _area(inside, corner)
    inside = inside[np.argsort(inside[:, 2], kind="stable")]
    depths = np.diff(np.r_[inside[:, 2], corner[2]])
    return float(
        sum(
            _area(inside[: count + 1, :2], corner[:2]) * depth
            for count, depth in enumerate(depths.tolist())
            if depth > 0
        )
    )


def _area(points: FloatArray, corner: FloatArray) -> float:
    total, height = 0.0, float(corner[1])
    for across, up in sorted(map(tuple, points.tolist())):
        if up < height:
            total += (float(corner[0]) - across) * (height - up)
            height = up
    return total
