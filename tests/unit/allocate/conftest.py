"""A network small enough to allocate by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.cost.table import CostTable
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable

COLUMNS = (Precision(2, 2), Precision(4, 4), Precision(8, 8))


@pytest.fixture
def costs() -> CostTable:
    """conv (100 weights), pool (no choice), fc (10 weights); 1 MHz clock.

    At 8/8 it takes 40 + 5 + 4 = 49 cycles and 880 bits of weights.
    """
    columns = {
        "latency_cycles": np.array([[10, 20, 40], [5, 5, 5], [1, 2, 4]], dtype=np.int64),
        "energy_pj": np.array([[1.5, 2.5, 4.5], [0.25, 0.25, 0.25], [0.5, 0.75, 1.0]]),
        "weight_memory_bits": np.array([[200, 400, 800], [0, 0, 0], [20, 40, 80]]),
        "activation_memory_bits": np.array([[60, 120, 240], [16, 16, 16], [20, 40, 80]]),
        "bops": np.array([[400, 1600, 6400], [0, 0, 0], [40, 160, 640]]),
    }
    return CostTable(
        workload="tiny",
        accelerator="toy",
        clock_hz=1_000_000,
        layers=("conv", "pool", "fc"),
        ops=("conv2d", "max_pool2d", "linear"),
        macs=np.array([100, 0, 10]),
        choosable=np.array([True, False, True]),
        precisions=COLUMNS,
        columns=columns,
    )


@pytest.fixture
def sensitivity() -> SensitivityTable:
    """At 2, 4 and 8 bits: conv 3e-7, 1e-7, 0; fc 9e-7, 2e-7, 0."""
    return SensitivityTable(
        layers=("conv", "fc"),
        precisions=COLUMNS,
        values=np.array([[3e-7, 1e-7, 0.0], [9e-7, 2e-7, 0.0]]),
        metric="by hand",
    )


@pytest.fixture
def pair() -> AllocationProblem:
    """Two layers, three precisions, latency and weight memory, no constants."""
    return AllocationProblem(
        layers=("a", "b"),
        precisions=COLUMNS,
        sensitivity=np.array([[3.0, 1.0, 0.0], [9.0, 2.0, 0.0]]),
        allowed=np.ones((2, 3), dtype=np.bool_),
        resources=(
            Resource(
                name="latency",
                unit="cycles",
                costs=np.array([[10, 20, 40], [1, 2, 4]]),
                limit=24,
                reference=44,
            ),
            Resource(
                name="weight_memory",
                unit="bits",
                costs=np.array([[2, 4, 8], [20, 40, 80]]),
                limit=84,
                reference=88,
            ),
        ),
    )
