"""Operators of the vector unit: never free, the same at every precision."""

from __future__ import annotations

from functools import cache
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.energy import counts_leakage, leakage_energy_pj
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Memory, VectorUnit
from hwmpq.cost.table import cost_table
from hwmpq.cost.vector import vector_cost, vector_cycles
from hwmpq.precision import Precision
from hwmpq.shipped import shipped_files
from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.layer import VectorKind, VectorOp

NAMES = sorted(shipped_files("accelerators"))
KINDS = get_args(VectorKind)
load = cache(load_accelerator)


def machine(operands="dram", fused=(), width_bits=None, size_bits=1 << 20):
    """One buffer, 10 lanes of 8 bits, a port of 100 bits a cycle, easy energies."""
    base = load("systolic-32x32")
    memory = Memory(
        name="buffer",
        holds=("weight", "input", "output"),
        size_bits=size_bits,
        banks=2,
        width_bits=width_bits,
        read_energy_pj_per_bit=1.0,
        write_energy_pj_per_bit=2.0,
        leakage_mw=5.0,
    )
    dram = base.dram.model_copy(
        update={
            "bandwidth_bits_per_cycle": 100.0,
            "read_energy_pj_per_bit": 10.0,
            "write_energy_pj_per_bit": 20.0,
        }
    )
    vector = VectorUnit(
        lanes=10, element_bits=8, energy_pj_per_operation=0.5, operands=operands, fused=fused
    )
    parts = {"memories": (memory,), "dram": dram, "vector": vector, "clock_hz": 1_000_000_000}
    return base.model_copy(update=parts)


def operator(**changes):
    """An addition of two tensors of 100 elements."""
    fields = {"op": "add", "input_sizes": (100, 100), "output_elements": 100, "operations": 100}
    return VectorOp(name="add", **(fields | changes))


def one(layer, accelerator):
    """Its costs at one precision."""
    return vector_cost(layer, [Precision(8, 8)], accelerator)


def test_streaming_through_the_buffer_by_hand():
    found = one(operator(), machine())
    # 100 operations on 10 lanes; 2400 bits cross a port of 100 bits a cycle
    assert found.compute_cycles.tolist() == [10]
    assert found.stall_cycles.tolist() == [24 - 10]
    assert found.dram_read_bits.tolist() == [1600]
    assert found.dram_write_bits.tolist() == [800]
    assert found.sram_read_bits["buffer"].tolist() == [2400]
    assert found.sram_write_bits["buffer"].tolist() == [2400]
    assert found.energy_pj["compute.vector"].tolist() == [50.0]
    assert found.energy_pj["sram.buffer"].tolist() == [2400 * 1.0 + 2400 * 2.0]
    assert found.energy_pj["dram"].tolist() == [1600 * 10.0 + 800 * 20.0]
    # 5 mW for 24 cycles at 1 GHz
    assert found.energy_pj["leakage"] == pytest.approx([5.0 * 24])
    assert found.utilization.tolist() == [1.0]


def test_on_chip_operands_touch_no_dram():
    found = one(operator(), machine("on_chip"))
    assert found.stall_cycles.tolist() == [0]
    assert found.dram_read_bits.tolist() == found.dram_write_bits.tolist() == [0]
    assert found.sram_read_bits["buffer"].tolist() == [1600]
    assert found.sram_write_bits["buffer"].tolist() == [800]
    assert found.compulsory_dram_bits.tolist() == [0]


def test_narrow_buffer_ports_limit_on_chip_operands():
    # 2 banks of 32 bits pass 64 bits a cycle: 2400 bits take 38 cycles
    found = one(operator(), machine("on_chip", width_bits=32))
    assert (found.compute_cycles + found.stall_cycles).tolist() == [38]


def test_tensors_larger_than_the_buffer_leave_the_chip():
    fits = one(operator(), machine("on_chip", size_bits=2400))
    spills = one(operator(), machine("on_chip", size_bits=2399))
    assert fits.dram_read_bits.tolist() == [0]
    assert spills.dram_read_bits.tolist() == [1600]


def test_parameters_are_read():
    found = one(operator(op="layer_norm", parameter_elements=50), machine("on_chip"))
    assert found.sram_read_bits["buffer"].tolist() == [(200 + 50) * 8]


def test_fused_operators_take_no_time_and_no_traffic_but_energy():
    found = one(operator(op="relu"), machine(fused=("relu",)))
    assert (found.compute_cycles + found.stall_cycles).tolist() == [0]
    assert found.dram_read_bits.tolist() == [0]
    assert sum(values[0] for values in found.energy_pj.values()) == 50.0


def test_an_operator_without_arithmetic_still_moves_its_elements():
    found = one(operator(op="concat", operations=0, output_elements=200), machine("on_chip"))
    assert found.compute_cycles.tolist() == [20]
    assert found.energy_pj["compute.vector"].tolist() == [100.0]


def test_the_same_at_every_precision():
    pairs = [Precision(1, 1), Precision(8, 2), Precision(16, 16)]
    found = vector_cost(operator(), pairs, machine())
    assert set(found.compute_cycles.tolist()) == {10}
    assert all(len(set(values.tolist())) == 1 for values in found.energy_pj.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_operator_is_free_on_any_shipped_accelerator(name, kind):
    accelerator = load(name)
    layer = VectorOp(name="x", op=kind, input_sizes=(1000,), output_elements=1000, operations=0)
    found = one(layer, accelerator)
    latency = int((found.compute_cycles + found.stall_cycles)[0])
    traffic = sum(int(bits[0]) for bits in found.sram_read_bits.values())
    assert (latency == 0) == (kind in accelerator.vector.fused) == (traffic == 0)
    energy = {key: float(values[0]) for key, values in found.energy_pj.items()}
    assert energy["compute.vector"] == 1000 * accelerator.vector.energy_pj_per_operation
    assert min(energy.values()) >= 0


@pytest.mark.parametrize("name", NAMES)
def test_energy_is_the_sum_of_its_components_and_leakage_follows_latency(name):
    accelerator = load(name)
    builder = WorkloadBuilder("vector operators")
    for kind in KINDS:
        builder.add(
            VectorOp(name=kind, op=kind, input_sizes=(999,), output_elements=333, operations=4000)
        )
    table = cost_table(builder.build(), accelerator, [accelerator.supported[-1]])
    parts = [values for key, values in table.columns.items() if key.startswith("energy_pj.")]
    assert np.allclose(sum(parts), table.columns["energy_pj"], rtol=1e-12)
    assert (table.columns["energy_pj"] >= 0).all()
    leakage = leakage_energy_pj(accelerator, table.columns["latency_cycles"])
    assert np.allclose(table.columns["energy_leakage_pj"], leakage)
    if not counts_leakage(accelerator):
        assert not table.columns["energy_leakage_pj"].any()


@settings(max_examples=60, deadline=None)
@given(operations=st.integers(0, 10**12), lanes=st.integers(1, 10**4))
def test_cycles_round_up_once(operations, lanes):
    cycles = vector_cycles(operations, lanes)
    assert cycles * lanes >= operations > (cycles - 1) * lanes or operations == cycles == 0
