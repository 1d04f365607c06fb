"""SRAM energy, leakage and area by size, access width, node and cell flavour.

Interpolated inside a table of CACTI 7 runs; a fit of the same table is 10 to 18 % off in the
median and twofold at worst, and energy per bit is far from constant in the width, so nothing is
fitted. Outside the table is an error: SRAM does not follow logic scaling, so there is no way from
one node to another, and extrapolated sizes would hide a change of organisation.
"""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from math import exp, log
from typing import Final, Literal

from hwmpq.accelerator.constants import DATA, UNCERTAINTY, family
from hwmpq.errors import UnsupportedError
from hwmpq.units import format_bits

Flavour = Literal["lstp", "hp", "lop"]

WEAK_LEAKAGE_NODE_NM: Final = 22
"""Leakage of this node rises again in CACTI, so it is given low confidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SramFigures:
    """One bank.

    Attributes:
        read_energy_pj: per access of the whole width.
        write_energy_pj: per access of the whole width.
        leakage_mw: static power.
        area_mm2: area.
        access_time_ns: from address to data.
        cycle_time_ns: between accesses.
    """

    read_energy_pj: float
    write_energy_pj: float
    leakage_mw: float
    area_mm2: float
    access_time_ns: float
    cycle_time_ns: float


_FIELDS: Final = tuple(field.name for field in fields(SramFigures))
_Bank = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    temperature_k: int
    sizes: Sequence[int]
    widths: Sequence[int]
    banks: Mapping[_Bank, SramFigures]


@cache
def _grids() -> Mapping[tuple[int, str], _Grid]:
    """The table by node and flavour."""
    rows: dict[tuple[int, str], dict[_Bank, SramFigures]] = {}
    temperatures: dict[tuple[int, str], int] = {}
    with (DATA / "cacti_sram.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            key = (int(row["node_nm"]), row["flavour"])
            bank = (int(row["size_bytes"]) * 8, int(row["width_bits"]))
            figures = SramFigures(**{name: float(row[name]) for name in _FIELDS})
            rows.setdefault(key, {})[bank] = figures
            temperatures[key] = int(row["temperature_k"])
    return {
        key: _Grid(
            temperature_k=temperatures[key],
            sizes=sorted({size for size, _ in banks}),
            widths=sorted({width for _, width in banks}),
            banks=banks,
        )
        for key, banks in rows.items()
    }


def _neighbours(axis: Sequence[int], value: int) -> tuple[int, int, float]:
    """The table points around a value and where it lies between, from 0 to 1 in the logarithm."""
    upper = bisect_left(axis, value)
    if axis[upper] == value:
        return value, value, 0.0
    low, high = axis[upper - 1], axis[upper]
    return low, high, log(value / low) / log(high / low)


def _blend(low: float, high: float, share: float) -> float:
    """Straight line between two positive values in the logarithm; exact at both ends."""
    if share == 0.0 or low == high:
        return low
    return exp(log(low) + share * (log(high) - log(low)))


def sram_figures(
    size_bits: int,
    width_bits: int,
    node_nm: float,
    flavour: Flavour,
    temperature_k: int | None = None,
) -> SramFigures:
    """Figures of one bank with one read/write port.

    Bilinear in the logarithms of size and width, hence exact at table points and between its
    neighbours elsewhere.

    Args:
        size_bits: capacity of the bank.
        width_bits: bits of one access.
        node_nm: 65 (LSTP only), 45, 32 or 22.
        flavour: ITRS device type of cells and periphery.
        temperature_k: None for the table's own (LSTP 300, HP and LOP 350).

    Raises:
        UnsupportedError: outside the table.

    References:
        CACTI 7, https://github.com/HewlettPackard/cacti, run with one bank, one port and the
        objective ED^2.

    >>> sram_figures(64 * 8192, 128, 45, "lstp").read_energy_pj
    39.332
    """
    grids = _grids()
    key = (int(node_nm), flavour)
    if node_nm != int(node_nm) or key not in grids:
        known = ", ".join(f"{node} nm {kind}" for node, kind in sorted(grids, reverse=True))
        msg = (
            f"no SRAM table for {node_nm:g} nm {flavour}; there is {known}. SRAM does not scale "
            "like logic, so give explicit energies for another node"
        )
        raise UnsupportedError(msg)
    grid = grids[key]
    if temperature_k is not None and temperature_k != grid.temperature_k:
        msg = (
            f"the SRAM table of {node_nm:g} nm {flavour} holds at {grid.temperature_k} K, "
            f"not at {temperature_k} K"
        )
        raise UnsupportedError(msg)
    if not grid.sizes[0] <= size_bits <= grid.sizes[-1]:
        msg = (
            f"a bank of {format_bits(size_bits)} is outside the SRAM table, which goes from "
            f"{format_bits(grid.sizes[0])} to {format_bits(grid.sizes[-1])}; use 'banks' or give "
            "explicit energies"
        )
        raise UnsupportedError(msg)
    if not grid.widths[0] <= width_bits <= grid.widths[-1]:
        msg = (
            f"accesses of {width_bits} bits are outside the SRAM table, which goes from "
            f"{grid.widths[0]} to {grid.widths[-1]} bits; use 'banks' or give explicit energies"
        )
        raise UnsupportedError(msg)
    small, large, size_share = _neighbours(grid.sizes, size_bits)
    narrow, wide, width_share = _neighbours(grid.widths, width_bits)

    def value(name: str) -> float:
        low, high = (
            _blend(
                getattr(grid.banks[small, width], name),
                getattr(grid.banks[large, width], name),
                size_share,
            )
            for width in (narrow, wide)
        )
        return _blend(low, high, width_share)

    return SramFigures(**{name: value(name) for name in _FIELDS})


def sram_source(node_nm: float, flavour: Flavour) -> str:
    """Provenance of a bank's figures."""
    return f"{family('cacti7').source}, {node_nm:g} nm {flavour}"


def sram_uncertainty(node_nm: float, *, leakage: bool = False) -> float:
    """Relative uncertainty of a bank's energies and area, or of its leakage."""
    if leakage and node_nm == WEAK_LEAKAGE_NODE_NM:
        return UNCERTAINTY["low"]
    return family("cacti7").uncertainty
