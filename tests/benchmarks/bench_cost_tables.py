"""CPU time of all 64 precision pairs of MobileNetV2 and ResNet-50 on every shipped accelerator.

Start-up and reading the graph aside. What cost models remember between calls is forgotten before
each table, so that none gains from the one before; the first table of the run is thrown away,
since it pays for imports.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.table import cost_table
from hwmpq.precision import precisions
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload

LIMIT_S = 1.0
REPEATS = 3
PAIRS = precisions(range(1, 9), range(1, 9))
NETWORKS = ("mobilenet-v2", "resnet50")
FILES = sorted((Path(__file__).parents[2] / "accelerators").glob("*.yaml"))


@pytest.fixture(scope="module")
def networks() -> dict[str, Workload]:
    found = {name: load_workload(name) for name in NETWORKS}
    cost_table(found[NETWORKS[0]], load_accelerator(FILES[0].stem), PAIRS)
    return found


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_all_pairs(
    figure: Callable, empty_caches: Callable, networks: dict[str, Workload], name: str
) -> None:
    accelerator = load_accelerator(name)
    row: dict[str, object] = {"accelerator": name}
    seconds = []
    for network, workload in networks.items():
        times = []
        for _ in range(REPEATS):
            empty_caches()
            started = time.process_time()
            table = cost_table(workload, accelerator, PAIRS)
            times.append(time.process_time() - started)
            assert table.latency_cycles.shape[1] == len(PAIRS)
        seconds.append(median(times))
        row[f"{network}, CPU s"] = f"{seconds[-1]:.3f}"
    row["limit, CPU s"] = f"{LIMIT_S:.3f}"
    figure("All 64 precision pairs on every shipped accelerator", row)
    assert max(seconds) < LIMIT_S
