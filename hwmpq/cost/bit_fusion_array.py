"""How narrow operands use a bit-fusion array: operands per unit, passes, and steps of a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from hwmpq.cost import base
from hwmpq.cost.base import IntArray, ceil_div
from hwmpq.cost.bit_fusion_spec import BitFusionArray, BitFusionBehavior
from hwmpq.cost.tiling import Loop, TileGrid
from hwmpq.precision import Precision, precisions
from hwmpq.workload.loops import LoopNest


def operands_per_unit(bits: IntArray, array: BitFusionArray, rounding: str) -> IntArray:
    """Operands of one kind that a fusion unit takes at once.

    Equation: ``floor(max_bits / max(bits, min_bits))``, and 1 for an operand wider than the unit,
    which comes in slices (hsharma35/bitfusion, bitfusion/src/simulator/accelerator.py,
    get_perf_factor; slices are ours, the simulator divides by zero).

    >>> array = BitFusionArray(
    ...     rows=1, cols=1, max_bits=8, min_bits=2, energy_pj_per_unit_cycle=0
    ... )
    >>> operands_per_unit(np.array([1, 2, 3, 4, 5, 8, 16]), array, "floor").tolist()
    [4, 4, 2, 2, 1, 1, 1]
    """
    width = np.clip(bits, array.min_bits, array.max_bits)
    if rounding == "power_of_two":
        width = 2 ** np.ceil(np.log2(width)).astype(np.int64)
    return np.maximum(1, array.max_bits // width).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Fusion:
    """What a precision means to the array; every array is ``[classes]``.

    Precisions of one class keep the array busy for equally long.

    Attributes:
        weights: weights per unit.
        activations: activations per unit.
        weight_slices: slices of a weight, one pass each.
        activation_slices: slices of an activation, one pass each.
        row_factor: factor by which fusion lengthens the rows.
        column_factor: factor by which fusion widens the columns.
        stream_factor: elements of the reduction that a unit takes per cycle where rows hold
            pixels.
    """

    weights: IntArray
    activations: IntArray
    weight_slices: IntArray
    activation_slices: IntArray
    row_factor: IntArray
    column_factor: IntArray
    stream_factor: IntArray

    @property
    def products(self) -> IntArray:
        """Products of a unit and cycle, each of one slice."""
        return self.weights * self.activations

    @property
    def passes(self) -> IntArray:
        """Passes over the layer: one for each pair of slices."""
        return self.weight_slices * self.activation_slices


def fusion_classes(
    wanted: Sequence[Precision], array: BitFusionArray, behavior: BitFusionBehavior
) -> tuple[Fusion, IntArray]:
    """The distinct classes among precisions, and the class of each precision."""
    weights, activations = base.weight_bits(wanted), base.activation_bits(wanted)
    rounding = behavior.fusion_rounding
    keys = np.stack(
        [
            operands_per_unit(weights, array, rounding),
            operands_per_unit(activations, array, rounding),
            ceil_div(weights, array.max_bits),
            ceil_div(activations, array.max_bits),
        ]
    )
    distinct, index = np.unique(keys, axis=1, return_inverse=True)
    per_weight, per_activation, weight_slices, activation_slices = distinct
    one = np.ones_like(per_weight)
    together = behavior.fusion_axis == "reduction"
    products = per_weight * per_activation
    along = products if together else per_activation
    streaming = together and behavior.rows == "pixels"
    row, stream = (one, along) if streaming else (along, one)
    fusion = Fusion(
        weights=per_weight,
        activations=per_activation,
        weight_slices=weight_slices,
        activation_slices=activation_slices,
        row_factor=row,
        column_factor=one if together else per_weight,
        stream_factor=stream,
    )
    return fusion, index.reshape(-1)


@cache
def possible_factors(
    array: BitFusionArray, behavior: BitFusionBehavior
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Factors of rows and of columns that occur at any width of one slice, ascending.

    >>> array = BitFusionArray(
    ...     rows=1, cols=1, max_bits=8, min_bits=2, energy_pj_per_unit_cycle=0
    ... )
    >>> possible_factors(array, BitFusionBehavior())
    ((1, 2, 4, 8, 16), (1,))
    """
    widths = range(1, array.max_bits + 1)
    fusion, _ = fusion_classes(precisions(widths, widths), array, behavior)
    rows, columns = np.unique(fusion.row_factor), np.unique(fusion.column_factor)
    return tuple(int(row) for row in rows), tuple(int(column) for column in columns)


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of the array for one layer, as functions of the tile sizes.

    Attributes:
        nest: loops of one group.
        im2col: whether the kernel is unrolled into the reduction.
        array: the array.
        rows: what its rows hold.
    """

    nest: LoopNest
    im2col: bool
    array: BitFusionArray
    rows: str

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return self.nest.kernel_height * self.nest.kernel_width

    def reduction(self, channels: IntArray, factor: IntArray | int) -> IntArray:
        """Steps along the rows: ``ceil(R S c / (N f))``, or ``R S ceil(c / (N f))``.

        The first is for unrolled layers (hsharma35/bitfusion,
        bitfusion/src/simulator/accelerator.py, get_compute_cycles).
        """
        width = self.array.rows * factor
        if self.im2col:
            return ceil_div(self.taps * channels, width)
        return self.taps * ceil_div(channels, width)

    def outputs(self, channels: IntArray, factor: IntArray | int) -> IntArray:
        """Steps along the columns: ``ceil(k / (M f))``."""
        return ceil_div(channels, self.array.cols * factor)

    def compute_cycles(self, grid: TileGrid, fusion: Fusion) -> IntArray:
        """Cycles of all tiles, ``[classes, tilings]``: a product of sums over the loops.

        Rows of channels: ``pixels * sum(reduction steps) * sum(output steps)``. Rows of pixels:
        ``tiles * ceil(pixels of a tile / (N f)) * ceil(k / (M f)) * R S c`` (clevercool/
        ANT-Quantization, ant_simulator, get_compute_cycles_output_stationary).
        """
        if self.rows == "pixels":
            return self._pixel_rows(grid, fusion)
        pixels = np.ones(grid.sizes.shape[1], dtype=np.int64)
        for loop in (Loop.B, Loop.OW, Loop.OH):
            pixels = pixels * grid.total(loop, lambda size: size)
        cycles = []
        for row, column, passes in zip(
            fusion.row_factor, fusion.column_factor, fusion.passes, strict=True
        ):
            reduction = grid.total(Loop.IC, partial(self.reduction, factor=int(row)))
            outputs = grid.total(Loop.OC, partial(self.outputs, factor=int(column)))
            cycles.append(passes * pixels * reduction * outputs)
        return np.stack(cycles)

    def _pixel_rows(self, grid: TileGrid, fusion: Fusion) -> IntArray:
        tiles = np.prod(grid.trips, axis=0)
        size = grid.sizes
        pixels = size[Loop.B] * size[Loop.OW] * size[Loop.OH]
        rows = ceil_div(pixels, self.array.rows * fusion.row_factor[:, None])
        columns = ceil_div(size[Loop.OC], self.array.cols * fusion.column_factor[:, None])
        stream = ceil_div(self.taps * size[Loop.IC], fusion.stream_factor[:, None])
        cycles: IntArray = fusion.passes[:, None] * tiles * rows * columns * stream
        return cycles
