"""A new family of accelerators is one Python file, taken word for word from docs/adding.md."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import hwmpq.cost
from hwmpq import registry
from hwmpq.accelerator import loader
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.table import cost_table
from hwmpq.precision import precisions
from hwmpq.shipped import shipped_files
from hwmpq.testing.cost_laws import (
    LawBrokenError,
    check_all_laws,
    check_bounds,
    check_bounds_grow_with_bits,
    check_bounds_grow_with_size,
    workload_of,
)
from hwmpq.workload.layer import Conv2d, Linear

PAGE = Path(__file__).parents[2] / "docs" / "adding.md"
ACCELERATOR = """
name: ideal-1k
architecture: ideal
description: A machine that never waits.
source: assumed
technology_nm: 45
clock_hz: 1GHz
precisions: {weight_bits: [2, 4, 8], activation_bits: [8]}
compute: {bit_products_per_cycle: 1024, energy_pj_per_bit_product: 0.01}
memories:
  - {name: buffer, holds: [weight, input, output], size_bits: 1KiB,
     read_energy_pj_per_bit: 0, write_energy_pj_per_bit: 0}
dram: {bandwidth_bits_per_cycle: 64, read_energy_pj_per_bit: 15, write_energy_pj_per_bit: 15}
vector: {lanes: 4, element_bits: 8, energy_pj_per_operation: 0.1}
behavior: {}
"""
LAYERS = (
    Conv2d(name="c", in_channels=3, in_height=8, in_width=8, out_channels=4, kernel_size=3),
    Linear(name="f", in_features=100, out_features=10),
)


@pytest.fixture
def ideal(tmp_path, monkeypatch):
    code = re.search(r"```python\n(\"\"\"An ideal.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "ideal.py").write_text(code[1])
    (tmp_path / "ideal.yaml").write_text(ACCELERATOR)
    monkeypatch.setattr(hwmpq.cost, "__path__", [*hwmpq.cost.__path__, str(tmp_path)])
    registry.entries.cache_clear()
    yield tmp_path
    registry.entries.cache_clear()
    loader._schema.cache_clear()
    sys.modules.pop("hwmpq.cost.ideal", None)


def test_the_file_of_the_documentation_is_found_and_obeys_the_laws(ideal) -> None:
    accelerator = load_accelerator(ideal / "ideal.yaml")
    check_all_laws(accelerator, LAYERS, precisions([2, 4, 8], [8]))
    table = cost_table(workload_of(LAYERS), accelerator, precisions([4], [8]))
    # 6 x 6 positions x 27 products x 4 filters x 4 x 8 bits / 1024 bit products, rounded up
    assert table.latency_cycles[0, 0] == -(-36 * 27 * 4 * 32 // 1024)
    assert table.energy_pj[1, 0] == pytest.approx(1000 * 32 * 0.01)


def test_a_model_that_beats_its_own_bound_breaks_the_law(ideal) -> None:
    accelerator = load_accelerator(ideal / "ideal.yaml")
    table = cost_table(workload_of(LAYERS), accelerator, precisions([4], [8]))
    table.columns["compute_bound_cycles"][0, 0] += 1
    with pytest.raises(LawBrokenError, match="compute_cycles >= compute_bound_cycles"):
        check_bounds(table)


def test_a_model_whose_bound_falls_with_more_bits_breaks_the_law(ideal) -> None:
    accelerator = load_accelerator(ideal / "ideal.yaml")
    table = cost_table(workload_of(LAYERS), accelerator, precisions([2, 4], [8]))
    table.columns["compulsory_dram_bits"][1, 0] += 1
    with pytest.raises(LawBrokenError, match=r"compulsory_dram_bits must not fall .*2/8.*4/8"):
        check_bounds_grow_with_bits(table)


def test_a_model_whose_bound_falls_in_a_larger_layer_breaks_the_law(ideal, monkeypatch) -> None:
    accelerator = load_accelerator(ideal / "ideal.yaml")
    model = registry.resolve("cost", "ideal")
    price = type(model).layer_cost

    def shrinking(self, layer, pairs, machine):
        costs = price(self, layer, pairs, machine)
        return replace(costs, compute_bound_cycles=10**9 // costs.compute_bound_cycles)

    monkeypatch.setattr(type(model), "layer_cost", shrinking)
    with pytest.raises(LawBrokenError, match="compute_bound_cycles must not fall in a larger"):
        check_bounds_grow_with_size(accelerator, LAYERS, precisions([4], [8]))


def test_an_accelerator_of_a_known_family_is_one_file(tmp_path) -> None:
    known = shipped_files("accelerators")["bitfusion-edge"].read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(
        known.replace("name: bitfusion-edge", "name: mine").replace("rows: 4", "rows: 8")
    )
    mine, edge = load_accelerator(file), load_accelerator("bitfusion-edge")
    check_all_laws(mine, LAYERS, precisions([2, 8], [8]))
    pair = precisions([2], [8])
    found = [cost_table(workload_of(LAYERS), machine, pair) for machine in (mine, edge)]
    assert found[0].accelerator == "mine"
    assert found[0].compute_cycles[1, 0] < found[1].compute_cycles[1, 0]


def test_a_cost_model_of_another_package_is_found_by_its_entry_point(
    tmp_path, monkeypatch
) -> None:
    code = re.search(r"```python\n(\"\"\"An ideal.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "their_models.py").write_text(code[1])
    (tmp_path / "ideal.yaml").write_text(ACCELERATOR)
    installed = tmp_path / "their_models-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n"
    )
    (installed / "entry_points.txt").write_text("[hwmpq.plugins]\ncost.ideal = their_models\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.entries.cache_clear()
    loader._schema.cache_clear()
    try:
        assert registry.entries("cost")["ideal"].module == "their_models"
        accelerator = load_accelerator(tmp_path / "ideal.yaml")
        check_all_laws(accelerator, LAYERS, precisions([2, 4, 8], [8]))
    finally:
        registry.entries.cache_clear()
        loader._schema.cache_clear()
        sys.modules.pop("their_models", None)
