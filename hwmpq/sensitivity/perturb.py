"""Layers of a probe quantised for a while, and what that does to the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwmpq.sensitivity.noise import Granularity, quantised_activation, quantised_weight
from hwmpq.sensitivity.probe import Probe, ProbedLayer


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of a layer; None leaves the weight, or the activation, in float."""

    weight: int | None = None
    activation: int | None = None


@contextmanager
def quantised(
    probe: Probe,
    widths: Mapping[str, Widths],
    tops: Mapping[str, float],
    granularity: Granularity,
) -> Iterator[None]:
    """Quantise some layers of a probe by module name; they are restored afterwards.

    Args:
        probe: the network.
        widths: bits by module.
        tops: largest magnitude of each layer's input.
        granularity: what shares a step of the weights' quantiser.
    """
    chosen = [layer for layer in probe.layers if layer.name in widths]
    readers = [layer for layer in chosen if widths[layer.name].activation is not None]
    floats = {layer.name: layer.weight for layer in chosen}

    def read(layer: ProbedLayer, values: Tensor) -> Tensor | None:
        bits = widths[layer.name].activation
        if bits is None:
            return None
        return quantised_activation(values, bits, tops[layer.name], signed=layer.signed)

    try:
        for layer in chosen:
            bits = widths[layer.name].weight
            if bits is not None:
                with torch.no_grad():
                    rounded = quantised_weight(layer.weight, bits, granularity)
                # Another parameter, as modules that share the weight keep theirs.
                layer.module.weight = nn.Parameter(rounded, requires_grad=False)
        with probe.watching(read, readers):
            yield
    finally:
        for layer in chosen:
            layer.module.weight = floats[layer.name]
