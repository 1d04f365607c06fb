"""Allocation from the command line, by a table of sensitivities that was made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwmpq.precision import precisions
from hwmpq.sensitivity.base import SensitivityTable

LAYERS = """
name: three
layers:
  - {name: a, op: linear, in_features: 64, out_features: 64}
  - {name: b, op: linear, in_features: 64, out_features: 64}
  - {name: c, op: linear, in_features: 64, out_features: 64}
"""


@pytest.fixture
def task(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "three.yaml").write_text(LAYERS)
    columns = precisions([2, 8], [8])
    table = SensitivityTable(
        layers=("a", "b", "c"),
        precisions=columns,
        values=np.array([[9.0, 0.0], [1.0, 0.0], [4.0, 0.0]]),
        metric="by hand",
    )
    table.save(tmp_path / "s.parquet")
    return (
        *("allocate", str(tmp_path / "three.yaml"), "-a", "bitfusion-edge"),
        *("-s", str(tmp_path / "s.parquet"), "--weight-bits", "2,8", "--activation-bits", "8"),
        *("--fix", "a=8/8"),
    )


def test_the_least_sensitive_layer_pays(cli, task) -> None:
    # 3 x 4096 weights; 8 + 8 + 2 bits are 0.75 of all at 8
    found = json.loads(cli(*task, "--weight-memory", "0.75x", "--json").out)
    assert {layer: bits["weight_bits"] for layer, bits in found["policy"].items()} == {
        "a": 8,
        "b": 2,
        "c": 8,
    }
    assert (found["status"], found["objective"]) == ("optimal", 1.0)
    assert found["next_bits"][0]["layers"] == ["b"]


def test_settings_of_the_solver_reach_it_and_others_are_refused(cli, task) -> None:
    limits = ("--weight-memory", "0.75x")
    assert cli(*task, *limits, "--time-limit", "5", "--gap", "0.01").code == 0
    refused = cli(*task, *limits, "--allocator", "greedy", "--gap", "0.01")
    assert refused.code == 2
    assert "has no setting gap_limit" in refused.err
    refused = cli(*task, *limits, "--gap", "7")
    assert refused.code == 2
    assert "gap_limit" in refused.err


def test_two_budgets_that_conflict_are_named(cli, task) -> None:
    outcome = cli(*task, "--weight-memory", "0.3x", "--latency", "0.01x")
    assert outcome.code == 3
    assert "least achievable" in outcome.err


def test_policies_go_out_and_come_in_again(cli, task, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    assert cli(*task, "--weight-memory", "0.75x", "-o", policy).code == 0
    assert policy.read_text().splitlines()[1] == "b: {weight_bits: 2, activation_bits: 8}"
    again = cli("evaluate", task[1], "-a", "bitfusion-edge", "--policy", policy, "--json")
    rows = json.loads(again.out)["layers"]
    assert [row["weight_bits"] for row in rows] == [8, 2, 8]
