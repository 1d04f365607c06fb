"""Interpolation inside the SRAM table, and refusal outside it."""

from __future__ import annotations

import csv
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.constants import DATA
from hwmpq.accelerator.sram import SramFigures, sram_figures, sram_uncertainty
from hwmpq.errors import UnsupportedError

FIELDS = [field.name for field in fields(SramFigures)]
MONOTONE_IN_SIZE = ("read_energy_pj", "write_energy_pj", "leakage_mw", "area_mm2")
WIDTHS = (32, 64, 128, 256)
KIB = 8192
TABLES = [(65, "lstp")] + [(node, kind) for node in (45, 32, 22) for kind in ("lstp", "hp", "lop")]

tables = st.sampled_from(TABLES)
sizes = st.integers(KIB, 8192 * KIB)
widths = st.integers(32, 256)


def table_rows():
    with (DATA / "cacti_sram.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_every_table_point_is_exact():
    rows = table_rows()
    assert len(rows) == 560
    for row in rows:
        found = sram_figures(
            int(row["size_bytes"]) * 8,
            int(row["width_bits"]),
            float(row["node_nm"]),
            row["flavour"],
            int(row["temperature_k"]),
        )
        for name in FIELDS:
            assert getattr(found, name) == float(row[name])


def test_half_way_in_the_logarithm_is_the_geometric_mean():
    low = sram_figures(8 * KIB, 32, 45, "lstp").read_energy_pj
    high = sram_figures(16 * KIB, 32, 45, "lstp").read_energy_pj
    between = sram_figures(round(8 * KIB * 2**0.5), 32, 45, "lstp").read_energy_pj
    assert between == pytest.approx((low * high) ** 0.5, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(table=tables, one=sizes, other=sizes, width=widths)
def test_never_falls_with_size(table, one, other, width):
    small, large = sorted((one, other))
    low, high = (sram_figures(size, width, *table) for size in (small, large))
    for name in MONOTONE_IN_SIZE:
        assert getattr(low, name) <= getattr(high, name) * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(table=tables, size=sizes, width=widths, share=st.floats(0, 1))
def test_between_table_widths_it_is_monotone_and_stays_between(table, size, width, share):
    low_width = max(w for w in WIDTHS if w <= width)
    high_width = min(w for w in WIDTHS if w >= width)
    further = width + round(share * (high_width - width))
    low, here, there, high = (
        sram_figures(size, w, *table) for w in (low_width, width, further, high_width)
    )
    for name in FIELDS:
        path = [getattr(figures, name) for figures in (low, here, there, high)]
        rising = all(a <= b * (1 + 1e-12) for a, b in pairwise(path))
        falling = all(a * (1 + 1e-12) >= b for a, b in pairwise(path))
        assert rising or falling, name
        assert min(path) > 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((KIB - 8, 64, 45, "lstp"), "1 KiB"),
        ((8192 * KIB + 8, 64, 45, "lstp"), "8 MiB"),
        ((64 * KIB, 16, 45, "lstp"), "32"),
        ((64 * KIB, 512, 45, "lstp"), "256"),
        ((64 * KIB, 64, 28, "lstp"), "45 nm"),
        ((64 * KIB, 64, 65, "hp"), "65 nm lstp"),
        ((64 * KIB, 64, 45, "lstp", 350), "300 K"),
    ],
)
def test_outside_the_table_is_an_error_that_says_what_is_inside(arguments, word):
    with pytest.raises(UnsupportedError, match=word):
        sram_figures(*arguments)


def test_leakage_at_22_nm_is_less_certain():
    assert sram_uncertainty(22, leakage=True) > sram_uncertainty(22)
    assert sram_uncertainty(45, leakage=True) == sram_uncertainty(45)


@pytest.mark.parametrize(
    ("name", "median", "worst"),
    [
        ("read_energy_pj", 0.049, 0.27),
        ("write_energy_pj", 0.047, 0.20),
        ("leakage_mw", 0.023, 0.17),
        ("area_mm2", 0.042, 0.23),
    ],
)
def test_an_inner_size_is_predicted_from_twice_the_distance(name, median, worst):
    # the figures of docs/models/energy.md
    value = {}
    for row in table_rows():
        key = (row["node_nm"], row["flavour"], int(row["width_bits"]), int(row["size_bytes"]))
        value[key] = float(row[name])
    errors = sorted(
        abs((value[*table, size // 2] * value[*table, size * 2]) ** 0.5 / here - 1)
        for (*table, size), here in value.items()
        if 1024 < size < 8 * 2**20
    )
    assert errors[len(errors) // 2] == pytest.approx(median, abs=0.002)
    assert errors[-1] <= worst + 0.005
