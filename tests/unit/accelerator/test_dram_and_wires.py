"""DRAM by type, wires by node and processing elements as measured."""

from __future__ import annotations

import pytest

from hwmpq.accelerator import mac
from hwmpq.accelerator.constants import family, recognise
from hwmpq.accelerator.dram import dram_figures
from hwmpq.accelerator.wire import neighbour_hop_energy_pj_per_bit, wire_energy_pj_per_bit
from hwmpq.errors import NotFoundError, UnsupportedError


def test_dram_is_core_and_interface():
    ddr4 = dram_figures("ddr4")
    assert ddr4.read_energy_pj_per_bit == pytest.approx(10.6 + 6.9)
    assert ddr4.write_energy_pj_per_bit == pytest.approx(10.6 + 4.9)
    assert dram_figures("ddr4", "random").read_energy_pj_per_bit == pytest.approx(16.1 + 6.9)


def test_random_access_is_not_made_up():
    with pytest.raises(UnsupportedError, match="hbm2"):
        dram_figures("hbm2", "random")


def test_a_range_gives_the_uncertainty():
    assert family("lpddr4").uncertainty == pytest.approx((14 - 8) / 8)
    assert family("hbm2").uncertainty == pytest.approx((7 - 3.9) / 3.9)
    assert family("ddr3").uncertainty == 0.5
    assert family("horowitz").uncertainty == 0.2


def test_wires():
    assert wire_energy_pj_per_bit(0, 45) == 0
    assert wire_energy_pj_per_bit(2, 22, "slow") == pytest.approx(2 * 0.156)
    assert wire_energy_pj_per_bit(1, 32, "low_swing") == 0.0038
    # an element of 0.01 mm2 is 0.1 mm wide
    assert neighbour_hop_energy_pj_per_bit(0.01, 45) == pytest.approx(0.0327 + 0.009)


@pytest.mark.parametrize("arguments", [(1, 28), (2, 45, "low_swing"), (-1, 45)])
def test_unknown_wires(arguments):
    with pytest.raises(UnsupportedError):
        wire_energy_pj_per_bit(*arguments)


def test_measured_elements():
    assert mac.psma_energy_pj_per_mac("loom_like", 2, 8) == 0.332
    assert mac.psma_area_um2("bitblade_like") == 431
    with pytest.raises(UnsupportedError, match="8x8, 4x4, 2x2"):
        mac.psma_energy_pj_per_mac("subword_best", 8, 4)
    assert mac.fusion_unit_area_um2(16) == 8831
    with pytest.raises(UnsupportedError, match="32 bits"):
        mac.fusion_unit_energy_pj_per_cycle(32)


def test_families_are_recognised_by_whole_words():
    assert recognise("LPDDR3-1600, energydram", "dram") == "lpddr3"
    assert recognise("DDR3-1600", "dram") == "ddr3"
    assert recognise("CACTI 7", "dram") is None
    assert recognise("a datasheet", "logic") is None
    with pytest.raises(NotFoundError, match="horowitz"):
        family("horowits")
    with pytest.raises(NotFoundError, match="figure"):
        family("horowitz").number("nothing")
    with pytest.raises(NotFoundError, match="figure"):
        family("horowitz").numbers("nothing")
