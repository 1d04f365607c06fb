"""Operands of a probe quantised for a while, and what that does to the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from hwmpq.precision import Assignment
from hwmpq.sensitivity.noise import Granularity, quantised_activation, quantised_weight
from hwmpq.sensitivity.probe import Probe
from hwmpq.sensitivity.taps import Block, Operand


def operand_widths(assignment: Assignment) -> dict[Block, int]:
    """Bits of both operands of each layer."""
    widths: dict[Block, int] = {}
    for name, precision in assignment.items():
        widths["weights", name] = precision.weight_bits
        widths["activations", name] = precision.activation_bits
    return widths


@contextmanager
def quantised(
    probe: Probe,
    widths: Mapping[Block, int],
    tops: Mapping[Block, float],
    granularity: Granularity,
) -> Iterator[None]:
    """Quantise some operands of a probe; all others stay in float.

    Args:
        probe: the network.
        widths: bits by operand.
        tops: largest magnitude of each activation.
        granularity: what shares a step of the weights' quantiser.
    """
    chosen = [operand for operand in probe.operands() if operand.block in widths]
    with torch.no_grad():
        rounded = {
            operand.block: quantised_weight(operand.stored, widths[operand.block], granularity)
            for operand in chosen
            if operand.stored is not None
        }

    def read(operand: Operand, values: Tensor) -> Tensor:
        block = operand.block
        if block in rounded:
            return rounded[block]
        return quantised_activation(values, widths[block], tops[block], signed=operand.signed)

    with probe.watching(read, chosen):
        yield
