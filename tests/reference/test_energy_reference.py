"""Published and measured energies, reproduced by the modules that use them."""

from __future__ import annotations

import pytest

from hwmpq.accelerator import arithmetic, mac, technology
from hwmpq.accelerator.area import area_mm2
from hwmpq.accelerator.dram import dram_figures
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.sram import sram_figures
from hwmpq.accelerator.wire import neighbour_hop_energy_pj_per_bit, wire_energy_pj_per_bit


def test_horowitz_45_nm_operations_in_pj():
    # M. Horowitz, ISSCC 2014, 45 nm, 0.9 V: integer additions and multiplications
    for bits, energy in ((8, 0.03), (16, 0.05), (32, 0.1)):
        assert arithmetic.adder_energy_pj(bits) == pytest.approx(energy)
    assert arithmetic.multiplier_energy_pj(8, 8) == pytest.approx(0.2)
    # the law w * a is held to the published 32-bit multiplier, 3.1 pJ: 3.2 by the law
    assert arithmetic.multiplier_energy_pj(32, 32) == pytest.approx(3.1, rel=0.04)


# CACTI 7, run for this project: RAM, 1 RW port, 1 bank, ED^2; read energy per access in pJ.
CACTI = [
    (1, 32, (1.32, 1.17, 0.64), (0.71, 0.61, 0.31), (0.30, 0.29, 0.25)),
    (8, 64, (6.1, 5.3, 3.2), (3.4, 2.9, 2.2), (1.6, 1.5, 1.4)),
    (32, 64, (17.0, 14.9, 7.2), (8.3, 8.5, 3.2), (3.8, 3.5, 2.1)),
    (64, 128, (39.3, 33.2, 16.6), (19.7, 19.0, 7.6), (9.0, 7.4, 5.1)),
    (256, 128, (76, 55, 30), (42, 31, 15), (17.8, 16.6, 10.5)),
    (1024, 64, (94, 68, 42), (52, 38, 18), (23.5, 18.4, 12.8)),
    (1024, 256, (252, 180, 107), (141, 102, 55), (63, 55, 38)),
    (8192, 256, (758, 525, 302), (415, 297, 151), (188, 156, 107)),
]


@pytest.mark.parametrize(("kib", "width", "at45", "at32", "at22"), CACTI)
def test_cacti_read_energy_per_access(kib, width, at45, at32, at22):
    for node, published in ((45, at45), (32, at32), (22, at22)):
        for flavour, energy in zip(("lstp", "hp", "lop"), published, strict=True):
            found = sram_figures(kib * 8192, width, node, flavour)
            # the summary rounds to two or three digits
            assert found.read_energy_pj == pytest.approx(energy, rel=0.04, abs=0.006)


def test_cacti_energy_per_bit_falls_with_the_width_of_a_large_bank():
    # 45 nm LSTP, 64 KiB: 0.56, 0.40, 0.31, 0.20 pJ per bit at 32, 64, 128, 256 bits
    for width, energy in ((32, 0.56), (64, 0.40), (128, 0.31), (256, 0.20)):
        found = sram_figures(64 * 8192, width, 45, "lstp")
        assert found.read_energy_pj / width == pytest.approx(energy, abs=0.006)


def test_cacti_high_performance_lies_below_horowitz_caches():
    # Horowitz's 64-bit caches of 8 KiB, 32 KiB and 1 MiB (10, 20, 100 pJ) include tags
    for kib, cache in ((8, 10), (32, 20), (1024, 100)):
        found = sram_figures(kib * 8192, 64, 45, "hp")
        assert 1.3 <= cache / found.read_energy_pj <= 1.9


def test_synthesised_multiplier_ratios():
    # energy and area relative to 8 x 8, FreePDK45, synthesised for this project
    known = {
        (1, 1): (0.0065, 0.010),
        (2, 2): (0.024, 0.036),
        (4, 2): (0.046, 0.077),
        (4, 4): (0.217, 0.227),
        (8, 2): (0.092, 0.177),
        (8, 4): (0.403, 0.433),
        (16, 8): (1.89, 1.84),
        (16, 16): (5.17, 4.18),
    }
    for (w, a), (energy, area) in known.items():
        found = arithmetic.multiplier_energy_pj(w, a, "freepdk45") / 0.2
        assert found == pytest.approx(energy, rel=0.02)
        found = arithmetic.multiplier_area_um2(w, a) / 563.92
        assert found == pytest.approx(area, rel=0.04)
    # adders of 8, 16, 32 bits cost 0.049, 0.120, 0.264 of the multiplier
    for bits, ratio in ((8, 0.049), (16, 0.120), (32, 0.264)):
        found = arithmetic.adder_energy_pj(bits, "freepdk45") / 0.2
        assert found == pytest.approx(ratio, abs=0.001)


def test_product_law_against_synthesis_from_four_bits_on():
    for w in range(4, 16):
        for a in range(4, w + 1):
            law = arithmetic.multiplier_energy_pj(w, a)
            synthesised = arithmetic.multiplier_energy_pj(w, a, "freepdk45")
            assert synthesised == pytest.approx(law, rel=0.26)


def test_aladdin_is_four_times_horowitz():
    # Aladdin, 40 nm: 32-bit multiplier 12.68 pJ; its 8-bit share by the square is 0.79 pJ
    assert arithmetic.multiplier_energy_pj(32, 32, "aladdin") == pytest.approx(12.68)
    assert arithmetic.multiplier_energy_pj(8, 8, "aladdin") == pytest.approx(0.79, abs=0.005)


def test_psma_energy_per_mac_28_nm():
    # Ibrahim, Mei, Verhelst, arXiv 2108.04773, results/breakdown: 28 nm, 200 MHz, pJ per MAC
    measured = {
        "bitfusion_like": {(8, 8): 1.157, (8, 4): 0.549, (4, 4): 0.266, (2, 2): 0.0653},
        "bitblade_like": {(8, 8): 0.873, (8, 4): 0.431, (4, 4): 0.212, (2, 2): 0.0516},
        "loom_like": {(8, 8): 0.992, (8, 4): 0.559, (4, 4): 0.298, (2, 2): 0.0895},
        "subword_best": {(8, 8): 0.703, (4, 4): 0.199, (2, 2): 0.0637},
    }
    for design, pairs in measured.items():
        for (w, a), energy in pairs.items():
            assert mac.psma_energy_pj_per_mac(design, w, a) == energy


def test_fixed_elements_of_the_bit_fusion_repository_45_nm():
    # systolic_array_synth.csv, 4 x 4 arrays / 16: pJ per MAC and um2 at 2, 4, 8, 16 bits
    for bits, energy, area in (
        (2, 0.0442, 81.1),
        (4, 0.0931, 191.6),
        (8, 0.2357, 510.7),
        (16, 0.7167, 1679.4),
    ):
        assert mac.fixed_pe_energy_pj(bits, bits) == pytest.approx(energy, rel=0.007)
        assert mac.fixed_pe_area_um2(bits, bits) == pytest.approx(area, rel=0.023)
    # a fused 8-bit element costs 2.45 times the energy and 3.4 times the area of the fixed one
    assert mac.fusion_unit_energy_pj_per_cycle(8) / 0.2357 == pytest.approx(2.45, abs=0.01)
    assert mac.fusion_unit_area_um2(8) / 510.7 == pytest.approx(3.40, abs=0.01)


def test_stillmaker_baas_energies_relative_to_45_nm():
    # Stillmaker and Baas 2017, high-performance logic at nominal supply; 40, 28, 22 interpolated
    known = {
        180: 30.6, 130: 7.32, 90: 3.73, 65: 1.95, 45: 1.0, 40: 0.82, 32: 0.531,
        28: 0.43, 22: 0.28, 20: 0.233, 16: 0.140, 14: 0.112, 10: 0.082, 7: 0.056,
    }  # fmt: skip
    for node, energy in known.items():
        assert technology.relative_energy(node) == pytest.approx(energy, rel=0.011)
    assert technology.energy_factor("45hp", 1.0, "45lp", 1.1) == pytest.approx(1.41, abs=0.005)
    # 45 to 20 nm at 0.8 V: 0.275 on the high-performance curves
    assert technology.energy_factor("45hp", 0.8, "20hp", 0.8) == pytest.approx(0.275, abs=0.001)


def test_wires_and_hops_45_nm():
    # CACTI 7: 0.33 pJ per bit and mm at 45 nm; a neighbour of 511 um2 is 0.0164 pJ per bit away
    assert wire_energy_pj_per_bit(1, 45) == pytest.approx(0.327)
    assert neighbour_hop_energy_pj_per_bit(510.7e-6, 45) == pytest.approx(0.0164, abs=1e-4)


def test_register_files_28_nm():
    # Interstellar example architectures: 16-bit access of 16 to 512 bytes, 0.03 to 0.96 pJ
    for size, energy in (
        (16, 0.03),
        (32, 0.06),
        (64, 0.12),
        (128, 0.24),
        (256, 0.48),
        (512, 0.96),
    ):
        assert arithmetic.register_file_energy_pj_per_bit(size) * 16 == pytest.approx(energy)


def test_dram_pj_per_bit():
    # energydram 0.4.0: core with 128 accesses per activation, and interface
    assert dram_figures("ddr3").read_energy_pj_per_bit == pytest.approx(22.2 + 11.4)
    assert dram_figures("ddr3").write_energy_pj_per_bit == pytest.approx(22.2 + 6.9)
    assert dram_figures("lpddr3", "random").read_energy_pj_per_bit == pytest.approx(16.7)
    # O'Connor et al., MICRO 2017
    assert dram_figures("hbm2").read_energy_pj_per_bit == pytest.approx(3.9)
    assert dram_figures("gddr5").read_energy_pj_per_bit == pytest.approx(14.0)


def test_area_that_the_bit_fusion_simulator_sums_to():
    # hsharma35/bitfusion: array 0.888, buffers 0.767 + 0.242 + 0.243 mm2, 2.14 in all, 45 nm
    found = area_mm2(load_accelerator("bitfusion-isca18"))
    assert found.components["compute"] == pytest.approx(0.888, abs=0.001)
    # its sum has no vector unit
    assert found.known_mm2 - found.components["vector"] == pytest.approx(2.14, abs=0.005)
