"""Batch norms with one copy per bit-width, since widths shift what a norm sees."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SwitchableBatchNorm(nn.Module):
    """Copies of a batch norm, of which one is in use.

    References:
        J. Yu et al., "Slimmable Neural Networks", ICLR 2019, section 3.3.
    """

    def __init__(self, norm: _BatchNorm, widths: Iterable[int]) -> None:
        super().__init__()
        self.copies = nn.ModuleDict({str(width): deepcopy(norm) for width in widths})
        self.width = next(iter(self.copies))

    def select(self, width: int) -> None:
        """Use the copy of a width."""
        self.width = str(width)

    def forward(self, values: Tensor) -> Tensor:
        """Normalise by the copy in use."""
        return cast("Tensor", self.copies[self.width](values))


def switch_norms(model: nn.Module, widths: Iterable[int]) -> list[SwitchableBatchNorm]:
    """Replace every batch norm of a network by copies, in place."""
    listed = tuple(widths)
    found = []
    for name, module in list(model.named_modules()):
        if isinstance(module, _BatchNorm):
            parent, _, child = name.rpartition(".")
            switchable = SwitchableBatchNorm(module, listed)
            setattr(model.get_submodule(parent), child, switchable)
            found.append(switchable)
    return found
