"""A table made for reading: cells hold printed text, the value to sort by and a flag.

One `Grid` serves the HTML page, the Markdown file and the terminal, so the three always agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import pandas as pd

from hwmpq.report.common_unit import common_unit
from hwmpq.units import Format, format_bits, format_count, format_energy, format_seconds

Flag = Literal["", "good", "bad", "warn"]
MISSING: Final = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """One printed value.

    Attributes:
        text: what is read.
        sort: what rows are ordered by.
        flag: how it is set off.
    """

    text: str
    sort: float | str
    flag: Flag = ""


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a frame is printed.

    Attributes:
        key: the frame's column.
        title: heading; the unit of quantities with prefixes is added, one for the whole column.
        show: prints a number; text columns have none.
        flag: sets a cell off, from the whole row.
        beside: columns of the same name here share their unit.
    """

    key: str
    title: str
    show: Format | None = None
    flag: Callable[[Mapping[str, object]], Flag] | None = None
    beside: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers and is set flush right."""
        return self.show is not None


@dataclass(frozen=True, slots=True)
class Grid:
    """A printed table.

    Attributes:
        columns: headings in order.
        rows: one tuple of cells a row.
        total: a last row that sorting leaves in place.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] = ()

    @property
    def all_rows(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows with the total, if there is one, at the end."""
        return (*self.rows, self.total) if self.total else self.rows

    def without(self, *keys: str) -> Grid:
        """The table without some of its columns."""
        kept = [index for index, column in enumerate(self.columns) if column.key not in keys]

        def fewer(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
            return tuple(cells[index] for index in kept) if cells else ()

        columns = tuple(self.columns[index] for index in kept)
        return Grid(columns, tuple(fewer(row) for row in self.rows), fewer(self.total))


def _cell(value: object, column: Column, row: Mapping[str, object]) -> Cell:
    flag: Flag = column.flag(row) if column.flag else ""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return Cell(MISSING, -math.inf if column.numeric else "", flag)
    if column.show is None:
        return Cell(str(value), str(value), flag)
    number = float(str(value))
    return Cell(column.show(number), number, flag)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, each by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def make_grid(
    frame: pd.DataFrame, columns: Sequence[Column], total: Mapping[str, object] | None = None
) -> Grid:
    """Print a frame; columns that the frame lacks are left out."""
    present = _in_common_units(frame, [c for c in columns if c.key in frame.columns])
    rows = tuple(
        tuple(_cell(record[column.key], column, record) for column in present)
        for record in records(frame)
    )
    last = tuple(_cell(total.get(c.key), c, total) for c in present) if total else ()
    return Grid(present, rows, last)


def _in_common_units(frame: pd.DataFrame, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns with one unit each, which their titles name."""
    return tuple(_in_common_unit(frame, column, columns) for column in columns)


def _in_common_unit(frame: pd.DataFrame, column: Column, columns: Sequence[Column]) -> Column:
    if column.show is None:
        return column
    beside = [c for c in columns if c is column or (c.beside and c.beside == column.beside)]
    values = [float(value) for c in beside for value in frame[c.key] if not pd.isna(value)]
    unit = common_unit(column.show, values)
    if unit is None:
        return column
    title = f"{column.title}, {unit.name}" if unit.name else column.title
    return replace(column, title=title, show=unit)


def whole(value: float) -> str:
    """Print a count in full.

    >>> whole(12345.0)
    '12,345'
    """
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """Print a share.

    >>> percent(0.9815)
    '98.15 %'
    """
    return f"{100 * value:.2f} %"


def share(value: float) -> str:
    """Print a share where one digit is enough.

    >>> share(0.256)
    '25.6 %'
    """
    return f"{100 * value:.1f} %"


def times(value: float) -> str:
    """Print a ratio.

    >>> times(0.24988)
    '0.250x'
    """
    return f"{value:.3f}x"


def points(value: float) -> str:
    """Print a difference of two shares in percentage points.

    >>> points(-0.0131)
    '−1.31 points'
    """
    sign = "−" if value < 0 else "+" if value > 0 else "±"
    return f"{sign}{abs(100 * value):.2f} points"


def short(value: float) -> str:
    """Print any number to four digits.

    >>> short(0.000123456)
    '0.0001235'
    """
    return f"{value:.4g}"


def printed(value: float, unit: str) -> str:
    """Print a value given in a canonical unit.

    >>> printed(4096000, "bit"), printed(2.5e9, "pJ"), printed(12345, "cycle")
    ('500 KiB', '2.5 mJ', '12,345 cycles')
    """
    if unit in {"bit", "bits"}:
        return format_bits(value)
    if unit in {"pJ", "picojoules"}:
        return format_energy(value)
    if unit in {"cycle", "cycles"}:
        return f"{whole(math.floor(value))} cycles"
    if unit in {"s", "seconds"}:
        return format_seconds(value)
    if unit in {"op", "ops", "operations"}:
        return f"{format_count(value)}ops" if value >= 1000 else f"{short(value)} ops"
    return f"{short(value)} {unit}".strip()
