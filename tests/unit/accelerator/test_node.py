"""Changing the process node carries a file's numbers along, or says what cannot be carried."""

import pytest

from hwmpq.accelerator.area import area_mm2
from hwmpq.accelerator.arithmetic import node_factor
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.sram import sram_figures
from hwmpq.accelerator.technology import relative_energy
from hwmpq.errors import SpecError
from hwmpq.units import parse_quantity

NAME = "systolic-realistic"  # 45 nm, memories by kind


def test_logic_is_scaled_and_sram_looked_up() -> None:
    before, after = load_accelerator(NAME), load_accelerator(NAME, {"technology_nm": 32})
    factor = relative_energy(32)  # relative to 45 nm
    assert factor == pytest.approx(0.53, abs=0.01)
    energies = [m.compute.mac_energy.pj_per_mac["8x8"] for m in (before, after)]
    assert energies[1] == pytest.approx(factor * energies[0])
    assert after.compute.element_area_um2 == pytest.approx(0.46 * before.compute.element_area_um2)
    operations = [m.vector.energy_pj_per_operation for m in (before, after)]
    # Horowitz's figures are at 0.9 V, so they start below the nominal 1.0 V of 45 nm.
    assert operations[1] == pytest.approx(node_factor("horowitz", 32) * operations[0])
    size, _ = parse_quantity("32KiB", "bits")
    bank = sram_figures(int(size), 128, 32, "lstp")
    assert after.memories[0].read_energy_pj_per_bit == pytest.approx(bank.read_energy_pj / 128)
    assert after.memories[0].leakage_mw == pytest.approx(8 * bank.leakage_mw)
    assert after.dram == before.dram
    assert (after.clock_hz, after.technology_nm) == (before.clock_hz, 32)
    assert area_mm2(after).total_mm2 < area_mm2(before).total_mm2


def test_what_was_carried_says_so() -> None:
    after = load_accelerator(NAME, {"technology_nm": 22})
    source = after.provenance["compute.mac_energy.pj_per_mac.8x8"]
    assert source.startswith("hsharma35/bitfusion")
    assert source.endswith("carried from 45 to 22 nm by Stillmaker and Baas 2017")
    # The paper has no area at 22 nm, so it is unknown and not that of 45 nm.
    assert after.compute.element_area_um2 is None
    assert area_mm2(after).total_mm2 is None


def test_the_same_node_changes_nothing() -> None:
    same = load_accelerator(NAME, {"technology_nm": 45})
    assert same.compute == load_accelerator(NAME).compute


def test_there_and_back_is_where_it_was() -> None:
    there = load_accelerator(NAME, {"technology_nm": 65}).compute.mac_energy.pj_per_mac["8x8"]
    assert there * relative_energy(45) / relative_energy(65) == pytest.approx(0.5779)


@pytest.mark.parametrize(
    ("name", "node", "reason"),
    [
        ("bitfusion-edge", 32, "compute.leakage_mw"),
        ("bitfusion-edge", 32, "memories[2]"),
        ("unpu", 32, "is a published chip's area at 65 nm"),
        (NAME, 16, "no SRAM table for 16 nm"),
        (NAME, 3, "logic scaling covers 7 to 180 nm"),
        (NAME, -1, "logic scaling covers 7 to 180 nm"),
    ],
)
def test_what_does_not_follow_is_refused(name: str, node: float, reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_accelerator(name, {"technology_nm": node})
    assert reason in str(caught.value)


def test_what_the_caller_states_stands() -> None:
    stated = {"technology_nm": 32, "compute.leakage_mw": 0.5}
    for index, memory in enumerate(load_accelerator("bitfusion-edge").memories):
        places = (f"memories.{memory.name}", f"memories[{index}]")
        for field in ("read_energy_pj_per_bit", "write_energy_pj_per_bit"):
            stated[f"{places[0]}.{field}"] = 0.01
        for field in ("leakage_mw", "area_mm2"):
            stated[f"{places[1]}.{field}"] = 0.02
    found = load_accelerator("bitfusion-edge", stated)
    assert found.compute.leakage_mw == 0.5
    assert [m.read_energy_pj_per_bit for m in found.memories] == [0.01] * 3
