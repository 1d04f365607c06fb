"""What is known about a number by its path: stated there, or at the nearest path above."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from pydantic import BaseModel

Value = TypeVar("Value")
_LAST_STEP: Final = re.compile(r"(\.[^.\[\]]+|\[\d+\]|^[^.\[\]]+)$")
_ENERGY: Final = re.compile(r"energy|(^|[._])pj($|_)|_mw($|_)|leakage|area_(mm2|um2)")


def nearest_above(path: str, stated: Mapping[str, object]) -> str | None:
    """The path that an entry is inherited from: itself, or the nearest one above that has one.

    >>> nearest_above("memories[0].size_bits", {"": "a paper", "memories[0]": "a table"})
    'memories[0]'
    >>> nearest_above("clock_hz", {"": "a paper"})
    ''
    """
    here = path
    while here not in stated:
        if not here:
            return None
        here = _LAST_STEP.sub("", here)
    return here


def stated_for(path: str, stated: Mapping[str, Value]) -> Value | None:
    """What is stated for a path, or inherited by it.

    >>> stated_for("dram.read_energy_pj_per_bit", {"dram": 0.5})
    0.5
    """
    owner = nearest_above(path, stated)
    return None if owner is None else stated[owner]


def numbers(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number below a value, with its path."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from numbers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from numbers(item, f"{path}[{index}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def is_energy(path: str) -> bool:
    """Whether a path names an energy, a power or an area; a share of an energy is none.

    >>> is_energy("memories[0].read_energy_pj_per_bit"), is_energy("compute.rows")
    (True, False)
    >>> is_energy("compute.stall_energy_fraction")
    False
    """
    return _ENERGY.search(path) is not None and not path.endswith("_fraction")
