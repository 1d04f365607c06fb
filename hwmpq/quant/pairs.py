"""The usual pairs of quantisers for a layer's weight and input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from hwmpq.precision import Precision
from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.grid import Codes
from hwmpq.quant.insert import QuantizerFactory, QuantizerPair, Site
from hwmpq.quant.lsq import LsqQuantizer, initial_step
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.symmetric import SymmetricQuantizer


def symmetric_and_clip(narrow_bits: int = 0) -> QuantizerFactory:
    """Weights whose step is a statistic, activations with a learned clipping level (PACT).

    Both operands of a product of activations are clipped.

    Args:
        narrow_bits: up to this width the weights' step follows their mean magnitude.
    """

    def make(site: Site) -> QuantizerPair:
        weight: FakeQuantizer = (
            PactQuantizer(site.precision.weight_bits, signed=site.signed_weight)
            if site.is_product
            else SymmetricQuantizer(site.precision.weight_bits, narrow_bits=narrow_bits)
        )
        return weight, PactQuantizer(site.precision.activation_bits, signed=site.signed_input)

    return make


def learned_steps(
    candidates: Iterable[Precision],
    *,
    start: Callable[[Tensor, Codes], Tensor] = initial_step,
) -> QuantizerFactory:
    """Learned steps (LSQ) for weights and activations, one per candidate width.

    Args:
        candidates: widths to hold steps for; a site's own are added.
        start: where the weights' steps start.
    """
    widths: Sequence[Precision] = tuple(candidates)

    def make(site: Site) -> QuantizerPair:
        weight = LsqQuantizer(
            (precision.weight_bits for precision in widths),
            site.precision.weight_bits,
            signed=site.signed_weight,
            per_sample=site.is_product,
            start=initial_step if site.is_product else start,
        )
        activation = LsqQuantizer(
            (precision.activation_bits for precision in widths),
            site.precision.activation_bits,
            signed=site.signed_input,
            per_sample=True,
        )
        return weight, activation

    return make
