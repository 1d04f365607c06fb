"""Laws of energy on every shipped accelerator."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hwmpq.accelerator.energy import leakage_energy_pj
from hwmpq.accelerator.families import constant_families, energy_uncertainties, mixing_warnings
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.provenance import is_energy, numbers
from hwmpq.cost.table import cost_table
from hwmpq.shipped import shipped_files
from hwmpq.testing.cost_laws import workload_of
from hwmpq.workload.layer import Conv2d, Linear, MatMul, VectorOp

NAMES = sorted(shipped_files("accelerators"))
LAYERS = (
    Conv2d(name="conv", in_channels=8, in_height=9, in_width=9, out_channels=24, kernel_size=3),
    Conv2d(
        name="depthwise",
        in_channels=24,
        in_height=9,
        in_width=9,
        out_channels=24,
        groups=24,
        kernel_size=3,
    ),
    MatMul(name="scores", batch=4, m=13, k=17, n=19),
    Linear(name="fc", batch=3, in_features=70, out_features=33),
    VectorOp(name="add", op="add", input_sizes=(99, 99), output_elements=99, operations=99),
)


@cache
def priced(name):
    """The accelerator and its table at its narrowest and widest precision."""
    accelerator = load_accelerator(name)
    wanted = (accelerator.supported[0], accelerator.supported[-1])
    return accelerator, cost_table(workload_of(LAYERS), accelerator, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_components_add_up_to_the_energy_and_none_is_negative(name):
    _, table = priced(name)
    parts = [values for key, values in table.columns.items() if key.startswith("energy_pj.")]
    groups = [table.columns[f"energy_{g}_pj"] for g in ("compute", "sram", "dram", "leakage")]
    assert np.allclose(sum(parts), table.columns["energy_pj"], rtol=1e-12)
    assert np.allclose(sum(groups), table.columns["energy_pj"], rtol=1e-12)
    assert all((values >= 0).all() for values in parts)


@pytest.mark.parametrize("name", NAMES)
def test_leakage_is_power_over_the_run_time(name):
    accelerator, table = priced(name)
    expected = leakage_energy_pj(accelerator, table.columns["latency_cycles"])
    assert np.allclose(table.columns["energy_leakage_pj"], expected, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_twice_the_clock_period_is_twice_the_leakage_and_nothing_else(name):
    # cycles stay: the DRAM port is given by the cycle
    accelerator, table = priced(name)
    slower = accelerator.model_copy(update={"clock_hz": accelerator.clock_hz // 2})
    wanted = (accelerator.supported[0], accelerator.supported[-1])
    found = cost_table(workload_of(LAYERS), slower, wanted)
    for group, factor in (("compute", 1), ("sram", 1), ("dram", 1), ("leakage", 2)):
        column = f"energy_{group}_pj"
        expected = factor * table.columns[column]
        assert np.allclose(found.columns[column], expected, rtol=1e-9), group


@pytest.mark.parametrize("name", NAMES)
def test_sram_and_dram_energy_is_bits_times_energy_per_bit(name):
    accelerator, table = priced(name)
    dram = accelerator.dram
    moved = (
        table.columns["dram_read_bits"] * dram.read_energy_pj_per_bit
        + table.columns["dram_write_bits"] * dram.write_energy_pj_per_bit
    )
    assert np.allclose(table.columns["energy_dram_pj"], moved, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_every_energy_has_a_source_that_puts_it_into_a_family_and_an_uncertainty(name):
    accelerator = load_accelerator(name)
    uses = constant_families(accelerator)
    assert uses
    assert all(use.family != "not stated" for use in uses)
    assert all(text.startswith(accelerator.name) for text in mixing_warnings(accelerator))
    uncertainties = energy_uncertainties(accelerator)
    assert all(value > 0 for value in uncertainties.values())
    for part in ("compute", "memories", "dram", "vector"):
        for path, value in numbers(getattr(accelerator, part), part):
            if is_energy(path) and value:
                assert path in uncertainties, path
    if accelerator.area_mm2 is not None:
        assert "area_mm2" in uncertainties
