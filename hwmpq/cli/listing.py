"""``hwmpq list``: what is there, one line each."""

from __future__ import annotations

from typing import Annotated

import typer

from hwmpq.cli.options import Json
from hwmpq.cli.output import print_json, show, table
from hwmpq.errors import NotFoundError
from hwmpq.registry import entries
from hwmpq.shipped import shipped_files
from hwmpq.strict_yaml import read_yaml

_FAMILIES = {
    "methods": "method",
    "metrics": "metric",
    "cost-models": "cost",
    "allocators": "allocator",
    "data": "data",
}
_FILES = ("accelerators", "workloads")


def _lines(kind: str) -> list[tuple[str, str]]:
    if kind in _FILES:
        return [
            (name, str(read_yaml(file, sourced=True).data.get("description", "")))
            for name, file in shipped_files(kind).items()
        ]
    family = entries(_FAMILIES[kind])
    return [(entry.name.replace("_", "-"), entry.summary) for entry in family.values()]


def list_parts(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[accelerators|workloads|methods|metrics|cost-models|allocators|data]",
            help="What to list; everything when left out.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what is shipped or installed, one line each.

    Example:  hwmpq list accelerators
    """
    kinds = (*_FILES, *_FAMILIES)
    if kind is not None and kind not in kinds:
        title = "kind of part"
        raise NotFoundError(title, kind, kinds)
    found = {name: _lines(name) for name in ([kind] if kind else kinds)}
    if as_json:
        print_json({name: dict(lines) for name, lines in found.items()})
        return
    show(*(table(name, ("name", "description"), lines) for name, lines in found.items()))
