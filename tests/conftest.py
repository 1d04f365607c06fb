"""What tests of all packages share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload


@pytest.fixture(scope="session")
def shipped() -> Callable[[str], Workload]:
    """Shipped workloads by name, each read once a session, since tracing takes seconds."""
    return cache(load_workload)
