"""Fronts, knees and hypervolumes, against hand-worked figures and plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.sweep.answers import shortest_labels
from hwmpq.sweep.fronts import hypervolume, knee, undominated


def points(dimensions: int):
    row = st.tuples(*[st.integers(0, 6)] * dimensions)
    return st.lists(row, min_size=1, max_size=12).map(lambda rows: np.array(rows, dtype=float))


@settings(max_examples=80, deadline=None)
@given(values=st.integers(2, 3).flatmap(points))
def test_undominated_is_what_the_definition_says(values) -> None:
    expected = [
        not any(np.all(other <= here) and np.any(other < here) for other in values)
        for here in values
    ]
    assert undominated(values).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(values=st.integers(2, 3).flatmap(points))
def test_hypervolume_counts_unit_cubes(values) -> None:
    corner = np.full(values.shape[1], 7.0)
    cells = np.stack(np.meshgrid(*[np.arange(7)] * values.shape[1]), axis=-1)
    cells = cells.reshape(-1, values.shape[1])
    covered = [any(np.all(value <= cell) for value in values) for cell in cells]
    assert hypervolume(values, corner) == pytest.approx(sum(covered))


def test_hypervolume_by_hand() -> None:
    # three unit-wide steps of 3, 2 and 1 high
    assert hypervolume(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]), [3.0, 3.0]) == 6.0
    assert hypervolume(np.array([[5.0, 5.0]]), [3.0, 3.0]) == 0.0


def test_the_knee_lies_furthest_from_the_chord() -> None:
    front = np.array([[0.0, 100.0], [1.0, 60.0], [2.0, 20.0], [6.0, 10.0], [10.0, 0.0]])
    # distances from x/10 + y/100 = 1, over sqrt(2): 0, 0.3, 0.6, 0.3, 0
    assert knee(front) == 2


def test_labels_drop_what_all_share() -> None:
    assert shortest_labels(["a [x=1]"]) == {"a [x=1]": "a [x=1]"}
    assert shortest_labels(["a", "b"]) == {"a": "a", "b": "b"}
