"""Logic scaling after Stillmaker and Baas."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator import technology
from hwmpq.errors import UnsupportedError


def test_energy_polynomial_by_hand():
    # 65 nm at 1.1 V: 3.755 * 1.21 - 4.398 * 1.1 + 1.975 = 1.68075; 45 nm at 1.0 V: 0.8612
    factor = technology.energy_factor("45hp", 1.0, "65", 1.1)
    assert factor == pytest.approx(1.68075 / 0.8612, rel=1e-9)


def test_delay_cubic_by_hand():
    # 45 nm at 1.0 V: -501.6 + 1567 - 1619 + 566.1 = 12.5; 32 nm at 1.0 V: 11.5
    assert technology.delay_factor("45hp", 1.0, "32hp", 1.0) == pytest.approx(11.5 / 12.5)


def test_area():
    assert technology.area_factor(65, 32) == pytest.approx(0.46 / 1.5)
    with pytest.raises(UnsupportedError, match="28 nm"):
        technology.area_factor(45, 28)


@settings(max_examples=60, deadline=None)
@given(one=st.floats(7, 180), other=st.floats(7, 180))
def test_energy_never_grows_towards_smaller_nodes(one, other):
    small, large = sorted((one, other))
    assert 0 < technology.relative_energy(small) <= technology.relative_energy(large) * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(energy=st.floats(0.001, 1000), a=st.floats(7, 180), b=st.floats(7, 180))
def test_there_and_back(energy, a, b):
    there = technology.scaled_energy_pj(energy, a, b)
    assert technology.scaled_energy_pj(there, b, a) == pytest.approx(energy)


def test_area_between_nodes_is_a_straight_line_and_exact_at_them():
    for node, factor in ((180, 19), (45, 1), (32, 0.46), (7, 0.059)):
        assert technology.relative_area(node) == factor
    # 28 nm is two thirds of the way from 20 (0.21) to 32 nm (0.46)
    assert technology.relative_area(28) == pytest.approx(0.21 + 2 / 3 * 0.25)
    assert technology.relative_area(32) / technology.relative_area(45) == technology.area_factor(
        45, 32
    )
    for outside in (5, 250):
        with pytest.raises(UnsupportedError, match="covers 7 to 180 nm"):
            technology.relative_area(outside)


@pytest.mark.parametrize("component", ["sram", "dram", "wire"])
def test_only_logic_scales(component):
    with pytest.raises(UnsupportedError, match=f"{component} does not follow logic"):
        technology.scaled_energy_pj(1.0, 45, 16, component)


def test_outside_the_equations():
    with pytest.raises(UnsupportedError, match="5 nm"):
        technology.relative_energy(5)
    with pytest.raises(UnsupportedError, match=r"does not hold at 0\.5 V"):
        technology.energy_factor("180", 0.5, "45hp", 1.0)
    with pytest.raises(UnsupportedError, match="no energy curve '28hp'"):
        technology.energy_factor("28hp", 1.0, "45hp", 1.0)
    with pytest.raises(UnsupportedError, match="between the nodes 20 and 32"):
        technology.relative_energy(28, voltage_v=0.8)
    with pytest.raises(UnsupportedError, match="no nominal supply"):
        technology.nominal_voltage_v("16lp")
