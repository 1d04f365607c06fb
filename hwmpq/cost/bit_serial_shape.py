"""A layer as DNNsim's arrays see it: windows, filters, taps and slices of the reduction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmpq.cost.base import IntArray, ceil_div
from hwmpq.workload.layer import Conv2d, Linear, MultiplyLayer

FIRST_LAYER_CHANNELS = 3
"""DNNsim takes a strided layer of three channels for the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """Extents of the step loops; all images and groups run one after the other.

    Attributes:
        images: images, or rows of a staggered linear layer.
        groups: groups that share nothing.
        filters: filters per group.
        windows: windows per image and group.
        taps: kernel positions.
        slices: steps along the channels, ``ceil(channels / lanes)``.
        lanes: lanes that one filter uses (1 for depthwise layers).
        depthwise: every filter reads a channel of its own.
        staggered: columns take turns with slices of one row.
        stored_inputs: input positions in DRAM, padding included, over images and groups.
        stored_channels: values at each of them.
    """

    images: int
    groups: int
    filters: int
    windows: int
    taps: int
    slices: int
    lanes: int
    depthwise: bool = False
    staggered: bool = False
    stored_inputs: int
    stored_channels: int


def _slices(channels: int, lanes: int) -> int:
    return -(-channels // lanes)


def step_shape(
    layer: MultiplyLayer,
    lanes: int,
    *,
    reshape_first: bool,
    two_or_dense: bool,
    staggered: bool,
) -> StepShape:
    """Map a layer on the step loops.

    The simulator knows convolutions with one stride and padding and linear layers of one row.
    Beyond it, ours: both axes count on their own, a dilated kernel has the taps of the undilated
    one, a linear layer of several rows runs row by row, and a matmul is ``batch`` groups of a 1 x
    1 convolution with a window per row.
    """
    nest = layer.loops
    if not isinstance(layer, Conv2d):
        one_by_one = isinstance(layer, Linear) and staggered
        return StepShape(
            images=nest.batch if one_by_one else 1,
            groups=nest.groups,
            filters=nest.out_channels,
            windows=1 if one_by_one else nest.batch,
            taps=1,
            slices=_slices(nest.in_channels, lanes),
            lanes=lanes,
            staggered=one_by_one,
            stored_inputs=nest.groups * nest.batch,
            stored_channels=nest.in_channels,
        )
    if layer.is_depthwise:
        groups, filters, channels = 1, layer.out_channels, 1
    elif two_or_dense and layer.groups != 2:
        groups, filters, channels = 1, layer.out_channels, nest.in_channels
    else:
        groups, filters, channels = layer.groups, nest.out_channels, nest.in_channels
    plane = _reshaped(layer) if reshape_first else None
    plane = plane or _direct(layer, channels)
    return StepShape(
        images=layer.batch,
        groups=groups,
        filters=filters,
        windows=plane.windows,
        taps=plane.taps,
        slices=1 if layer.is_depthwise else _slices(plane.channels, lanes),
        lanes=1 if layer.is_depthwise else lanes,
        depthwise=layer.is_depthwise,
        stored_inputs=layer.batch * plane.stored_inputs,
        stored_channels=plane.stored_channels,
    )


@dataclass(frozen=True, slots=True)
class _Plane:
    windows: int
    taps: int
    channels: int
    stored_inputs: int
    stored_channels: int


def _padded(layer: Conv2d) -> tuple[int, int]:
    return (
        layer.in_height + 2 * layer.padding[0],
        layer.in_width + 2 * layer.padding[1],
    )


def _direct(layer: Conv2d, channels: int) -> _Plane:
    height, width = _padded(layer)
    kernel = layer.kernel_size
    return _Plane(
        windows=layer.out_height * layer.out_width,
        taps=kernel[0] * kernel[1],
        channels=channels,
        stored_inputs=height * width,
        stored_channels=layer.in_channels,
    )


def _reshaped(layer: Conv2d) -> _Plane | None:
    """The first layer with its stride turned into channels, or None where the rule does not apply.

    Equation (`base/src/Array.cpp::reshape_first_layer_act`, after padding): ``C' = C s^2, N' =
    ceil(N / s), R' = ceil(R / s)``, stride 1, so ``O' = N' - R' + 1``. The simulator takes the
    height for both axes; here each axis has its own.
    """
    strided = max(layer.stride) > 1 and layer.dilation == (1, 1)
    if layer.in_channels != FIRST_LAYER_CHANNELS or layer.groups != 1 or not strided:
        return None
    rows, columns = (
        -(-size // step) for size, step in zip(_padded(layer), layer.stride, strict=True)
    )
    high, wide = (
        -(-size // step) for size, step in zip(layer.kernel_size, layer.stride, strict=True)
    )
    channels = layer.in_channels * layer.stride[0] * layer.stride[1]
    return _Plane(
        windows=(rows - high + 1) * (columns - wide + 1),
        taps=high * wide,
        channels=channels,
        stored_inputs=rows * columns,
        stored_channels=channels,
    )


@dataclass(frozen=True, slots=True)
class DramImage:
    """Bits that a layer's operands take in DRAM, ``[precisions]``."""

    weight_bits: IntArray
    input_bits: IntArray


def dram_image(
    shape: StepShape, rows: IntArray, word_w: IntArray, word_a: IntArray, block_bits: int
) -> DramImage:
    """Size of the operands as DNNsim lays them out: whole blocks, filters padded to the rows.

    Equations (`core/src/OutputStationary.cpp::fill_weight_buffer`, `generate_memory_maps`)::

        weights  groups * ceil(K / R) * taps * ceil(Cin / L) * ceil(lanes * R * word / block) *
        block inputs   positions * ceil(C * word / block) * block
    """
    sets = ceil_div(np.full_like(rows, shape.filters), rows)
    per_step = ceil_div(shape.lanes * rows * word_w, block_bits) * block_bits
    return DramImage(
        weight_bits=shape.groups * sets * shape.taps * shape.slices * per_step,
        input_bits=shape.stored_inputs
        * ceil_div(shape.stored_channels * word_a, block_bits)
        * block_bits,
    )
