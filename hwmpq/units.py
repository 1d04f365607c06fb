"""Quantities with units: reading them from text, printing them for people.

Inside the package everything is in canonical units (bit, cycle, pJ, Hz, second, watt), named in
the identifier. Text with units exists only at the edges:
command line, YAML and reports. Parsing is done by QuantiPhy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, Field
from quantiphy import QuantiPhyError, Quantity

from hwmpq.errors import BudgetError

_FRACTIONS: Final = "muµμnp"
_DIMENSIONS: Final[Mapping[str, Mapping[str, float]]] = {
    "bits": {"b": 1, "bit": 1, "bits": 1, "B": 8, "byte": 8, "bytes": 8},
    "hertz": {"Hz": 1},
    "seconds": {"s": 1},
    "picojoules": {"J": 1e12},
    "cycles": {"cycle": 1, "cycles": 1},
    "operations": {"op": 1, "ops": 1, "BOP": 1, "BOPs": 1, "bops": 1},
    "count": {},
}


class _Typed(Quantity):
    """A quantity as people type it: of QuantiPhy's scale factors, those of engineering.

    Without this, ``100 cycles`` is one hundred centi-ycles and ``0.5y`` half a septillionth.
    """


_Typed.set_prefs(input_sf="TGMKkmuµμnp")
_EXAMPLES: Final[Mapping[str, str]] = {
    "bits": "500KiB",
    "hertz": "500MHz",
    "seconds": "3ms",
    "picojoules": "2mJ",
    "cycles": "100000",
    "operations": "34Gops",
    "count": "4.5",
}


def parse_quantity(text: str | float, *dimensions: str) -> tuple[float, str]:
    """Read a number with a unit of one of the given dimensions.

    A bare number is taken in the canonical unit of the first dimension.

    Returns:
        the value in canonical units, and the dimension it was given in.

    Raises:
        BudgetError: not a finite number, or a unit of another dimension.

    >>> parse_quantity("500KiB", "bits")
    (4096000.0, 'bits')
    >>> parse_quantity("3ms", "cycles", "seconds")
    (0.003, 'seconds')
    """
    allowed = ", ".join(f"'{_EXAMPLES[dimension]}'" for dimension in dimensions)
    try:
        quantity = _Typed(str(text).strip(), binary=True)
    except QuantiPhyError as error:
        msg = f"expected a quantity such as {allowed}, but got '{text}'"
        raise BudgetError(msg) from error
    value, unit = float(quantity), str(quantity.units)
    if not math.isfinite(value):
        msg = f"a quantity must be finite, but got '{text}'"
        raise BudgetError(msg)
    if not unit:
        if str(text).strip()[-1] in _FRACTIONS:
            msg = f"'{text}' names no unit; expected a quantity such as {allowed}"
            raise BudgetError(msg)
        return value, dimensions[0]
    for dimension in dimensions:
        factor = _DIMENSIONS[dimension].get(unit)
        if factor is not None:
            return value * factor, dimension
    msg = f"unit '{unit}' does not fit here; expected a quantity such as {allowed}, got '{text}'"
    raise BudgetError(msg)


def _whole(dimension: str) -> BeforeValidator:
    def convert(value: object) -> object:
        if isinstance(value, str) and value.strip() and not value.strip()[-1].isdigit():
            try:
                number, _ = parse_quantity(value, dimension)
            except BudgetError as error:
                raise ValueError(str(error)) from error
            if number != int(number):
                msg = f"must be a whole number of {dimension}, but got '{value}'"
                raise ValueError(msg)
            return int(number)
        return value

    return BeforeValidator(convert)


Bits = Annotated[int, _whole("bits"), Field(gt=0)]
"""A number of bits in a file: an integer, or text such as ``64KiB``."""

Hertz = Annotated[int, _whole("hertz"), Field(gt=0)]
"""A frequency in a file: an integer, or text such as ``500MHz``."""

SI_PREFIXES: Final = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
)
"""Prefixes of the decimal units, largest first."""

BYTE_PREFIXES: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
"""Binary units of storage in bytes, largest first."""

Format: TypeAlias = Callable[[float], str]
"""Prints a value given in the canonical unit of its quantity."""


def _scaled(value: float, unit: str, digits: int) -> str:
    if value == 0:
        return f"0 {unit}".rstrip()
    for factor, prefix in SI_PREFIXES:
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.{digits}g} {prefix}{unit}".rstrip()
    factor, prefix = SI_PREFIXES[-1]
    return f"{value / factor:.{digits}g} {prefix}{unit}"


def format_seconds(seconds: float, digits: int = 4) -> str:
    """Print a time.

    >>> format_seconds(0.0031)
    '3.1 ms'
    """
    return _scaled(seconds, "s", digits)


def format_energy(energy_pj: float, digits: int = 4) -> str:
    """Print an energy given in picojoules.

    >>> format_energy(2.5e9)
    '2.5 mJ'
    """
    return _scaled(energy_pj * 1e-12, "J", digits)


def format_bits(bits: float, digits: int = 4) -> str:
    """Print a storage size given in bits, in binary bytes.

    >>> format_bits(4096000)
    '500 KiB'
    """
    size = bits / 8
    factor, unit = next((step for step in BYTE_PREFIXES if size >= step[0]), BYTE_PREFIXES[-1])
    return f"{size / factor:.{digits}g} {unit}"


def format_count(value: float, digits: int = 4) -> str:
    """Print a large count with an SI prefix.

    >>> format_count(1.814e9)
    '1.814 G'
    """
    return _scaled(value, "", digits)
