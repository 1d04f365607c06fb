"""Area, comparison at equal area, and static energy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hwmpq.accelerator.area import (
    area_mm2,
    compute_area_mm2,
    elements_area_mm2,
    equal_area_factors,
    lane_area_um2,
    vector_area_mm2,
)
from hwmpq.accelerator.components import OperationComponent
from hwmpq.accelerator.energy import (
    counts_leakage,
    leakage_energy_pj,
    static_power_mw,
)
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.errors import UnsupportedError
from hwmpq.shipped import shipped_files

load = cache(load_accelerator)


class Array(BaseModel):
    area_mm2: float | None = None
    leakage_mw: float | None = None


class Leakless(BaseModel):
    leakage: bool = False


def machine(memory_area=1.0, leakage=2.0, array=None, **changes):
    """A machine of three memories, its vector unit of unknown area."""
    base = load("systolic-32x32")
    memories = tuple(
        memory.model_copy(update={"area_mm2": memory_area, "leakage_mw": leakage})
        for memory in base.memories
    )
    given = {
        "memories": memories,
        "compute": array or Array(area_mm2=5.0),
        "vector": base.vector.model_copy(update={"operation": None}),
    }
    return base.model_copy(update={**given, **changes})


def test_area_adds_up():
    found = area_mm2(machine())
    assert found.total_mm2 == pytest.approx(8.0)
    assert found.components["compute"] == 5.0
    assert found.components["memory.ifmap_buffer"] == 1.0
    assert found.unknown == ("vector",)


def test_unknown_area_is_unknown_and_not_zero():
    found = area_mm2(machine(array=Array()))
    assert found.total_mm2 is None
    assert found.known_mm2 == pytest.approx(3.0)
    assert set(found.unknown) == {"compute", "vector"}
    assert compute_area_mm2(machine(array=Leakless())) is None


def test_vector_area_counts_where_it_is_known():
    vector = machine().vector.model_copy(update={"area_mm2": 0.5})
    found = area_mm2(machine(vector=vector))
    assert found.total_mm2 == pytest.approx(8.5)
    assert found.unknown == ()


def vector_of(**operation):
    """Ten lanes on bytes."""
    update = {"lanes": 10, "element_bits": 8, "operation": OperationComponent(**operation)}
    return machine().vector.model_copy(update=update)


def test_a_lane_is_its_circuit_and_three_registers_by_hand():
    # FreePDK45's 8-bit adder, 50.54 um2; 24 flip-flops of 5.98 um2 at 40 nm, where the area is
    # 0.46 + 8 / 13 * 0.54 of that at 45 nm
    registers = 24 * 5.98 / (0.46 + 8 / 13 * 0.54)
    for family in ("freepdk45", "horowitz"):  # Horowitz's has no areas of its own
        vector = vector_of(kind="add", bits=8, family=family)
        found = vector_area_mm2(machine(vector=vector))
        assert found == pytest.approx(10 * (50.54 + registers) / 1e6)
        at_32 = vector_area_mm2(machine(vector=vector, technology_nm=32))
        assert at_32 == pytest.approx(0.46 * found)
    operation = OperationComponent(kind="multiply", bits=8, family="freepdk45")
    assert lane_area_um2(operation, 8, 45) == pytest.approx(563.92 + registers)
    operation = OperationComponent(kind="add", bits=32, family="aladdin")
    assert lane_area_um2(operation, 8, 40) == pytest.approx(278 + 24 * 5.98)
    operation = OperationComponent(kind="multiply", bits=32, family="horowitz")
    assert lane_area_um2(operation, 8, 40) == pytest.approx(6350 + 24 * 5.98)


def test_a_stated_vector_area_wins_over_the_operation():
    vector = vector_of(kind="add", bits=8, family="horowitz")
    stated = vector.model_copy(update={"area_mm2": 0.5})
    assert vector_area_mm2(machine(vector=stated)) == 0.5


def test_a_vector_unit_outside_the_tables_is_unknown():
    vector = vector_of(kind="add", bits=8, family="horowitz")
    assert vector_area_mm2(machine(vector=vector, technology_nm=5)) is None
    assert area_mm2(machine(vector=vector, technology_nm=5)).unknown == ("vector",)
    assert vector_area_mm2(machine()) is None


def test_elements_of_one_area_add_up():
    assert elements_area_mm2(2000.0, 500) == pytest.approx(1.0)
    assert elements_area_mm2(None, 500) is None


def test_a_published_chip_area_wins():
    found = area_mm2(machine(array=Array(), area_mm2=16.0))
    assert found.total_mm2 == 16.0
    assert found.known_mm2 == pytest.approx(3.0)


def test_equal_area_is_relative_to_the_first():
    assert equal_area_factors([machine(), machine(memory_area=3.0)]) == pytest.approx((1, 8 / 14))
    with pytest.raises(UnsupportedError, match="no area is known for compute"):
        equal_area_factors([machine(), machine(array=Array())])


def test_leakage_by_hand():
    # 6 mW for 500 cycles at 500 MHz: 6e-3 W * 1e-6 s = 6e-9 J
    assert leakage_energy_pj(machine(), np.array([500])) == pytest.approx([6000.0])
    array = Array(area_mm2=1.0, leakage_mw=4.0)
    assert static_power_mw(machine(array=array)) == pytest.approx(10.0)


def test_a_file_without_leakage_adds_none():
    quiet = machine(behavior=Leakless())
    assert not counts_leakage(quiet)
    assert leakage_energy_pj(quiet, np.array([500])).tolist() == [0.0]


def test_background_power_of_dram_is_static():
    dram = machine().dram.model_copy(update={"background_mw": 10.0})
    found = leakage_energy_pj(machine(dram=dram), np.array([500]))
    assert found == pytest.approx([16_000.0])


@settings(max_examples=30, deadline=None)
@given(cycles=st.integers(0, 10**12), times=st.integers(1, 50))
def test_leakage_scales_with_time(cycles, times):
    short, long = leakage_energy_pj(machine(), np.array([cycles, cycles * times]))
    assert long == pytest.approx(short * times)
    assert short >= 0


@pytest.mark.parametrize("name", sorted(shipped_files("accelerators")))
def test_every_shipped_accelerator_reports_each_component_as_known_or_unknown(name):
    accelerator = load(name)
    found = area_mm2(accelerator)
    memories = {f"memory.{memory.name}" for memory in accelerator.memories}
    assert set(found.components) == {"compute", "vector"} | memories
    known = [area for area in found.components.values() if area is not None]
    assert all(area > 0 for area in known)
    assert found.known_mm2 == pytest.approx(sum(known))
    missing = set(found.unknown) - {"vector"}
    assert (found.total_mm2 is None) == (bool(missing) and accelerator.area_mm2 is None)


def test_every_shipped_accelerator_can_be_compared_at_equal_area():
    machines = [load(name) for name in sorted(shipped_files("accelerators"))]
    factors = equal_area_factors(machines)
    assert factors[0] == 1.0
    assert all(0 < factor < 1000 for factor in factors)
