"""The loops of a multiplying layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopNest:
    """The loops of a multiplying layer, in the field's letters.

    Attributes:
        groups: G, independent sub-problems that share nothing (groups of a convolution, batch of a
            matmul).
        batch: B, samples (rows of a linear layer or matmul) that share the weights.
        out_channels: K, per group.
        in_channels: C, per group.
        out_height: OY.
        out_width: OX.
        kernel_height: FY.
        kernel_width: FX.
        stride: vertical and horizontal.
        dilation: vertical and horizontal.
        in_height: unpadded input height.
        in_width: unpadded input width.
    """

    groups: int
    batch: int
    out_channels: int
    in_channels: int
    out_height: int = 1
    out_width: int = 1
    kernel_height: int = 1
    kernel_width: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    in_height: int = 1
    in_width: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations."""
        return prod(
            (
                self.groups,
                self.batch,
                self.out_channels,
                self.in_channels,
                self.out_height,
                self.out_width,
                self.kernel_height,
                self.kernel_width,
            )
        )
