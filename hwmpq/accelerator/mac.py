"""Energy and area of whole processing elements that were synthesised and measured.

These include registers and accumulators, so they do not mix with the bare multipliers of
`hwmpq.accelerator.arithmetic`.
"""

from __future__ import annotations

from typing import Literal

from hwmpq.accelerator.constants import family
from hwmpq.errors import UnsupportedError

PsmaDesign = Literal["bitfusion_like", "bitblade_like", "loom_like", "subword_best"]


def psma_energy_pj_per_mac(design: PsmaDesign, weight_bits: int, activation_bits: int) -> float:
    """Measured energy of one MAC of a precision-scalable array at 28 nm and 200 MHz.

    A design that is not measured with its operands exchanged is taken as symmetric.

    Raises:
        UnsupportedError: a pair of widths that was not measured.

    References:
        E. M. Ibrahim, L. Mei, M. Verhelst, arXiv 2108.04773, repository ``results/breakdown``.

    >>> psma_energy_pj_per_mac("bitfusion_like", 8, 8)
    1.157
    """
    table = family("psma").numbers(design)
    pair = f"{max(weight_bits, activation_bits)}x{min(weight_bits, activation_bits)}"
    if pair not in table:
        known = ", ".join(name for name in table if "x" in name)
        msg = (
            f"{design} was not measured at {weight_bits} x {activation_bits} bits; known: {known}"
        )
        raise UnsupportedError(msg)
    return table[pair]


def psma_area_um2(design: PsmaDesign) -> float:
    """Area of one processing element of a precision-scalable array at 28 nm."""
    return family("psma").numbers(design)["area_um2"]


def fixed_pe_energy_pj(weight_bits: int, activation_bits: int) -> float:
    """Energy of one MAC of a systolic element made for these widths, 45 nm, 500 MHz.

    ``0.0116 + 0.01236 (w + a) / 2 + 0.001975 w a``: within 0.6 % of the synthesised 2, 4, 8 and
    16 bit squares; rectangular pairs were not synthesised.

    References:
        hsharma35/bitfusion, ``results/systolic_array_synth.csv``.

    >>> round(fixed_pe_energy_pj(8, 8), 3)
    0.237
    """
    product = weight_bits * activation_bits
    return 0.0116 + 0.01236 * (weight_bits + activation_bits) / 2 + 0.001975 * product


def fixed_pe_area_um2(weight_bits: int, activation_bits: int) -> float:
    """Area of that element: ``13.8 + 23.9 (w + a) / 2 + 4.95 w a``, squares within 2.2 %.

    >>> round(fixed_pe_area_um2(8, 8))
    522
    """
    product = weight_bits * activation_bits
    return 13.8 + 23.9 * (weight_bits + activation_bits) / 2 + 4.95 * product


def _fusion(key: str, widest_bits: int) -> float:
    table = family("bitfusion_pe").numbers(key)
    if str(widest_bits) not in table:
        known = ", ".join(table)
        msg = f"no fusion unit of {widest_bits} bits was synthesised; known: {known}"
        raise UnsupportedError(msg)
    return table[str(widest_bits)]


def fusion_unit_energy_pj_per_cycle(widest_bits: int) -> float:
    """Energy per busy cycle of a fusion unit with 2-bit bricks, 45 nm, 500 MHz.

    Raises:
        UnsupportedError: a width that was not synthesised.

    >>> fusion_unit_energy_pj_per_cycle(8)
    0.5779
    """
    return _fusion("fusion_pj_per_cycle", widest_bits)


def fusion_unit_area_um2(widest_bits: int) -> float:
    """Area of a fusion unit with 2-bit bricks, 45 nm.

    Raises:
        UnsupportedError: a width that was not synthesised.
    """
    return _fusion("fusion_area_um2", widest_bits)
