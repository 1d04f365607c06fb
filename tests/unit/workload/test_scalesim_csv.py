"""SCALE-Sim topologies: both forms, rounding up, and rows that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmpq.errors import SpecError
from hwmpq.workload.layer import Conv2d, Linear, MatMul
from hwmpq.workload.loader import load_workload
from hwmpq.workload.scalesim_csv import read_topology

HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,"
    " Strides,\n"
)


def write(folder: Path, text: str, name: str = "net.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_convolutions(tmp_path: Path) -> None:
    rows = "Conv1, 224, 224, 11, 11, 3, 96, 4,\nConv2DP, 27, 27, 3, 3, 96, 1, 1,\n\n"
    first, depthwise = read_topology(write(tmp_path, HEADER + rows))
    assert isinstance(first, Conv2d)
    # ceil((224 - 11 + 4) / 4) = 55 rows, where rounding down would give 54.
    assert (first.out_height, first.out_width) == (55, 55)
    assert first.macs == 55 * 55 * 11 * 11 * 3 * 96
    assert isinstance(depthwise, Conv2d)
    assert depthwise.is_depthwise
    assert depthwise.macs == 25 * 25 * 9 * 96


def test_inputs_keep_their_size(tmp_path: Path) -> None:
    (layer,) = read_topology(write(tmp_path, HEADER + "c, 9, 8, 3, 3, 1, 1, 2,\n"))
    assert isinstance(layer, Conv2d)
    assert (layer.in_height, layer.in_width) == (9, 8)
    assert (layer.out_height, layer.out_width) == (4, 4)


def test_products(tmp_path: Path) -> None:
    text = "Layer, M, N, K,\nfc, 128, 1000, 512,\nheads, 197, 64, 197, 12,\n"
    assert read_topology(write(tmp_path, text)) == (
        Linear(name="fc", batch=128, in_features=512, out_features=1000),
        MatMul(name="heads", batch=12, m=197, k=197, n=64),
    )


def test_as_a_workload_by_path_and_from_a_file(tmp_path: Path) -> None:
    topology = write(tmp_path, "Layer, M, N, K,\nfc, 2, 3, 5,\n")
    assert load_workload(topology, batch=4).macs == 4 * 2 * 3 * 5
    named = write(tmp_path, "name: gemm\ntopology: net.csv\n", "net.yaml")
    assert load_workload(named).name == "gemm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1"),
        (HEADER, "holds no layer"),
        (HEADER + "c, 8, 8, 3, 3, 1, 1,\n", "at least 8 columns"),
        (HEADER + "c, 8, 8, 3, x, 1, 1, 1,\n", r"row 2, column 5 .*whole number.*got x"),
        (HEADER + "c, 8, 8, 9, 3, 1, 1, 1,\n", "filter must not be larger.*9 x 3 on 8 x 8"),
        (HEADER + "c, 8, 8, 3, 3, 1, 1, 1, 2:4,\n", "sparsity cannot be priced"),
        (HEADER + "c, 8, 8, 3, 3, 1, 1, 1,\n" * 2, "names must be unique"),
    ],
)
def test_rows_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_topology(write(tmp_path, text))


def test_every_bad_row_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_topology(write(tmp_path, HEADER + "a, 1,\nb, 0, 8, 1, 1, 1, 1, 1,\n"))
    assert len(caught.value.problems) == 2


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load_workload(write(tmp_path, "name: x\ntopology: none.csv\n", "x.yaml"))
