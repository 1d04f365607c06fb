"""Network totals of every shipped accelerator, as last looked at.

A golden guards against change; it does not prove truth. ``make golden`` rewrites the files, and
the difference is for a person to read.
"""

import json
import os
from pathlib import Path

import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.summary import totals
from hwmpq.cost.table import cost_table
from hwmpq.precision import Precision
from hwmpq.shipped import shipped_files
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload

pytestmark = pytest.mark.golden
FOLDER = Path(__file__).parent / "costs"
REWRITE = bool(os.environ.get("HWMPQ_REWRITE_GOLDEN"))
PRECISIONS = (Precision(8, 8), Precision(4, 8), Precision(2, 2))


@pytest.fixture(scope="module")
def network() -> Workload:
    return load_workload("resnet20-digits")


def found(name: str, network: Workload) -> dict[str, dict[str, float]]:
    accelerator = load_accelerator(name)
    supported = [p for p in PRECISIONS if p in accelerator.supported]
    table = cost_table(network, accelerator, supported)
    return {str(p): totals(table, table.uniform(p)) for p in supported}


@pytest.mark.parametrize("name", tuple(shipped_files("accelerators")))
def test_totals_are_as_last_looked_at(name: str, network: Workload) -> None:
    file = FOLDER / f"{name}.json"
    now = found(name, network)
    if REWRITE:
        file.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert set(now) == set(stored)
    for precision, values in stored.items():
        assert now[precision] == pytest.approx(values, rel=1e-9), precision


def test_no_golden_is_left_of_an_accelerator_that_is_gone() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(shipped_files("accelerators"))
