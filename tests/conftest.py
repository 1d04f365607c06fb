"""What tests of all packages share.

Property tests try the same examples in every run; HWMPQ_FUZZ=1 draws new ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import settings

from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("fuzz", deadline=None)
settings.load_profile("fuzz" if os.environ.get("HWMPQ_FUZZ") else "repeatable")


@pytest.fixture(scope="session")
def shipped() -> Callable[[str], Workload]:
    """Shipped workloads by name, each read once a session, since tracing takes seconds."""
    return cache(load_workload)
