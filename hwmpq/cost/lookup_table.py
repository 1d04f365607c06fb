"""Reading a table of measurements, with every problem reported at once."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hwmpq.cost.base import FloatArray
from hwmpq.errors import NotFoundError, Problem, ProblemList, SpecError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.shipped import missing_file

LATENCY: Final = "latency_cycles"
SECONDS: Final = "latency_seconds"
ENERGY: Final = "energy_pj"
KEYS: Final = ("layer", "weight_bits", "activation_bits")
VALUES: Final = (LATENCY, SECONDS, "compute_cycles", ENERGY, "dram_read_bits", "dram_write_bits")
MOST_PROBLEMS: Final = 20
"""Problems listed of one file; a table of the wrong kind has thousands."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements by layer and precision.

    Attributes:
        layers: names in the table's order.
        columns: name of a quantity -> layer -> precision -> value.
    """

    layers: tuple[str, ...]
    columns: Mapping[str, Mapping[str, Mapping[Precision, float]]]

    def find(
        self, layer: str, precisions: Sequence[Precision], where: str
    ) -> dict[str, FloatArray]:
        """All quantities of one layer at the given precisions.

        Raises:
            UnsupportedError: the layer or a precision was not measured.
        """
        if layer not in self.layers:
            known = NotFoundError("layer", layer, self.layers)
            msg = f"no measurement of {where}: {known}"
            raise UnsupportedError(msg)
        latency = self.columns[LATENCY][layer]
        missing = [str(precision) for precision in precisions if precision not in latency]
        if missing:
            msg = (
                f"no measurement of {where} at {', '.join(missing)} (weight/activation bits); "
                f"measured: {', '.join(str(known) for known in sorted(latency))}"
            )
            raise UnsupportedError(msg)
        return {
            name: np.array([rows[layer][precision] for precision in precisions])
            for name, rows in self.columns.items()
        }


def read_csv(file: Path, clock_hz: int) -> Measured:
    """Read ``layer,weight_bits,activation_bits,latency_cycles[,...]``, one row an entry.

    ``latency_seconds`` may stand in for ``latency_cycles`` and is turned into cycles of the
    accelerator's clock.

    Raises:
        SpecError: missing, unreadable or broken; all problems at once.
    """
    if not file.is_file():
        raise missing_file(file)
    problems = ProblemList(str(file))
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(file), [Problem("file", f"cannot be read: {error}")]) from error
    reader = csv.DictReader(io.StringIO(text))
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    _check_header(header, problems)
    names = [name for name in header if name in VALUES]
    columns: dict[str, dict[str, dict[Precision, float]]] = {name: {} for name in names}
    layers: dict[str, None] = {}
    try:
        for row in reader:
            if len(problems.problems) >= MOST_PROBLEMS:
                break
            line = reader.line_num
            if None in row or None in row.values():
                problems.add("row", f"needs {len(header)} values", line=line)
                continue
            layer = row["layer"].strip()
            bits = [_bits(row[name], name, line, problems) for name in KEYS[1:]]
            if not layer:
                problems.add("layer", "is empty", line=line)
            values = {name: _value(row[name], name, line, problems) for name in names}
            if None in bits or not layer or None in values.values():
                continue
            precision = Precision(bits[0] or 1, bits[1] or 1)
            if precision in columns[names[0]].get(layer, {}):
                problems.add(f"{layer} {precision}", "appears twice", line=line)
            layers[layer] = None
            for name, value in values.items():
                columns[name].setdefault(layer, {})[precision] = float(value or 0)
    except csv.Error as error:
        problems.add("file", f"is not CSV: {error}", line=reader.line_num)
    if not layers and not problems.problems:
        problems.add("file", "holds no measurement")
    problems.raise_if_any()
    if SECONDS in columns:
        columns[LATENCY] = {
            layer: {precision: value * clock_hz for precision, value in row.items()}
            for layer, row in columns.pop(SECONDS).items()
        }
    _check_computing(columns, problems)
    return Measured(tuple(layers), columns)


def _check_header(header: Sequence[str], problems: ProblemList) -> None:
    known = (*KEYS, *VALUES)
    for name in KEYS:
        if name not in header:
            problems.add("header", f"there is no column '{name}'", fix="Add it.", line=1)
    if (LATENCY in header) == (SECONDS in header):
        problems.add("header", f"exactly one of {LATENCY} and {SECONDS} must be there", line=1)
    for name in sorted(set(header)):
        if name not in known:
            fix = f"Columns: {', '.join(known)}."
            problems.add(
                "header", "unknown column", value=name or "an empty name", fix=fix, line=1
            )
        elif header.count(name) > 1:
            problems.add("header", "the column appears twice", value=name, line=1)
    problems.raise_if_any()


def _bits(text: str, name: str, line: int, problems: ProblemList) -> int | None:
    try:
        bits = int(text)
    except ValueError:
        bits = 0
    if not 1 <= bits <= 64:
        problems.add(name, "must be a whole number from 1 to 64", value=text, line=line)
        return None
    return bits


def _value(text: str, name: str, line: int, problems: ProblemList) -> float | None:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    least = "positive" if name in (LATENCY, SECONDS) else "zero or more"
    fits = value > 0 if least == "positive" else value >= 0
    if not math.isfinite(value) or not fits:
        problems.add(name, f"must be a finite number, {least}", value=text, line=line)
        return None
    return value


def _check_computing(
    columns: Mapping[str, Mapping[str, Mapping[Precision, float]]], problems: ProblemList
) -> None:
    for layer, row in columns.get("compute_cycles", {}).items():
        for precision, value in row.items():
            if math.ceil(value) > math.ceil(columns[LATENCY][layer][precision]):
                rule = f"must not exceed {LATENCY}"
                problems.add(f"compute_cycles of {layer} at {precision}", rule, value=value)
    problems.raise_if_any()


def read_npy(
    file: Path,
    energy_file: Path | None,
    layers: Sequence[str] | None,
    weight_bits: Sequence[int] | None,
    activation_bits: Sequence[int] | None,
) -> Measured:
    """Read ``[layers, weight bits, activation bits]`` of cycles, and of pJ beside it.

    Args:
        file: cycles, whole or floating.
        energy_file: energies of the same shape.
        layers: names of the first axis; numbers from 0 when None.
        weight_bits: widths of the second axis; 1, 2, ... when None, as HAQ has it.
        activation_bits: widths of the third axis, likewise.

    Raises:
        SpecError: missing, unreadable or broken; all problems at once.
    """
    cycles = _array(file)
    count, wide, high = cycles.shape
    names = tuple(layers or (str(index) for index in range(count)))
    weights = tuple(weight_bits or range(1, wide + 1))
    activations = tuple(activation_bits or range(1, high + 1))
    problems = ProblemList(str(file))
    for axis, labels, size in (
        ("layers", names, count),
        ("weight_bits", weights, wide),
        ("activation_bits", activations, high),
    ):
        if len(labels) != size:
            rule = f"names {len(labels)} entries, but the table's axis has {size}"
            problems.add(f"compute.{axis}", rule)
        elif len(set(labels)) != size:
            problems.add(f"compute.{axis}", "must not repeat an entry")
    problems.raise_if_any()
    _check_numbers(file, cycles, positive=True)
    arrays = {LATENCY: cycles}
    if energy_file is not None:
        energy = _array(energy_file)
        if energy.shape != cycles.shape:
            rule = f"must have the shape of '{file.name}', {cycles.shape}"
            raise SpecError(str(energy_file), [Problem("shape", rule, value=str(energy.shape))])
        _check_numbers(energy_file, energy, positive=False)
        arrays[ENERGY] = energy
    pairs = [
        (Precision(w, a), row, column)
        for row, w in enumerate(weights)
        for column, a in enumerate(activations)
    ]
    columns = {
        name: {
            layer: {pair: float(plane[row, column]) for pair, row, column in pairs}
            for layer, plane in zip(names, values, strict=True)
        }
        for name, values in arrays.items()
    }
    return Measured(names, columns)


def _array(file: Path) -> FloatArray:
    """A three-dimensional array of numbers, never unpickled."""
    if not file.is_file():
        raise missing_file(file)
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        fix = "Save it with numpy.save, as plain numbers."
        raise SpecError(str(file), [Problem("file", f"is no NPY table: {error}", fix=fix)]) from (
            error
        )
    if not isinstance(values, np.ndarray):
        values.close()
        raise SpecError(str(file), [Problem("file", "is an NPZ archive, not an NPY table")])
    if values.dtype.kind not in "iuf":
        rule = "must hold integers or floating-point numbers"
        raise SpecError(str(file), [Problem("dtype", rule, value=str(values.dtype))])
    if values.ndim != 3 or 0 in values.shape:
        rule = "must be layers x weight bits x activation bits"
        raise SpecError(str(file), [Problem("shape", rule, value=str(values.shape))])
    return np.asarray(values, dtype=np.float64)


def _check_numbers(file: Path, values: FloatArray, *, positive: bool) -> None:
    wrong = ~np.isfinite(values) | ((values <= 0) if positive else (values < 0))
    problems = ProblemList(str(file))
    least = "positive" if positive else "zero or more"
    for layer, row, column in np.argwhere(wrong)[:MOST_PROBLEMS]:
        value = float(values[layer, row, column])
        rule = f"must be a finite number, {least}"
        problems.add(f"[{layer}, {row}, {column}]", rule, value=value)
    problems.raise_if_any()
