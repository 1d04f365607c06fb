from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwmpq.errors import SpecError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable

TABLE = SensitivityTable(
    layers=("conv", "fc"),
    precisions=(Precision(2, 8), Precision(4, 8)),
    values=np.array([[2e-7, 1e-7], [np.inf, 0.0]]),
    metric="by_hand",
    meta={"seed": "0"},
)


def test_entries_by_name() -> None:
    assert TABLE.at("conv", Precision(4, 8)) == 1e-7
    assert TABLE.row("fc").tolist() == [np.inf, 0.0]
    with pytest.raises(UnsupportedError, match="no layer 'pool'"):
        TABLE.row("pool")
    with pytest.raises(UnsupportedError, match="8/8"):
        TABLE.at("conv", Precision(8, 8))


def test_parquet_round_trip_is_exact(tmp_path: Path) -> None:
    file = tmp_path / "sensitivity.parquet"
    TABLE.save(file)
    back = SensitivityTable.load(file)
    assert np.array_equal(back.values, TABLE.values)
    assert (back.layers, back.precisions) == (TABLE.layers, TABLE.precisions)
    assert (back.metric, back.meta) == (TABLE.metric, TABLE.meta)


def test_frame_has_a_row_for_each_entry() -> None:
    frame = TABLE.to_pandas()
    assert list(frame.columns) == ["layer", "weight_bits", "activation_bits", "sensitivity"]
    assert frame.iloc[1].tolist() == ["conv", 4, 8, 1e-7]


def test_values_are_frozen_copies() -> None:
    values = np.zeros((2, 2))
    table = replace(TABLE, values=values)
    values[0, 0] = 1.0
    assert table.values[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        table.values[0, 0] = 1.0


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_no_number_is_refused_with_its_place(bad: float) -> None:
    values = np.array([[0.0, 0.0], [0.0, bad]])
    with pytest.raises(UnsupportedError, match="'fc' at 4/8"):
        replace(TABLE, values=values)


def test_shape_and_names_are_checked() -> None:
    with pytest.raises(UnsupportedError, match="shape"):
        replace(TABLE, values=np.zeros((2, 3)))
    with pytest.raises(UnsupportedError, match="must differ"):
        replace(TABLE, layers=("conv", "conv"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.write_text("not a table")
    with pytest.raises(SpecError, match="not a sensitivity table"):
        SensitivityTable.load(file)
    with pytest.raises(SpecError):
        SensitivityTable.load(tmp_path / "missing.parquet")
