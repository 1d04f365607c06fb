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
from hwmpq.quant.grid import TINY_STEP, activation_codes, symmetric_codes, to_codes
from hwmpq.quant.symmetric import max_step
from hwmpq.sensitivity.probe import Probe, add_to, require_finite, samples
from hwmpq.sensitivity.taps import Block, Kind, Operand

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


def quantised_activation(values: Tensor, bits: int, top: float, *, signed: bool) -> Tensor:
    """The nearest grid values, with ``top`` on the last code."""
    codes = activation_codes(bits, signed=signed)
    step = torch.tensor(max(top / codes.high, TINY_STEP), dtype=values.dtype, device=values.device)
    return to_codes(values, step, codes).mul_(step)


def squared_error(quantised: Tensor, values: Tensor) -> float:
    """``||Q(v) - v||^2``, summed in double precision."""
    return float((quantised - values).double().square().sum())


def weight_error(operand: Operand, weight: Tensor, bits: int, granularity: Granularity) -> float:
    """``||Q_b(W) - W||^2`` of a stored weight.

    Raises:
        TrainingError: it is not finite.
    """
    with torch.no_grad():
        error = squared_error(quantised_weight(weight, bits, granularity), weight)
    return require_finite(error, f"the weight error of layer '{operand.layer}'")


@torch.no_grad()
def input_tops(
    probe: Probe, batches: Iterable[Batch], operands: Iterable[Operand]
) -> dict[Block, float]:
    """Largest magnitude of each activation among the operands.

    Raises:
        TrainingError: an activation is not finite.
    """
    tops: dict[Block, float] = {}

    def visit(operand: Operand, values: Tensor) -> None:
        top = require_finite(float(values.abs().amax()), f"an activation of '{operand.layer}'")
        tops[operand.block] = max(tops.get(operand.block, 0.0), top)

    with probe.watching(visit, read_only(operands)):
        for inputs, _ in batches:
            probe.outputs(inputs)
    return tops


def read_only(operands: Iterable[Operand]) -> tuple[Operand, ...]:
    """The activations among operands, which exist only while the network runs."""
    return tuple(operand for operand in operands if operand.stored is None)


@dataclass(frozen=True, slots=True)
class Noise:
    """Errors of operands when they are quantised.

    Attributes:
        squares: ``||Q_b(v) - v||^2``; of activations in one sample, mean over samples.
        elements: numbers of weights, or of elements in one sample.
    """

    squares: dict[tuple[Block, int], float] = field(default_factory=dict)
    elements: dict[Block, float] = field(default_factory=dict)


@torch.no_grad()
def operand_noise(
    probe: Probe,
    batches: Sequence[Batch],
    operands: Sequence[Operand],
    widths: Mapping[Kind, Sequence[int]],
    granularity: Granularity,
) -> Noise:
    """Errors of stored weights, and of activations over a calibration set, at each width."""
    noise = Noise()
    for operand in operands:
        if operand.stored is not None:
            noise.elements[operand.block] = operand.stored.numel()
            for bits in widths[operand.kind]:
                error = weight_error(operand, operand.stored, bits, granularity)
                noise.squares[operand.block, bits] = error
    reading = read_only(operands)
    tops = input_tops(probe, batches, reading) if reading else {}
    count = samples(batches)

    def visit(operand: Operand, values: Tensor) -> None:
        block = operand.block
        noise.elements[block] = noise.elements.get(block, 0.0) + values.numel() / count
        for bits in widths[operand.kind]:
            rounded = quantised_activation(values, bits, tops[block], signed=operand.signed)
            add_to(noise.squares, (block, bits), squared_error(rounded, values) / count)

    with probe.watching(visit, reading):
        for inputs, _ in batches if reading else ():
            probe.outputs(inputs)
    return noise
