"""FPGA resources of BISMO, and its area as an ASIC."""

from __future__ import annotations

import pytest

from hwmpq.accelerator.area import carried_area_um2, lane_area_um2
from hwmpq.accelerator.arithmetic import register_area_um2
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.sram import sram_figures
from hwmpq.cost.bismo_area import dot_product_area_um2, fpga_resources, popcount_area_um2
from hwmpq.cost.bismo_spec import BismoArray
from hwmpq.cost.resources import named_resources
from hwmpq.errors import UnsupportedError

NAMES = ("bismo-8x256x8", "bismo-10x256x10", "bismo-16x256x16")


def array(rows: int, depth: int, cols: int) -> BismoArray:
    return BismoArray(rows=rows, depth=depth, cols=cols, energy_pj_per_binary_mac=0.0)


def test_the_published_cost_model_by_hand() -> None:
    # 64 * (1.17 * 256 + 164.2) = 64 * 463.72; 8 * (8 * 1 + 8 * 1)
    found = fpga_resources(array(8, 256, 8), left_words=1024, right_words=1024)
    assert found.luts == pytest.approx(29_678.08)
    assert found.block_rams == 128
    # 10 * (1.17 * 40 + 164.2) = 2110; ceil(40 / 32) * (2 * ceil(1025 / 1024) + 5 * 1)
    found = fpga_resources(array(2, 40, 5), left_words=1025, right_words=1)
    assert found.luts == pytest.approx(2110)
    assert found.block_rams == 2 * (2 * 2 + 5)


def test_a_buffer_without_words_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="at least 1 word"):
        fpga_resources(array(1, 1, 1), left_words=0, right_words=1)


def test_a_popcount_tree_by_hand() -> None:
    # FreePDK45: 5.85 um2 at 2 bits, 18.62 at 4, 12.235 half way
    assert popcount_area_um2(1) == 0
    assert popcount_area_um2(2) == pytest.approx(5.85)
    # one pair and a lone term, then their sum at three bits
    assert popcount_area_um2(3) == pytest.approx(5.85 + 12.235)
    assert popcount_area_um2(8) == pytest.approx(4 * 5.85 + 2 * 12.235 + 18.62)


def test_a_dot_product_by_hand() -> None:
    # 2 * 5.85 multipliers, 5.85 tree, 267.6 adder, 32 * 5.98 um2 of register at 40 nm over the
    # area factor of 40 nm, 0.46 + 8 / 13 * 0.54
    register = 32 * 5.98 / (0.46 + 8 / 13 * 0.54)
    assert dot_product_area_um2(2, 32) == pytest.approx(3 * 5.85 + 267.6 + register)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_state_what_the_functions_give(name: str) -> None:
    accelerator = load_accelerator(name)
    compute = accelerator.compute
    assert isinstance(compute, BismoArray)
    one = dot_product_area_um2(compute.depth, compute.result_bits)
    assert compute.area_um2_per_dot_product == pytest.approx(one, rel=1e-5)
    for operand in ("weight", "input"):
        memory = accelerator.memory_for(operand)
        bank = sram_figures(memory.size_bits // memory.banks, 256, 45, "lstp")
        assert memory.area_mm2 == pytest.approx(bank.area_mm2 * memory.banks, rel=1e-5)
    results = accelerator.memory_for("output")
    flip_flops = carried_area_um2(register_area_um2(results.size_bits), "aladdin", 45)
    assert results.area_mm2 == pytest.approx(flip_flops / 1e6, rel=1e-5)
    unit = accelerator.vector
    assert unit.operation is not None
    lanes = unit.lanes * lane_area_um2(unit.operation, unit.element_bits, 45)
    assert unit.area_mm2 == pytest.approx(lanes / 1e6, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_area_says_that_it_is_not_the_fpga_and_may_be_off_by_two(name: str) -> None:
    accelerator = load_accelerator(name)
    paths = ["compute.area_um2_per_dot_product", "vector.area_mm2"]
    paths += [f"memories[{index}].area_mm2" for index in range(3)]
    for path in paths:
        assert "ASIC equivalent at 45 nm, not the FPGA; assumed" in accelerator.provenance[path]
        assert accelerator.uncertainties[path] == 1.0


def test_resources_of_a_file_follow_its_array_and_buffers() -> None:
    # 64 * (1.17 * 256 + 164.2) = 29678.08 LUTs, rounded.
    assert named_resources(load_accelerator("bismo-8x256x8")) == {
        "LUTs": 29_678,
        "block RAMs": 128,
    }
    # Twice the words in the buffer of each row: two blocks there, one still in each column.
    deep = load_accelerator("bismo-8x256x8", {"memories.weight_buffer.size_bits": "512KiB"})
    assert named_resources(deep)["block RAMs"] == 8 * (8 * 2 + 8)
    wide = load_accelerator("bismo-8x256x8", {"compute.cols": 16})
    assert named_resources(wide)["LUTs"] == 59_356
    assert named_resources(load_accelerator("unpu")) == {}
