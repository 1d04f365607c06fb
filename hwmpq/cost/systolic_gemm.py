"""Layers as matrix products: what a systolic array sees of a convolution.

A convolution becomes ``[m, k] x [k, n]`` by unrolling its windows (im2col): m counts output
pixels, k the values of one window, n the output channels. The geometry is kept, since an unrolled
matrix repeats most addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from hwmpq.workload.layer import Conv2d, MultiplyLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One spatial axis of a convolution.

    Attributes:
        out: output positions.
        kernel: taps of the kernel.
        stride: step between outputs.
        dilation: step between taps.
        size: input positions that are stored.
        padding: positions before the first stored one.
    """

    out: int = 1
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    size: int = 1
    padding: int = 0

    def positions(self) -> npt.NDArray[np.int64]:
        """Input position of every output and tap, ``[out, kernel]``; outside is negative."""
        start = np.arange(self.out, dtype=np.int64)[:, None] * self.stride
        taps = np.arange(self.kernel, dtype=np.int64)[None, :] * self.dilation
        found = start + taps - self.padding
        return np.where((found >= 0) & (found < self.size), found, -1)


@cache
def _counts(axis: Axis) -> tuple[int, int]:
    """Reads of stored positions along an axis, and how many different ones they are."""
    positions = axis.positions()
    stored = positions[positions >= 0]
    return int(stored.size), int(np.unique(stored).size)


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """``groups`` independent products ``[m, k] x [k, n]``.

    Attributes:
        groups: products that share nothing: groups of a convolution, batch of a matmul.
        samples: inputs that share the weights, part of m.
        channels: input channels of one group, part of k.
        n: output columns.
        vertical: geometry of rows.
        horizontal: geometry of columns.
    """

    groups: int
    samples: int
    channels: int
    n: int
    vertical: Axis = Axis()
    horizontal: Axis = Axis()

    @cached_property
    def m(self) -> int:
        """Rows of the product: output pixels of all samples."""
        return self.samples * self.vertical.out * self.horizontal.out

    @cached_property
    def k(self) -> int:
        """Depth of the product: values of one window."""
        return self.channels * self.vertical.kernel * self.horizontal.kernel

    @cached_property
    def input_reads(self) -> int:
        """Entries of the unrolled input of one group that are stored values, not padding."""
        depth = self.samples * self.channels
        return depth * _counts(self.vertical)[0] * _counts(self.horizontal)[0]

    @cached_property
    def input_words(self) -> int:
        """Different stored values that one group reads."""
        depth = self.samples * self.channels
        return depth * _counts(self.vertical)[1] * _counts(self.horizontal)[1]

    @property
    def repeats(self) -> bool:
        """Whether unrolling reads a stored value more than once."""
        return self.input_reads > self.input_words


def _axis(layer: Conv2d, index: int, *, store_padding: bool, ceiling: bool) -> Axis:
    size = (layer.in_height, layer.in_width)[index]
    out = (layer.out_height, layer.out_width)[index]
    padding = layer.padding[index]
    reach = layer.dilation[index] * (layer.kernel_size[index] - 1) + 1
    if ceiling and not any(layer.padding):
        out = -(-(size - reach + layer.stride[index]) // layer.stride[index])
    if store_padding:
        size, padding = size + 2 * padding, 0
    return Axis(
        out=out,
        kernel=layer.kernel_size[index],
        stride=layer.stride[index],
        dilation=layer.dilation[index],
        size=size,
        padding=padding,
    )


def lower(layer: MultiplyLayer, *, store_padding: bool = False, ceiling: bool = False) -> Gemm:
    """Write a layer as a matrix product.

    Args:
        layer: what to lower.
        store_padding: the input is stored padded, so padding is read like data.
        ceiling: an unpadded convolution gets ``ceil((size - reach + stride) / stride)`` outputs
            along an axis, as in SCALE-Sim (``topology_utils.py``), instead of torch's floor. The
            last window may then hang over the edge.

    >>> from hwmpq.workload.layer import Linear
    >>> gemm = lower(Linear(name="fc", batch=2, in_features=512, out_features=1000))
    >>> gemm.m, gemm.k, gemm.n
    (2, 512, 1000)
    """
    loops = layer.loops
    if not isinstance(layer, Conv2d):
        return Gemm(
            groups=loops.groups,
            samples=loops.batch,
            channels=loops.in_channels,
            n=loops.out_channels,
        )
    return Gemm(
        groups=loops.groups,
        samples=loops.batch,
        channels=loops.in_channels,
        n=loops.out_channels,
        vertical=_axis(layer, 0, store_padding=store_padding, ceiling=ceiling),
        horizontal=_axis(layer, 1, store_padding=store_padding, ceiling=ceiling),
    )
