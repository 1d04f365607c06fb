"""Axes of a sweep as a recipe states them: one value, a list, or a range."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Value: TypeAlias = str | int | float | bool
_NUMBER: Final = re.compile(r"^\s*([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([A-Za-z×]*)\s*$")
_RANGE_KEYS: Final = {"from", "to", "steps", "scale"}


class Range(BaseModel):
    """Values from one end to the other, both included.

    Attributes:
        start: first value, such as ``0.3x``, ``1ms`` or ``8``.
        stop: last value, with the same unit.
        steps: how many values.
        scale: whether neighbours differ by a fixed amount or by a fixed factor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    start: str | int | float = Field(alias="from")
    stop: str | int | float = Field(alias="to")
    steps: int = Field(ge=2)
    scale: Literal["linear", "log"] = "linear"

    def values(self) -> tuple[Value, ...]:
        """The values; whole between whole ends if all of them are.

        Raises:
            ValueError: an end is no number, units differ, or a logarithmic range touches zero.

        >>> Range.model_validate({"from": "0.5x", "to": "1x", "steps": 3}).values()
        ('0.5x', '0.75x', '1x')
        >>> Range.model_validate({"from": 8, "to": 32, "steps": 3, "scale": "log"}).values()
        (8, 16, 32)
        """
        (low, unit), (high, other) = _read(self.start), _read(self.stop)
        if unit != other:
            msg = f"both ends of a range need the same unit, but got '{unit}' and '{other}'"
            raise ValueError(msg)
        if self.scale == "log" and min(low, high) <= 0:
            msg = f"a logarithmic range lies above zero, but got {self.start} to {self.stop}"
            raise ValueError(msg)
        found = [self._at(low, high, step / (self.steps - 1)) for step in range(self.steps)]
        numbers = [float(f"{value:.12g}") for value in found]
        if unit or isinstance(self.start, str):
            return tuple(f"{value:.12g}{unit}" for value in numbers)
        if all(value.is_integer() for value in numbers):
            return tuple(int(value) for value in numbers)
        return tuple(numbers)

    def _at(self, low: float, high: float, share: float) -> float:
        if self.scale == "log":
            return float(low ** (1 - share) * high**share)
        return low + (high - low) * share


def _read(end: str | int | float) -> tuple[float, str]:
    match = _NUMBER.match(str(end))
    if match is None:
        msg = f"a range's ends are numbers with a unit, such as 0.3x, but got '{end}'"
        raise ValueError(msg)
    return float(match[1]), match[2]


def is_range(value: object) -> bool:
    """Whether a mapping is meant as a range, misspelt keys included."""
    return isinstance(value, Mapping) and bool(_RANGE_KEYS & set(value))


def axis_values(value: object) -> tuple[Value, ...]:
    """Every value of an axis; ranges may stand in lists, too.

    Raises:
        ValueError: empty, a value twice, no value at all, or a faulty range.

    >>> axis_values(["0.25x", {"from": "0.5x", "to": "1x", "steps": 2}])
    ('0.25x', '0.5x', '1x')
    """
    found: list[Value] = []
    for item in value if isinstance(value, list | tuple) else (value,):
        if isinstance(item, Mapping):
            found += _range(item).values()
        elif isinstance(item, str | int | float):
            found.append(item)
        else:
            msg = f"a value must be a number or text, but got {item!r}"
            raise ValueError(msg)
    require_distinct(found)
    return tuple(found)


def axis_ends(value: object) -> tuple[Value, ...]:
    """Listed values and both ends of ranges: what is fine there is fine in between.

    >>> axis_ends({"from": "0.5x", "to": "1x", "steps": 1000})
    ('0.5x', '1x')
    """
    found: list[Value] = []
    for item in value if isinstance(value, list | tuple) else (value,):
        if isinstance(item, Mapping):
            known = _range(item).model_copy(update={"steps": 2})
            found += known.values()
        elif isinstance(item, str | int | float):
            found.append(item)
    return tuple(found)


def _range(value: Mapping[str, object]) -> Range:
    try:
        return Range.model_validate(dict(value))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "range"
        msg = f"a range is {{from: 0.3x, to: 1x, steps: 20}}; {where}: {first['msg']}"
        raise ValueError(msg) from error


def require_distinct(values: Sequence[object]) -> None:
    """Refuse an axis without values, or with one value twice.

    Raises:
        ValueError: says which.
    """
    if not values:
        msg = "an axis needs at least one value, but it is empty"
        raise ValueError(msg)
    seen: set[object] = set()
    for value in values:
        key = value if isinstance(value, str | int | float) else repr(value)
        if key in seen:
            msg = f"values of an axis must differ, but {value!r} stands there twice"
            raise ValueError(msg)
        seen.add(key)
