"""Scaling logic from one process node and supply to another.

Equations of A. Stillmaker and B. Baas, "Scaling equations for the accurate prediction of CMOS
device performance from 180 nm to 7 nm", Integration 58 (2017) 74-81. They hold for logic only:
SRAM, DRAM and wires do not follow them and are refused.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

from hwmpq.accelerator.constants import family
from hwmpq.errors import UnsupportedError

Component = Literal["logic", "sram", "dram", "wire"]


def _polynomial(coefficients: tuple[float, ...], voltage_v: float) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * voltage_v + coefficient
    return value


def _curve(table: str, curve: str, voltage_v: float) -> float:
    """A device curve at a supply voltage, in the paper's arbitrary unit."""
    known = family("stillmaker_baas").coefficients(table)
    if curve not in known:
        msg = f"no {table} curve '{curve}'; known: {', '.join(known)}"
        raise UnsupportedError(msg)
    value = _polynomial(known[curve], voltage_v)
    if value <= 0:
        msg = f"the {table} curve '{curve}' does not hold at {voltage_v:g} V: it gives {value:.3g}"
        raise UnsupportedError(msg)
    return value


def nominal_voltage_v(curve: str) -> float:
    """Supply that the paper's comparison takes for a curve.

    Raises:
        UnsupportedError: no nominal supply is known for the curve.
    """
    known = family("stillmaker_baas").numbers("nominal_voltage_v")
    if curve not in known:
        msg = f"no nominal supply for '{curve}'; give a voltage. Known: {', '.join(known)}"
        raise UnsupportedError(msg)
    return known[curve]


def energy_factor(from_curve: str, from_v: float, to_curve: str, to_v: float) -> float:
    """Energy per operation after scaling over before: ``f_to(V_to) / f_from(V_from)``.

    With ``f(V) = a2 V^2 + a1 V + a0``. Curves are named by node and device type, such as
    ``45hp``; nodes above 45 nm have one type.

    Raises:
        UnsupportedError: an unknown curve, or a voltage below where it holds.

    >>> round(energy_factor("45hp", 1.0, "16hp", 0.8), 2)
    0.14
    """
    return _curve("energy", to_curve, to_v) / _curve("energy", from_curve, from_v)


def delay_factor(from_curve: str, from_v: float, to_curve: str, to_v: float) -> float:
    """Gate delay after scaling over before, by the paper's cubics.

    Raises:
        UnsupportedError: an unknown curve, or a voltage where it does not hold.
    """
    return _curve("delay", to_curve, to_v) / _curve("delay", from_curve, from_v)


def area_factor(from_nm: float, to_nm: float) -> float:
    """Logic area after scaling over before.

    Raises:
        UnsupportedError: a node that the paper does not list.

    >>> area_factor(45, 7)
    0.059
    """
    known = family("stillmaker_baas").numbers("area_to_45nm")
    for node in (from_nm, to_nm):
        if f"{node:g}" not in known:
            msg = f"no area factor for {node:g} nm; known: {', '.join(known)}"
            raise UnsupportedError(msg)
    return known[f"{to_nm:g}"] / known[f"{from_nm:g}"]


def relative_area(node_nm: float) -> float:
    """Area of logic relative to 45 nm: straight lines in the node between the paper's nodes.

    Raises:
        UnsupportedError: below 7 or above 180 nm.

    >>> relative_area(32), round(relative_area(28), 3)
    (0.46, 0.377)
    """
    known = {float(n): a for n, a in family("stillmaker_baas").numbers("area_to_45nm").items()}
    nodes = sorted(known)
    if not nodes[0] <= node_nm <= nodes[-1]:
        msg = f"logic scaling covers {nodes[0]:g} to {nodes[-1]:g} nm, not {node_nm:g} nm"
        raise UnsupportedError(msg)
    upper = bisect_left(nodes, node_nm)
    if nodes[upper] == node_nm:
        return known[node_nm]
    low, high = nodes[upper - 1], nodes[upper]
    return known[low] + (node_nm - low) / (high - low) * (known[high] - known[low])


def relative_energy(node_nm: float, voltage_v: float | None = None) -> float:
    """Energy of high-performance logic relative to 45 nm at 1.0 V.

    Between the paper's nodes it is a straight line in the node; those values (40, 28, 22 nm) are
    interpolations and not in the paper, and hold at the nominal supply only.

    Args:
        node_nm: process node.
        voltage_v: supply; None for the nominal one.

    Raises:
        UnsupportedError: below 7 or above 180 nm, or a voltage for an interpolated node.

    >>> round(relative_energy(28), 2)
    0.43
    """
    curves = family("stillmaker_baas").coefficients("energy")
    by_node = {float(c.removesuffix("hp")): c for c in curves if not c.endswith("lp")}
    nodes = sorted(by_node)
    if not nodes[0] <= node_nm <= nodes[-1]:
        msg = f"logic scaling covers {nodes[0]:g} to {nodes[-1]:g} nm, not {node_nm:g} nm"
        raise UnsupportedError(msg)

    def at(node: float, volts: float | None = None) -> float:
        curve = by_node[node]
        return energy_factor(
            "45hp", 1.0, curve, nominal_voltage_v(curve) if volts is None else volts
        )

    upper = bisect_left(nodes, node_nm)
    if nodes[upper] == node_nm:
        return at(node_nm, voltage_v)
    low, high = nodes[upper - 1], nodes[upper]
    if voltage_v is not None:
        msg = (
            f"{node_nm:g} nm lies between the nodes {low:g} and {high:g} of the scaling, "
            "where only the nominal supply is interpolated; leave the voltage out"
        )
        raise UnsupportedError(msg)
    share = (node_nm - low) / (high - low)
    return at(low) + share * (at(high) - at(low))


def scaled_energy_pj(
    energy_pj: float, from_nm: float, to_nm: float, component: Component = "logic"
) -> float:
    """Energy of a circuit carried to another node, both at nominal supply.

    Raises:
        UnsupportedError: the component is not logic, or a node is outside the equations.

    >>> round(scaled_energy_pj(1.0, 45, 16), 3)
    0.14
    """
    if component != "logic":
        msg = (
            f"{component} does not follow logic scaling; take its figures at {to_nm:g} nm from a "
            "table of that node, or give explicit energies"
        )
        raise UnsupportedError(msg)
    return energy_pj * relative_energy(to_nm) / relative_energy(from_nm)
