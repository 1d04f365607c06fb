"""Energy of on-chip wires and of hops between neighbouring processing elements."""

from __future__ import annotations

from math import sqrt
from typing import Literal

from hwmpq.accelerator.arithmetic import register_energy_pj
from hwmpq.accelerator.constants import family
from hwmpq.errors import UnsupportedError

WireStyle = Literal["fast", "slow", "low_swing"]


def _wire(key: str, node_nm: float) -> float:
    table = family("cacti7_wire").numbers(key)
    if f"{node_nm:g}" not in table:
        msg = f"no wire energy for {node_nm:g} nm; known: {', '.join(table)}"
        raise UnsupportedError(msg)
    return table[f"{node_nm:g}"]


def wire_energy_pj_per_bit(length_mm: float, node_nm: float, style: WireStyle = "fast") -> float:
    """Energy of sending one bit over a wire.

    Full-swing repeated wires are proportional to their length: ``fast`` allows 5 % more delay than
    the fastest, ``slow`` 30 %. Low-swing wires are known for 1 mm only.

    Raises:
        UnsupportedError: a node without figures, or a low-swing wire of another length.

    References:
        CACTI 7 wire report, run for this project.

    >>> wire_energy_pj_per_bit(2.0, 45)
    0.654
    """
    if length_mm < 0:
        msg = f"a wire's length cannot be negative, but got {length_mm:g} mm"
        raise UnsupportedError(msg)
    if style != "low_swing":
        return length_mm * _wire(f"{style}_pj_per_bit_mm", node_nm)
    if length_mm != 1.0:
        msg = f"low-swing wires are known for 1 mm only, not for {length_mm:g} mm"
        raise UnsupportedError(msg)
    return _wire("low_swing_1mm_pj_per_bit", node_nm)


def neighbour_hop_energy_pj_per_bit(
    element_area_mm2: float, node_nm: float, style: WireStyle = "fast"
) -> float:
    """Energy of handing one bit to the next processing element: one element's edge and a register.

    ``E = wire * sqrt(area) + register`` (ours); the register is Aladdin's at 40 nm.

    >>> round(neighbour_hop_energy_pj_per_bit(511e-6, 45), 4)
    0.0164
    """
    edge = wire_energy_pj_per_bit(sqrt(element_area_mm2), node_nm, style)
    return edge + register_energy_pj(1)
