"""How much of its input a layer must touch at least.

A convolution whose stride is larger than its kernel skips rows and columns, so "every input
element once" would be no lower bound.
"""

from __future__ import annotations

from functools import cache

from hwmpq.workload.layer import Conv2d, MultiplyLayer


@cache
def touched_positions(
    size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Positions of one unpadded axis that at least one window covers.

    Equation (counting): ``|{o * stride + k * dilation - padding} within [0, size)|``.

    >>> touched_positions(size=56, outputs=28, kernel=1, stride=2, padding=0, dilation=1)
    28
    """
    positions = {
        output * stride + tap * dilation - padding
        for output in range(outputs)
        for tap in range(kernel)
    }
    return sum(1 for position in positions if 0 <= position < size)


def touched_input_elements(layer: MultiplyLayer) -> int:
    """Input elements a layer cannot do without; for a matmul those of the streamed operand.

    A kernel that only ever sees padding touches nothing.
    """
    if not isinstance(layer, Conv2d):
        nest = layer.loops
        return nest.groups * nest.batch * nest.in_channels
    rows, columns = (
        touched_positions(
            (layer.in_height, layer.in_width)[axis],
            (layer.out_height, layer.out_width)[axis],
            layer.kernel_size[axis],
            layer.stride[axis],
            layer.padding[axis],
            layer.dilation[axis],
        )
        for axis in (0, 1)
    )
    return layer.batch * layer.in_channels * rows * columns


def stationary_elements(layer: MultiplyLayer) -> int:
    """Elements that take the weight path: weights, or the ``[k, n]`` operand of a matmul."""
    nest = layer.loops
    taps = nest.kernel_height * nest.kernel_width
    return nest.groups * nest.out_channels * nest.in_channels * taps
