"""Columns of quantities print all their values in one unit, which the title names."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmpq.report.common_unit import common_unit
from hwmpq.report.grid import Column, make_grid, percent
from hwmpq.units import format_bits, format_count, format_energy, format_seconds

ENERGIES = [Column("energy_pj", "energy", format_energy, beside="energy")]


@pytest.mark.parametrize(
    ("show", "values", "name", "printed"),
    [
        (format_energy, [1.095e9, 3.848e8, 5.859e7], "µJ", ["1,095.0", "384.8", "58.6"]),
        (format_energy, [0.0, 2.5], "pJ", ["0", "2.500"]),
        (format_seconds, [0.0039, 0.117, 2e-9], "ms", ["3.900", "117.000", "2e-06"]),
        (format_bits, [8192.0, 8 * 2**20], "KiB", ["1", "1,024"]),
        (format_bits, [9000.0], "KiB", ["1.099"]),
        (format_bits, [12.0], "B", ["1.500"]),
        (format_count, [1.8e9, 9.0e5], "M", ["1,800.0", "0.9"]),
        (format_count, [900.0], "", ["900"]),
        (format_energy, [999.96e6], "mJ", ["1.000"]),
    ],
)
def test_the_middle_value_decides(show, values, name, printed):
    unit = common_unit(show, values)
    assert unit is not None
    assert unit.name == name
    assert [unit(value) for value in values] == printed


def test_nothing_to_scale_has_no_common_unit():
    assert common_unit(percent, [0.5]) is None
    assert common_unit(format_energy, [0.0, float("nan")]) is None


@given(st.lists(st.floats(1e-3, 1e15), min_size=1, max_size=9))
def test_printed_values_are_the_values(values):
    unit = common_unit(format_energy, values)
    assert unit is not None
    for value in values:
        shown = float(unit(value).replace(",", "")) * unit.factor
        # Half of the last decimal, or two digits where that would be nothing.
        assert abs(shown - value) <= max(0.51 * 10.0**-unit.decimals * unit.factor, 0.051 * value)
        assert shown > 0


def test_titles_name_the_unit_and_totals_share_it():
    frame = pd.DataFrame({"energy_pj": [2e6, 3e6, float("nan")]})
    grid = make_grid(frame, ENERGIES, {"energy_pj": 4e9})
    assert grid.columns[0].title == "energy, µJ"
    assert [row[0].text for row in grid.all_rows] == ["2", "3", "–", "4,000"]
    assert grid.total[0].sort == 4e9


def test_columns_beside_each_other_share_a_unit():
    frame = pd.DataFrame({"whole_pj": [5e9, 6e9], "part_pj": [4e6, 3e9], "other_pj": [1.0, 1.0]})
    columns = [
        Column("whole_pj", "energy", format_energy, beside="energy"),
        Column("part_pj", "part", format_energy, beside="energy"),
        Column("other_pj", "other", format_energy),
    ]
    titles = [column.title for column in make_grid(frame, columns).columns]
    assert titles == ["energy, mJ", "part, mJ", "other, pJ"]
