"""Gradients of the loss at what gets quantised: weights, and activations where they are read."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from hwmpq.data.base import Batch
from hwmpq.sensitivity.probe import Probe
from hwmpq.sensitivity.taps import Operand


def operand_gradients(
    probe: Probe, batch: Batch, wanted: Collection[Operand], *, twice: bool = False
) -> list[tuple[Operand, Tensor, Tensor | None]]:
    """Tensors of the wanted operands with the gradients of a batch's mean loss.

    An activation has one entry for each time that its layer runs. The gradient is None where the
    loss does not depend on the tensor.

    Args:
        probe: the network.
        batch: inputs and labels.
        wanted: operands to look at.
        twice: whether the gradients are to be differentiated again.

    Raises:
        TrainingError: the loss is not finite.
    """
    found: list[tuple[Operand, Tensor]] = []

    def visit(operand: Operand, values: Tensor) -> Tensor:
        # A view of its own, so that other readers of the same tensor are left out.
        own = values.view_as(values) if values.requires_grad else values.detach().requires_grad_()
        found.append((operand, own))
        return own

    probe.module.requires_grad_(False)
    for operand in wanted:
        if operand.stored is not None:
            found.append((operand, operand.stored.requires_grad_()))
    with probe.watching(visit, [operand for operand in wanted if operand.stored is None]):
        loss = probe.loss(batch)
    tensors = [tensor for _, tensor in found]
    gradients = torch.autograd.grad(loss, tensors, create_graph=twice, allow_unused=True)
    return [(operand, t, g) for (operand, t), g in zip(found, gradients, strict=True)]
