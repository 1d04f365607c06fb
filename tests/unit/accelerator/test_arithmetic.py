"""Multipliers, adders and registers by width and family."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator import arithmetic
from hwmpq.errors import UnsupportedError

families = st.sampled_from(["horowitz", "freepdk45", "aladdin"])


def test_the_product_law_by_hand():
    assert arithmetic.multiplier_energy_pj(4, 8) == pytest.approx(0.1)
    assert arithmetic.multiplier_energy_pj(16, 16) == pytest.approx(0.8)


def test_small_operands_cost_less_than_the_law_when_synthesised():
    law = arithmetic.multiplier_energy_pj(2, 2)
    synthesised = arithmetic.multiplier_energy_pj(2, 2, "freepdk45")
    # 34.523 / 1460.747 of 0.2 pJ
    assert synthesised == pytest.approx(0.2 * 34.523 / 1460.747)
    assert synthesised / law == pytest.approx(0.378, abs=0.001)


def test_both_families_agree_at_their_anchor():
    assert arithmetic.multiplier_energy_pj(8, 8, "freepdk45") == pytest.approx(0.2)


@pytest.mark.parametrize("family", ["horowitz", "freepdk45", "aladdin"])
def test_symmetric_positive_and_growing_over_all_pairs(family):
    for w in range(1, 17):
        for a in range(1, 17):
            energy = arithmetic.multiplier_energy_pj(w, a, family)
            assert energy > 0
            assert energy == arithmetic.multiplier_energy_pj(a, w, family)
            if w < 16:
                assert arithmetic.multiplier_energy_pj(w + 1, a, family) > energy


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 63), family=families)
def test_adders_grow(width, family):
    here, wider = (arithmetic.adder_energy_pj(w, family) for w in (width, width + 1))
    assert 0 < here < wider


def test_adder_between_two_published_widths():
    # half way between 0.03 pJ at 8 bits and 0.05 pJ at 16
    assert arithmetic.adder_energy_pj(12) == pytest.approx(0.04)
    assert arithmetic.adder_energy_pj(4) == pytest.approx(0.015)
    assert arithmetic.adder_energy_pj(64) == pytest.approx(0.2)


def test_areas():
    assert arithmetic.multiplier_area_um2(8, 8) == 563.92
    assert arithmetic.multiplier_area_um2(32, 32, "aladdin") == 6350
    assert arithmetic.adder_area_um2(32) == 267.6
    assert arithmetic.adder_area_um2(32, "aladdin") == 278
    with pytest.raises(UnsupportedError, match="no checked multiplier areas"):
        arithmetic.multiplier_area_um2(8, 8, "horowitz")
    with pytest.raises(UnsupportedError, match="no checked adder areas"):
        arithmetic.adder_area_um2(8, "horowitz")


def test_registers():
    assert arithmetic.register_energy_pj(8) == pytest.approx(0.072)
    assert arithmetic.register_area_um2(8) == pytest.approx(47.84)
    assert arithmetic.register_leakage_mw(8) == pytest.approx(5.6e-4)
    assert arithmetic.register_file_energy_pj_per_bit(16) == pytest.approx(0.03 / 16)
    assert arithmetic.register_file_energy_pj_per_bit(384) == pytest.approx(0.72 / 16)
    with pytest.raises(UnsupportedError, match="16 to 512"):
        arithmetic.register_file_energy_pj_per_bit(1024)


def test_what_no_family_covers_is_an_error():
    with pytest.raises(UnsupportedError, match="1 to 16 bits"):
        arithmetic.multiplier_energy_pj(17, 8, "freepdk45")
    with pytest.raises(UnsupportedError, match="at least 1 bit"):
        arithmetic.multiplier_energy_pj(0, 8)


def test_mac_is_a_multiplication_and_an_addition():
    assert arithmetic.mac_energy_pj(8, 8, 32) == pytest.approx(0.2 + 0.1)


def test_carrying_to_another_node_starts_from_the_family_supply():
    assert arithmetic.node_factor("horowitz", 45) == 1.0
    assert arithmetic.node_factor("horowitz", None) == 1.0
    # 45 nm at 0.9 V: 1.018 * 0.81 - 0.3107 * 0.9 + 0.1539 = 0.69885; 16 nm at 0.8 V:
    # 0.2958 * 0.64 - 0.1241 * 0.8 + 0.03024 = 0.120272
    assert arithmetic.node_factor("horowitz", 16) == pytest.approx(0.120272 / 0.69885, rel=1e-6)
