"""Energy, leakage and area of multipliers, adders and registers by operand width.

Every function takes the family of constants by name, because families differ: a 32-bit multiplier
costs 3.1 pJ with Horowitz and 12.68 pJ with Aladdin. Choose one family per accelerator.
"""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections.abc import Mapping
from functools import cache
from typing import Literal

from hwmpq.accelerator.constants import DATA, family
from hwmpq.accelerator.technology import relative_energy
from hwmpq.errors import UnsupportedError

ArithmeticFamily = Literal["horowitz", "freepdk45", "aladdin"]


@cache
def _synthesised() -> Mapping[tuple[str, int, int], tuple[float, float]]:
    """Toggle energy [fJ] and area [um2] by kind and operand widths, both orders of operands."""
    found: dict[tuple[str, int, int], tuple[float, float]] = {}
    with (DATA / "multiplier_45nm.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            wide, narrow = int(row["weight_bits"]), int(row["activation_bits"])
            figures = (float(row["toggle_energy_fj"]), float(row["area_um2"]))
            found[row["kind"], wide, narrow] = found[row["kind"], narrow, wide] = figures
    return found


def _synthesised_multiplier(weight_bits: int, activation_bits: int) -> tuple[float, float]:
    found = _synthesised().get(("mul", weight_bits, activation_bits))
    if found is None:
        msg = (
            f"no synthesised multiplier of {weight_bits} x {activation_bits} bits; the family "
            "'freepdk45' covers 1 to 16 bits. Use 'horowitz' beyond"
        )
        raise UnsupportedError(msg)
    return found


def _piecewise(points: Mapping[int, float], bits: int) -> float:
    """Straight lines between points; proportional to the width outside them."""
    widths = sorted(points)
    if bits <= widths[0]:
        return points[widths[0]] * bits / widths[0]
    if bits >= widths[-1]:
        return points[widths[-1]] * bits / widths[-1]
    upper = bisect_left(widths, bits)
    low, high = widths[upper - 1], widths[upper]
    share = (bits - low) / (high - low)
    return points[low] + share * (points[high] - points[low])


def _check_bits(*bits: int) -> None:
    if min(bits) < 1:
        msg = f"operands have at least 1 bit, but got {list(bits)}"
        raise UnsupportedError(msg)


def node_factor(family_name: str, node_nm: float | None) -> float:
    """Energy factor from a family's node and supply to a node at its nominal supply.

    Raises:
        UnsupportedError: a node that logic scaling does not cover.
    """
    origin = family(family_name)
    if node_nm is None or origin.node_nm is None or node_nm == origin.node_nm:
        return 1.0
    return relative_energy(node_nm) / relative_energy(origin.node_nm, origin.voltage_v)


def multiplier_energy_pj(
    weight_bits: int, activation_bits: int, family_name: ArithmeticFamily = "horowitz"
) -> float:
    """Energy of one multiplication at the family's node.

    ``horowitz``: ``E = 0.2 w a / 64`` (45 nm). ``freepdk45``: 0.2 pJ times the synthesised ratio
    to 8 x 8, which is 0.37 of the ``w a`` law at 2-bit operands. ``aladdin``:
    ``E = 12.68 w a / 1024`` (40 nm).

    Raises:
        UnsupportedError: operands that the family does not cover.

    >>> multiplier_energy_pj(8, 8)
    0.2
    """
    _check_bits(weight_bits, activation_bits)
    product = weight_bits * activation_bits
    if family_name == "horowitz":
        return family("horowitz").numbers("int_mul_pj")["8"] * product / 64
    if family_name == "freepdk45":
        energy, _ = _synthesised_multiplier(weight_bits, activation_bits)
        reference, _ = _synthesised_multiplier(8, 8)
        return family("freepdk45").number("anchor_mul_8x8_pj") * energy / reference
    whole = family("aladdin").numbers("int_mul_32")["energy_pj"]
    return whole * product / 1024


def multiplier_area_um2(
    weight_bits: int, activation_bits: int, family_name: ArithmeticFamily = "freepdk45"
) -> float:
    """Area of one multiplier at the family's node, without registers.

    Raises:
        UnsupportedError: the family has no area, or does not cover the operands.

    >>> multiplier_area_um2(8, 8)
    563.92
    """
    _check_bits(weight_bits, activation_bits)
    if family_name == "freepdk45":
        return _synthesised_multiplier(weight_bits, activation_bits)[1]
    if family_name == "aladdin":
        whole = family("aladdin").numbers("int_mul_32")["area_um2"]
        return whole * (weight_bits * activation_bits) / 1024
    msg = f"family '{family_name}' has no checked multiplier areas; use 'freepdk45' or 'aladdin'"
    raise UnsupportedError(msg)


def adder_energy_pj(bits: int, family_name: ArithmeticFamily = "horowitz") -> float:
    """Energy of one addition at the family's node.

    Straight lines between the widths that the family gives, proportional to the width outside:
    ``horowitz`` 8, 16, 32 bits; ``freepdk45`` 2 to 32 bits relative to its 8 x 8 multiplier of
    0.2 pJ; ``aladdin`` 32 bits.

    Raises:
        UnsupportedError: less than one bit.

    >>> adder_energy_pj(32)
    0.1
    """
    _check_bits(bits)
    if family_name == "horowitz":
        known = family("horowitz").numbers("int_add_pj")
        return _piecewise({int(width): energy for width, energy in known.items()}, bits)
    if family_name == "freepdk45":
        reference, _ = _synthesised_multiplier(8, 8)
        anchor = family("freepdk45").number("anchor_mul_8x8_pj")
        points = {w: e for (kind, w, _), (e, _) in _synthesised().items() if kind == "add"}
        return anchor * _piecewise(points, bits) / reference
    return family("aladdin").numbers("int_add_32")["energy_pj"] * bits / 32


def adder_area_um2(bits: int, family_name: ArithmeticFamily = "freepdk45") -> float:
    """Area of one adder at the family's node.

    Raises:
        UnsupportedError: the family has no area.
    """
    _check_bits(bits)
    if family_name == "freepdk45":
        points = {w: area for (kind, w, _), (_, area) in _synthesised().items() if kind == "add"}
        return _piecewise(points, bits)
    if family_name == "aladdin":
        return family("aladdin").numbers("int_add_32")["area_um2"] * bits / 32
    msg = f"family '{family_name}' has no checked adder areas; use 'freepdk45' or 'aladdin'"
    raise UnsupportedError(msg)


def register_energy_pj(bits: int) -> float:
    """Energy of writing a register of flip-flops once, 40 nm (Aladdin: 0.009 pJ a bit)."""
    return family("aladdin").numbers("register_bit")["energy_pj"] * bits


def register_area_um2(bits: int) -> float:
    """Area of a register of flip-flops, 40 nm (Aladdin: 5.98 um2 a bit)."""
    return family("aladdin").numbers("register_bit")["area_um2"] * bits


def register_leakage_mw(bits: int) -> float:
    """Static power of a register of flip-flops, 40 nm (Aladdin: 7e-5 mW a bit)."""
    return family("aladdin").numbers("register_bit")["leakage_mw"] * bits


def register_file_energy_pj_per_bit(size_bytes: int) -> float:
    """Energy of reading a small register file, per bit of a 16-bit access, 28 nm (Interstellar).

    Raises:
        UnsupportedError: outside 16 to 512 bytes.

    >>> register_file_energy_pj_per_bit(512)
    0.06
    """
    points = {int(b): e for b, e in family("interstellar").numbers("access_16b_pj").items()}
    if not min(points) <= size_bytes <= max(points):
        msg = (
            f"a register file of {size_bytes} bytes is outside the table, which goes from "
            f"{min(points)} to {max(points)} bytes; use an SRAM, or give explicit energies"
        )
        raise UnsupportedError(msg)
    return _piecewise(points, size_bytes) / 16


def mac_energy_pj(
    weight_bits: int,
    activation_bits: int,
    accumulator_bits: int,
    family_name: ArithmeticFamily = "horowitz",
) -> float:
    """Energy of a multiplication and an addition into an accumulator, without registers.

    >>> round(mac_energy_pj(8, 8, 32), 3)
    0.3
    """
    multiply = multiplier_energy_pj(weight_bits, activation_bits, family_name)
    return multiply + adder_energy_pj(accumulator_bits, family_name)
