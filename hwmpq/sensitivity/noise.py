"""What rounding does to weights and activations: the perturbations that metrics weigh.

Both are quantised as a network's quantisers start out: symmetric codes with the largest magnitude
on the last code, unsigned codes for activations that are never negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from hwmpq.data.base import Batch
from hwmpq.quant.grid import TINY_STEP, Codes, symmetric_codes, to_codes, unsigned_codes
from hwmpq.quant.symmetric import max_step
from hwmpq.sensitivity.probe import Probe, ProbedLayer, add_to, require_finite, samples

Granularity: TypeAlias = Literal["tensor", "channel"]
"""What shares one step of a weight: the whole tensor, or what computes one output channel."""


def quantised_weight(weight: Tensor, bits: int, granularity: Granularity = "tensor") -> Tensor:
    """The nearest grid values, with the largest magnitude on the last code."""
    codes = symmetric_codes(bits)
    if granularity == "tensor":
        step = max_step(weight, codes)
    else:
        top = weight.abs().flatten(1).amax(dim=1)
        step = (top / codes.high).clamp_(min=TINY_STEP)
        step = step.reshape(-1, *[1] * (weight.ndim - 1))
    return to_codes(weight, step, codes).mul_(step)


def activation_codes(bits: int, *, signed: bool) -> Codes:
    """Symmetric codes, or unsigned ones for an activation that is never negative."""
    return symmetric_codes(bits) if signed else unsigned_codes(bits)


def quantised_activation(values: Tensor, bits: int, top: float, *, signed: bool) -> Tensor:
    """The nearest grid values, with ``top`` on the last code."""
    codes = activation_codes(bits, signed=signed)
    step = torch.tensor(max(top / codes.high, TINY_STEP), dtype=values.dtype, device=values.device)
    return to_codes(values, step, codes).mul_(step)


def squared_error(quantised: Tensor, values: Tensor) -> float:
    """``||Q(v) - v||^2``, summed in double precision."""
    return float((quantised - values).double().square().sum())


@torch.no_grad()
def weight_noise(
    layers: Iterable[ProbedLayer], widths: Sequence[int], granularity: Granularity
) -> dict[tuple[str, int], float]:
    """``||Q_b(W) - W||^2`` by ``(module, bits)``."""
    return {
        (layer.name, bits): require_finite(
            squared_error(quantised_weight(layer.weight, bits, granularity), layer.weight),
            f"the weight error of layer '{layer.name}'",
        )
        for layer in layers
        for bits in widths
    }


@torch.no_grad()
def input_tops(probe: Probe, batches: Iterable[Batch]) -> dict[str, float]:
    """Largest magnitude of the activation that each layer reads, by module.

    Raises:
        TrainingError: an activation is not finite.
    """
    tops: dict[str, float] = {}

    def visit(layer: ProbedLayer, values: Tensor) -> None:
        top = require_finite(float(values.abs().amax()), f"an activation of '{layer.name}'")
        tops[layer.name] = max(tops.get(layer.name, 0.0), top)

    with probe.watching(visit):
        for inputs, _ in batches:
            probe.outputs(inputs)
    return tops


@dataclass(frozen=True, slots=True)
class ActivationNoise:
    """Errors of the activations that layers read.

    Attributes:
        squares: ``||Q_b(a) - a||^2`` of one sample's activation, averaged, by ``(module, bits)``.
        elements: features of one sample, by module.
    """

    squares: dict[tuple[str, int], float] = field(default_factory=dict)
    elements: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def activation_noise(
    probe: Probe, batches: Sequence[Batch], widths: Sequence[int], tops: Mapping[str, float]
) -> ActivationNoise:
    """Errors of activations at each width; ``tops`` are what `input_tops` found."""
    noise = ActivationNoise()
    count = samples(batches)

    def visit(layer: ProbedLayer, values: Tensor) -> None:
        elements = values.numel() / count
        noise.elements[layer.name] = noise.elements.get(layer.name, 0.0) + elements
        for bits in widths:
            quantised = quantised_activation(values, bits, tops[layer.name], signed=layer.signed)
            add_to(noise.squares, (layer.name, bits), squared_error(quantised, values) / count)

    with probe.watching(visit):
        for inputs, _ in batches:
            probe.outputs(inputs)
    return noise
