"""``hwmpq extract``: the table, the JSON and the picture, with bits and costs where asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.table import cost_table
from hwmpq.precision import Precision
from hwmpq.workload.loader import load_workload

NETWORK = """
name: pair
source: "test"
chain: true
layers:
  - {name: conv, op: conv2d, in_channels: 3, in_height: 8, in_width: 8, out_channels: 4,
     kernel_size: 3}
  - {name: flat, op: flatten, elements: 144}
  - {name: fc, op: linear, in_features: 144, out_features: 10}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    file = tmp_path / "pair.yaml"
    file.write_text(NETWORK, encoding="utf-8")
    return file


def test_bits_and_costs_stand_in_table_json_and_picture(cli, network: Path) -> None:
    policy, svg, out = (network.with_name(name) for name in ("bits.json", "p.svg", "g.json"))
    policy.write_text('{"conv": "8/8", "fc": "2/4"}', encoding="utf-8")
    options = ("--policy", policy, "-a", "bitfusion-edge", "--svg", svg, "-o", out)
    shown = cli("extract", network, *options)
    assert shown.code == 0
    rows = {row.split()[1]: row for row in shown.out.splitlines() if row.startswith("│")}
    assert "W/A" in shown.out
    assert "2/4" in rows["fc"]
    assert "2/4" in svg.read_text(encoding="utf-8")

    chosen = {"conv": Precision(8, 8), "fc": Precision(2, 4)}
    machine = load_accelerator("bitfusion-edge")
    costs = cost_table(load_workload(network), machine, sorted(set(chosen.values())))
    layers = {layer["name"]: layer for layer in json.loads(out.read_text("utf-8"))["layers"]}
    assert (layers["fc"]["weight_bits"], layers["fc"]["activation_bits"]) == (2, 4)
    for column in ("latency_cycles", "energy_pj"):
        expected = dict(zip(costs.layers, costs.per_layer(column, chosen).tolist(), strict=True))
        found = {name: layer[column] for name, layer in layers.items() if column in layer}
        assert found == expected
    assert not {"weight_bits", "latency_cycles"} & layers["flat"].keys()
    assert f"{layers['fc']['latency_cycles']:,.0f}" in rows["fc"]


def test_nothing_is_added_that_was_not_asked_for(cli, network: Path) -> None:
    (first, *_) = json.loads(cli("extract", network, "--json").out)["layers"]
    assert not {"weight_bits", "latency_cycles", "energy_pj"} & first.keys()
    assert "W/A" not in cli("extract", network).out
