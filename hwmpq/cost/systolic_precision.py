"""Precision in a systolic array: products per cycle, passes, accumulators, energy and ports.

Taxonomy: V. Camus, L. Mei, C. Enz, M. Verhelst, "Review and benchmarking of precision-scalable
multiply-accumulate unit architectures for embedded neural-network processing", IEEE JETCAS 9(4),
2019 (one or two scaled operands, products summed together or kept apart). Which loop of the layer
shrinks follows from the mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hwmpq.cost.systolic_folds import ceil_of
from hwmpq.cost.systolic_spec import MacEnergy, Scaling
from hwmpq.precision import Precision


def rounded_up(bits: int, scaling: Scaling) -> int:
    """Smallest width with a mode that holds ``bits``; the native one if none does.

    >>> rounded_up(3, Scaling(mode="fused_2d", widths=(2, 4, 8)))
    4
    """
    return min((width for width in scaling.widths if width >= bits), default=scaling.native_bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What an element does at one precision.

    Attributes:
        products: n, products per cycle.
        passes: p, how often the work is done.
        input_reads: times an activation is read for one use, once a slice of the weight.
        weight_reads: times a weight is read for one use, once a slice of the activation.
        weight_lanes: different weights that an element takes per cycle.
        activation_lanes: different activations that an element takes per cycle.
        together: products that shorten the depth.
        apart: products that shorten the output channels.
    """

    products: int
    passes: int
    input_reads: int
    weight_reads: int
    weight_lanes: int
    activation_lanes: int
    together: int
    apart: int


@cache
def rate(precision: Precision, scaling: Scaling) -> Rate:
    """Products per cycle and passes at a precision, P being the native width.

    ======== =========================== ===========================
    mode     products per cycle          passes
    ======== =========================== ===========================
    fixed    1                           ceil(w / P) ceil(a / P)
    subword  P / max(up(w), up(a))       ceil(w / P) ceil(a / P)
    fused_2d (P / up(w)) (P / up(a))     ceil(w / P) ceil(a / P)
    fused_w  P / up(w)                   ceil(w / P) ceil(a / P)
    serial_w 1                           ceil(w / d) ceil(a / P)
    ======== =========================== ===========================

    >>> rate(Precision(2, 4), Scaling(mode="fused_2d", widths=(2, 4, 8))).products
    8
    """
    native = scaling.native_bits
    weight, activation = precision.weight_bits, precision.activation_bits
    wide, other = rounded_up(weight, scaling), rounded_up(activation, scaling)
    products = {
        "fixed": 1,
        "subword": native // max(wide, other),
        "fused_2d": (native // wide) * (native // other),
        "fused_w": native // wide,
        "serial_w": 1,
    }[scaling.mode]
    serial = scaling.mode == "serial_w"
    slices = ceil_of(weight, scaling.serial_bits if serial else native)
    other_slices = ceil_of(activation, native)
    together = scaling.products == "together"
    return Rate(
        products=products,
        passes=slices * other_slices,
        input_reads=1 if serial else slices,
        weight_reads=other_slices,
        weight_lanes=products,
        activation_lanes=products if together else 1,
        together=products if together else 1,
        apart=1 if together else products,
    )


def modes(precision: Precision, scaling: Scaling) -> tuple[Precision, ...]:
    """Widths that an element may compute at, the narrowest first.

    An operand that is stored narrow can be sign-extended on its way into the array, so every mode
    that holds both operands will do; one wider than the native width stays as it is. Nothing is
    stored, moved or accumulated any wider for it.

    >>> [str(mode) for mode in modes(Precision(3, 8), Scaling(mode="fused_2d", widths=(2, 4, 8)))]
    ['4/8', '8/8']
    """
    weight, activation = precision.weight_bits, precision.activation_bits
    fitting = [width for width in sorted(scaling.widths) if width >= weight]
    others = [width for width in sorted(scaling.widths) if width >= activation]
    if scaling.mode == "serial_w":
        fitting = []
    return tuple(
        Precision(wide, other) for wide in fitting or [weight] for other in others or [activation]
    )


def accumulator_bits(precision: Precision, depth: int) -> int:
    """Bits that hold any sum of ``depth`` products: ``w + a + ceil(log2 depth)``.

    >>> accumulator_bits(Precision(8, 8), 576)
    26
    """
    return precision.weight_bits + precision.activation_bits + (depth - 1).bit_length()


def energy_pj_per_mac(precision: Precision, scaling: Scaling, energy: MacEnergy) -> float:
    """Energy of one multiply-accumulate operation, all passes.

    Measured pairs are taken as they are. Others follow `MacEnergy.otherwise`:

        product   E(w, a) = E(P, P) up(w) up(a) / P^2     power per cycle is constant (fused)
        widest    E(w, a) = E(max, max)                   only the wider operand counts (subword)
        constant  E(w, a) = E(P, P)                       no gain without gating (fixed)

    >>> scaling = Scaling(mode="fused_2d", widths=(2, 4, 8))
    >>> fused = MacEnergy(pj_per_mac={"8x8": 0.64}, otherwise="product")
    >>> energy_pj_per_mac(Precision(2, 2), scaling, fused)
    0.04
    """
    native = scaling.native_bits
    table = energy.pj_per_mac
    passes = rate(precision, scaling).passes
    weight = rounded_up(precision.weight_bits, scaling)
    activation = rounded_up(precision.activation_bits, scaling)
    whole = table[f"{native}x{native}"]
    for key in (f"{weight}x{activation}", f"{activation}x{weight}"):
        if key in table:
            return passes * table[key]
    widest = max(weight, activation)
    share = {
        "product": whole * weight * activation / native**2,
        "widest": table.get(f"{widest}x{widest}", whole),
        "constant": whole,
    }[energy.otherwise]
    return passes * share
