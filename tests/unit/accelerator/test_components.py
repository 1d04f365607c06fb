"""Component forms of an accelerator file, and what they resolve to."""

from __future__ import annotations

import pytest
import yaml

from hwmpq.accelerator.arithmetic import adder_energy_pj
from hwmpq.accelerator.families import constant_families, energy_uncertainties, mixing_warnings
from hwmpq.accelerator.loader import parse_accelerator
from hwmpq.accelerator.spec import Dram, Memory, VectorUnit
from hwmpq.accelerator.sram import sram_figures
from hwmpq.errors import SpecError
from hwmpq.shipped import shipped_files
from hwmpq.strict_yaml import parse_yaml

SRAM = {"size": "64KiB", "width_bits": 128, "node_nm": 45, "flavour": "lstp"}
ENERGIES = {"read_energy_pj_per_bit": 0.5, "write_energy_pj_per_bit": 0.5}


def memory(**fields):
    return Memory.model_validate({"name": "buffer", "holds": ["weight"], **fields})


def accelerator(memory_fields, **parts):
    """The shipped systolic array with other memories, read as a file."""
    text = shipped_files("accelerators")["systolic-32x32"].read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    for entry in data["memories"]:
        for key in list(entry):
            if key not in {"name", "holds"}:
                del entry[key]
        entry.update(memory_fields)
    data |= parts
    return parse_accelerator(parse_yaml(yaml.safe_dump(data), "x.yaml", sourced=True))


def test_sram_fills_size_energies_leakage_and_area_over_all_banks():
    found = memory(sram=SRAM, banks=4)
    bank = sram_figures(64 * 8192, 128, 45, "lstp")
    assert found.size_bits == 4 * 64 * 8192
    assert found.width_bits == 128
    assert found.read_energy_pj_per_bit == bank.read_energy_pj / 128
    assert found.write_energy_pj_per_bit == bank.write_energy_pj / 128
    assert found.leakage_mw == pytest.approx(4 * bank.leakage_mw)
    assert found.area_mm2 == pytest.approx(4 * bank.area_mm2)


def test_resolved_memories_round_trip():
    found = memory(sram=SRAM, banks=4)
    assert Memory.model_validate(found.model_dump()) == found


@pytest.mark.parametrize(
    "beside", [{"read_energy_pj_per_bit": 0.1}, {"size_bits": 100}, {"leakage_mw": 3}]
)
def test_explicit_figures_beside_sram_are_an_error(beside):
    (name,) = beside
    with pytest.raises(ValueError, match=f"'sram' are given together and differ in {name}"):
        memory(sram=SRAM, **beside)


def test_two_forms_are_an_error():
    with pytest.raises(ValueError, match="sram and register_file"):
        memory(sram=SRAM, register_file={"size": "64B", "family": "aladdin"})


def test_register_files():
    flip_flops = memory(register_file={"size": "64B", "family": "aladdin"}, banks=2)
    assert flip_flops.size_bits == 1024
    assert flip_flops.read_energy_pj_per_bit == 0.009
    assert flip_flops.area_mm2 == pytest.approx(1024 * 5.98e-6)
    file = memory(register_file={"size": "64B", "family": "interstellar"})
    assert file.write_energy_pj_per_bit == pytest.approx(0.12 / 16)
    assert file.area_mm2 is None
    with pytest.raises(ValueError, match="16 to 512"):
        memory(register_file={"size": "1KiB", "family": "interstellar"})
    with pytest.raises(ValueError, match="whole bytes"):
        memory(register_file={"size": 130, "family": "interstellar"})


def test_dram_by_type():
    found = Dram.model_validate({"type": "lpddr3", "bandwidth_bits_per_cycle": 64})
    assert found.read_energy_pj_per_bit == 5.9
    random = {"type": "lpddr3", "access": "random", "bandwidth_bits_per_cycle": 64}
    assert Dram.model_validate(random).write_energy_pj_per_bit == 16.7
    with pytest.raises(ValueError, match="'type' are given together"):
        Dram.model_validate(random | ENERGIES)
    with pytest.raises(ValueError, match="add one or remove it"):
        Dram.model_validate({"access": "random", "bandwidth_bits_per_cycle": 64} | ENERGIES)


def test_vector_operation():
    unit = {"lanes": 8, "element_bits": 16}
    operation = {"kind": "add", "bits": 16, "family": "horowitz"}
    found = VectorUnit.model_validate(unit | {"operation": operation})
    assert found.energy_pj_per_operation == adder_energy_pj(16)
    smaller = VectorUnit.model_validate(unit | {"operation": operation | {"node_nm": 16}})
    assert smaller.energy_pj_per_operation < found.energy_pj_per_operation
    multiply = operation | {"kind": "multiply", "family": "freepdk45", "bits": 8}
    found = VectorUnit.model_validate(unit | {"operation": multiply})
    assert found.energy_pj_per_operation == pytest.approx(0.2)
    with pytest.raises(ValueError, match="1 to 16 bits"):
        VectorUnit.model_validate(unit | {"operation": multiply | {"bits": 24}})


def test_a_file_with_a_fault_in_a_component_reports_that_fault_only():
    with pytest.raises(SpecError) as caught:
        accelerator({"sram": SRAM | {"flavour": "fast"}})
    message = str(caught.value)
    assert "memories[0].sram.flavour" in message
    assert "read_energy_pj_per_bit" not in message
    with pytest.raises(SpecError, match=r"memories\[2\].sram.*65 nm lstp"):
        accelerator({"sram": SRAM | {"node_nm": 28}})


def test_provenance_and_uncertainty_come_from_the_table():
    found = accelerator({"sram": SRAM})
    path = "memories[1].read_energy_pj_per_bit"
    assert found.provenance[path].startswith("CACTI 7")
    assert found.provenance[path].endswith("45 nm lstp")
    assert found.uncertainties[path] == 0.2
    weak = accelerator({"sram": SRAM | {"node_nm": 22}})
    assert weak.uncertainties["memories[1].leakage_mw"] == 1.0


def test_families_are_recorded_and_mixtures_reported():
    found = accelerator({"sram": SRAM}, dram={"type": "hbm2", "bandwidth_bits_per_cycle": 64})
    uses = {(use.kind, use.family): use.paths for use in constant_families(found)}
    assert "memories[0].read_energy_pj_per_bit" in uses["sram", "cacti7"]
    assert uses["dram", "hbm2"] == ("dram.read_energy_pj_per_bit", "dram.write_energy_pj_per_bit")
    assert "compute.mac_energy.pj_per_mac.8x8" in uses["logic", "bitfusion_pe"]
    assert uses["logic", "horowitz"] == ("vector.energy_pj_per_operation",)
    (warning,) = mixing_warnings(found)
    assert "logic energy constants come from 2 families" in warning
    assert "vector.energy_pj_per_operation" in warning


def test_areas_beside_energies_of_another_family_are_no_mixture():
    vector = {
        "lanes": 8,
        "element_bits": 8,
        "energy_pj_per_operation": {"value": 0.03, "source": "bitfusion_pe"},
        "area_mm2": {"value": 0.1, "source": "FreePDK45 synthesis"},
    }
    (warning,) = mixing_warnings(accelerator({"sram": SRAM}, vector=vector))
    # the array's area is of the Bit Fusion repository, the vector unit's is not
    assert "logic area constants come from 2 families" in warning
    assert "pj_per_mac" not in warning
    del vector["area_mm2"]
    assert mixing_warnings(accelerator({"sram": SRAM}, vector=vector)) == ()


def test_sram_of_another_node_is_reported():
    found = accelerator({"sram": SRAM | {"node_nm": 32}})
    assert any(
        "priced at 32 nm, the accelerator at 45 nm" in text for text in mixing_warnings(found)
    )


def test_explicit_sram_figures_of_another_node_are_reported_by_their_source():
    def priced_at(text):
        number = {"value": 0.5, "source": text}
        fields = {"size_bits": 8192, "read_energy_pj_per_bit": number}
        fields["write_energy_pj_per_bit"] = number
        return mixing_warnings(accelerator(fields))

    at_32 = priced_at("CACTI 7, 32 nm itrs-lstp, 64 KiB")
    assert any("'ifmap_buffer' is priced at 32 nm, the accelerator at 45 nm" in t for t in at_32)
    for same in ("CACTI 7, 45 nm itrs-lstp, 64 KiB", "CACTI 7", "a board of 28 nm"):
        assert not any("is priced at" in text for text in priced_at(same))


def test_uncertainties_default_to_the_family_of_the_source():
    found = energy_uncertainties(accelerator({"sram": SRAM | {"node_nm": 22}}))
    assert found["memories[0].leakage_mw"] == 1.0
    assert found["vector.energy_pj_per_operation"] == 0.2
    dram = {
        "bandwidth_bits_per_cycle": 64,
        "read_energy_pj_per_bit": {"value": 4, "source": "a datasheet", "uncertainty": 0.1},
        "write_energy_pj_per_bit": {"value": 4, "source": "a datasheet"},
    }
    found = energy_uncertainties(accelerator({"sram": SRAM}, dram=dram))
    assert found["dram.read_energy_pj_per_bit"] == 0.1
    assert "dram.write_energy_pj_per_bit" not in found
