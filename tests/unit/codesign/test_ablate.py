from __future__ import annotations

import numpy as np
import pytest

from hwmpq.codesign.ablate import ablated
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable


@pytest.fixture
def table():
    return SensitivityTable(
        layers=("pinned", "low", "high", "middle"),
        precisions=(Precision(2, 8), Precision(4, 8)),
        values=np.array([[9.0, 0], [1, 0], [3, 0], [2, 0]]),
        metric="bit_gradient",
    )


def test_nothing_changes_without_ablation(table):
    assert ablated(table, None, fixed={"pinned"}, seed=0) is table


def test_reversed_gives_the_most_sensitive_layer_the_least_sensitive_row(table):
    found = ablated(table, "reversed", fixed={"pinned"}, seed=0)
    assert found.values[:, 0].tolist() == [9, 3, 1, 2]
    assert found.meta["ablation"] == "reversed"


def test_random_permutes_rows_by_the_seed(table):
    found = [
        tuple(ablated(table, "random", fixed={"pinned"}, seed=seed).values[:, 0])
        for seed in range(20)
    ]
    assert all(row[0] == 9 and sorted(row[1:]) == [1, 2, 3] for row in found)
    assert len(set(found)) > 2
    again = ablated(table, "random", fixed={"pinned"}, seed=3)
    assert tuple(again.values[:, 0]) == found[3]
