"""SCALE-Sim topology files, in their convolution and their GEMM form.

Columns as read by ``scalesim/topology_utils.py`` of github.com/scalesim-project/SCALE-Sim:
``name, ifmap height, ifmap width, filter height, filter width, channels, filters, stride`` with
padding already in the input, or ``name, M, N, K[, batch]``. A name with ``DP`` is a depthwise
convolution. An output size is rounded up there, ``ceil((ifmap - filter + stride) / stride)``,
which is what ``ceil_mode`` means here; the input keeps its size, so its traffic is SCALE-Sim's.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hwmpq.errors import ProblemList
from hwmpq.shipped import missing_file
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import Conv2d, Linear, MatMul
from hwmpq.workload.loader import WorkloadFile, workload_from_layers

_CONV_COLUMNS: Final = 8
_GEMM_COLUMNS: Final = 4


def _numbers(cells: Sequence[str], row: int, problems: ProblemList) -> list[int] | None:
    values = []
    for column, cell in enumerate(cells, start=2):
        if not cell.isdigit() or int(cell) < 1:
            rule = "must be a whole number of at least 1"
            problems.add(f"row {row}, column {column}", rule, value=cell, line=row)
            return None
        values.append(int(cell))
    return values


def _convolution(
    name: str, cells: Sequence[str], row: int, problems: ProblemList
) -> Conv2d | None:
    if len(cells) > _CONV_COLUMNS - 1 and cells[_CONV_COLUMNS - 1] not in ("", "1:1"):
        rule = "sparsity cannot be priced"
        value = cells[_CONV_COLUMNS - 1]
        problems.add(f"row {row}, column 9", rule, value=value, fix="Write 1:1.", line=row)
        return None
    values = _numbers(cells[: _CONV_COLUMNS - 1], row, problems)
    if values is None:
        return None
    height, width, kernel_height, kernel_width, channels, filters, stride = values
    if kernel_height > height or kernel_width > width:
        rule = "the filter must not be larger than the input"
        shown = f"{kernel_height} x {kernel_width} on {height} x {width}"
        problems.add(f"row {row}", rule, value=shown, line=row)
        return None
    groups = channels if "DP" in name else 1
    return Conv2d(
        name=name,
        in_channels=channels,
        in_height=height,
        in_width=width,
        out_channels=filters * groups,
        kernel_size=(kernel_height, kernel_width),
        stride=(stride, stride),
        groups=groups,
        ceil_mode=True,
    )


def _gemm(
    name: str, cells: Sequence[str], row: int, problems: ProblemList
) -> Linear | MatMul | None:
    """``[M, K] x [K, N]`` with a filter; several at once are products of two activations."""
    values = _numbers([cell for cell in cells[:4] if cell], row, problems)
    if values is None:
        return None
    m, n, k, *more = values
    if more and more[0] > 1:
        return MatMul(name=name, batch=more[0], m=m, k=k, n=n)
    return Linear(name=name, batch=m, in_features=k, out_features=n)


def read_topology(path: Path) -> tuple[Conv2d | Linear | MatMul, ...]:
    """Layers of a topology file.

    Raises:
        SpecError: missing or malformed; all problems at once.
    """
    if not path.is_file():
        raise missing_file(path)
    problems = ProblemList(str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.add("file", f"cannot be read as UTF-8 text: {error}")
        problems.raise_if_any()
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
    if not rows or not any(rows[0]):
        problems.add("row 1", "must name the columns")
        problems.raise_if_any()
    gemm = [cell.upper() for cell in rows[0][1:4]] == ["M", "N", "K"]
    layers: dict[str, Conv2d | Linear | MatMul] = {}
    for row, cells in enumerate(rows[1:], start=2):
        if not any(cells):
            continue
        while cells and not cells[-1]:
            cells.pop()
        needed = _GEMM_COLUMNS if gemm else _CONV_COLUMNS
        if len(cells) < needed:
            rule = f"must have at least {needed} columns"
            problems.add(f"row {row}", rule, value=str(len(cells)), line=row)
            continue
        name = cells[0]
        if not name or name in layers:
            problems.add(f"row {row}, column 1", "names must be unique", value=name, line=row)
            continue
        read = _gemm if gemm else _convolution
        layer = read(name, cells[1:], row, problems)
        if layer is not None:
            layers[name] = layer
    if not rows[1:]:
        problems.add("file", "holds no layer")
    problems.raise_if_any()
    return tuple(layers.values())


def workload_from_file(file: WorkloadFile, *, batch: int, exempt: Sequence[str]) -> Workload:
    """Read the topology that a workload file names.

    Raises:
        SpecError: missing or malformed.
    """
    layers = read_topology(file.path.parent / str(file.spec.topology))
    spec = file.spec.model_copy(update={"layers": layers, "topology": None})
    listed = dataclasses.replace(file, spec=spec, inputs=(None,) * len(layers))
    return workload_from_layers(listed, batch=batch, exempt=exempt)
