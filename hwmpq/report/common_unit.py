"""One unit for all values of a column, so that they can be compared at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from hwmpq.units import (
    BYTE_PREFIXES,
    SI_PREFIXES,
    Format,
    format_bits,
    format_count,
    format_energy,
    format_seconds,
)

_LADDERS: Final[Mapping[Format, tuple[tuple[float, str], ...]]] = {
    format_energy: tuple((factor * 1e12, f"{prefix}J") for factor, prefix in SI_PREFIXES),
    format_seconds: tuple((factor, f"{prefix}s") for factor, prefix in SI_PREFIXES),
    format_count: tuple((factor, prefix) for factor, prefix in SI_PREFIXES if factor >= 1),
    format_bits: tuple((factor * 8.0, unit) for factor, unit in BYTE_PREFIXES),
}
"""What prints a single value, and the units that a column of them can take, largest first."""


@dataclass(frozen=True, slots=True)
class CommonUnit:
    """A unit and the decimals of a column.

    Attributes:
        name: of the unit, with its prefix.
        factor: size of the unit in the canonical one.
        decimals: of every value.
    """

    name: str
    factor: float
    decimals: int

    def __call__(self, value: float) -> str:
        """Print a value without its unit; what would vanish keeps two digits."""
        scaled = value / self.factor
        if not scaled:
            return "0"
        if abs(scaled) < 10.0 ** (1 - self.decimals) / 2:
            return f"{scaled:.2g}"
        return f"{scaled:,.{self.decimals}f}"


def common_unit(show: Format, values: Iterable[float]) -> CommonUnit | None:
    """The unit in which the middle one of the values reads from 1 to 1000, in four digits.

    Args:
        show: what prints a single value of the quantity.
        values: in the canonical unit; those that are zero or missing do not count.

    Returns:
        None if the quantity has no prefixes or there is no value.

    >>> unit = common_unit(format_energy, [1.095e9, 3.848e8, 5.859e7])
    >>> unit.name, [unit(value) for value in (1.095e9, 3.848e8, 5.859e7)]
    ('µJ', ['1,095.0', '384.8', '58.6'])
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    ladder = _LADDERS.get(show)
    if ladder is None or not sizes:
        return None
    middle = median(sizes)
    factor, name = next((step for step in ladder if middle >= step[0] * 0.9995), ladder[-1])
    if all(float(size / factor).is_integer() for size in sizes):
        return CommonUnit(name, factor, 0)
    digits = math.floor(math.log10(middle / factor * 1.0005))
    return CommonUnit(name, factor, min(3, max(0, 3 - digits)))
