"""Printing: results on standard output, remarks and progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Where results go; wide enough not to cut names when output is a file."""
    shown = Console(highlight=False)
    return shown if shown.is_terminal else Console(highlight=False, width=160)


def show(*renderables: RenderableType) -> None:
    """Print results for people, names with brackets as they are."""
    target = console()
    for renderable in renderables:
        target.print(renderable, markup=False)


def note(text: str) -> None:
    """Print a remark on standard error, so that piped results stay clean."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: object) -> object:
    """Numpy scalars and arrays, and paths, as JSON knows them."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table; columns whose name starts with ``>`` are right-aligned."""
    made = Table(title=Text(title), title_justify="left", header_style="bold")
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made
