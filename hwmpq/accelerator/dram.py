"""DRAM energy per bit moved, by type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hwmpq.accelerator.constants import family
from hwmpq.errors import UnsupportedError

DramType = Literal["ddr3", "ddr4", "lpddr3", "lpddr4", "gddr5", "hbm2"]
DramAccess = Literal["streaming", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DramFigures:
    """Energy of moving one bit.

    Attributes:
        read_energy_pj_per_bit: device and, where the source has it, interface.
        write_energy_pj_per_bit: the same for writing.
    """

    read_energy_pj_per_bit: float
    write_energy_pj_per_bit: float


def dram_figures(dram_type: DramType, access: DramAccess = "streaming") -> DramFigures:
    """Energy of a DRAM type: core plus interface.

    Args:
        dram_type: the type; each type's source says what it includes.
        access: ``streaming`` is an open page with 128 accesses per activation, ``random`` one.

    Raises:
        UnsupportedError: no figure for random access to this type.

    >>> round(dram_figures("ddr3").read_energy_pj_per_bit, 1)
    33.6
    """
    known = family(dram_type)
    key = "core_pj_per_bit" if access == "streaming" else "core_random_pj_per_bit"
    if key not in known.values:
        msg = f"no energy of random access is known for {dram_type}; use access: streaming"
        raise UnsupportedError(msg)
    core = known.number(key)
    return DramFigures(
        read_energy_pj_per_bit=core + known.number("io_read_pj_per_bit"),
        write_energy_pj_per_bit=core + known.number("io_write_pj_per_bit"),
    )
