"""Gradients of the loss at what gets quantised: weights, and activations where they are read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from hwmpq.data.base import Batch
from hwmpq.sensitivity.probe import Probe, ProbedLayer

Kind: TypeAlias = Literal["weights", "activations"]
Block: TypeAlias = tuple[Kind, str]
"""What is looked at, and the module's name."""


def kinds(activation_weight: float) -> tuple[Kind, ...]:
    """What is measured; activations only if they count."""
    return ("weights", "activations") if activation_weight else ("weights",)


def blocks_of(probe: Probe, activation_weight: float) -> list[Block]:
    """All blocks of a network that are measured."""
    return [(kind, layer.name) for kind in kinds(activation_weight) for layer in probe.layers]


def block_gradients(
    probe: Probe, batch: Batch, wanted: Collection[Block], *, twice: bool = False
) -> list[tuple[Block, Tensor, Tensor | None]]:
    """Tensors of the wanted blocks with the gradients of a batch's mean loss.

    An activation has one entry for each time that its layer runs. The gradient is None where the
    loss does not depend on the tensor.

    Args:
        probe: the network.
        batch: inputs and labels.
        wanted: blocks to look at.
        twice: whether the gradients are to be differentiated again.

    Raises:
        TrainingError: the loss is not finite.
    """
    found: list[tuple[Block, Tensor]] = []

    def visit(layer: ProbedLayer, values: Tensor) -> Tensor | None:
        if ("activations", layer.name) not in wanted:
            return None
        # A view of its own, so that other readers of the same tensor are left out.
        own = values.view_as(values) if values.requires_grad else values.detach().requires_grad_()
        found.append((("activations", layer.name), own))
        return own

    for layer in probe.layers:
        inside = ("weights", layer.name) in wanted
        layer.weight.requires_grad_(inside)
        if inside:
            found.append((("weights", layer.name), layer.weight))
    with probe.watching(visit):
        loss = probe.loss(batch)
    tensors = [tensor for _, tensor in found]
    gradients = torch.autograd.grad(loss, tensors, create_graph=twice, allow_unused=True)
    return [(block, t, g) for (block, t), g in zip(found, gradients, strict=True)]
