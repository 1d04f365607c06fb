"""Sizes of tiles of a bit-fusion layer in its three buffers, as factors by loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod

import numpy as np

from hwmpq.cost.base import IntArray, ceil_div
from hwmpq.cost.bit_fusion_array import Fusion, Steps, possible_factors
from hwmpq.cost.bit_fusion_spec import BitFusionBehavior
from hwmpq.cost.loop_outcomes import Growth, grown
from hwmpq.cost.tiling import Loop, TileGrid, powers_of_two, useful_sizes

Measure = Callable[[IntArray], IntArray]


def padded(size: IntArray, scale: int, unit: int) -> IntArray:
    """A multiple of the tile size, rounded up to whole units.

    >>> padded(np.array([3]), scale=9, unit=16).tolist()
    [32]
    """
    return np.asarray(ceil_div(scale * size, unit) * unit, dtype=np.int64)


def thinned(choices: Sequence[Sequence[int]], units: Sequence[int], most: int) -> list[list[int]]:
    """Leave out sizes until few enough combinations remain, and add the simulator's.

    The simulator's sizes, powers of two and the whole extent (the last choice), always stay, so
    that the search is never worse than one over those. Of the others, first those go that are no
    multiple of the loop's unit and leave part of the array idle, then every second one of the
    longest list.

    >>> thinned([[1, 2, 3, 4, 6, 12]], [3], 100)
    [[1, 2, 3, 4, 6, 8, 12]]
    >>> thinned([[1, 2, 3, 4, 5, 7, 9, 14, 27]], [3], 9)
    [[1, 2, 3, 4, 6, 8, 12, 16, 24, 27]]
    """
    fixed = [
        {*powers_of_two(sizes[-1]), *powers_of_two(sizes[-1], unit)}
        for sizes, unit in zip(choices, units, strict=True)
    ]
    others = [
        [s for s in sizes if s not in kept] for sizes, kept in zip(choices, fixed, strict=True)
    ]

    def too_many() -> bool:
        return prod(len(a) + len(b) for a, b in zip(fixed, others, strict=True)) > most

    if too_many():
        others = [[s for s in o if s % unit == 0] for o, unit in zip(others, units, strict=True)]
    while too_many() and any(others):
        longest = max(range(len(others)), key=lambda index: len(others[index]))
        others[longest] = others[longest][1::2]
    return [sorted({*a, *b}) for a, b in zip(fixed, others, strict=True)]


def tile_grid(steps: Steps, behavior: BitFusionBehavior) -> TileGrid:
    """Tilings to try, in the simulator's sequence: batch, output pixels, inputs, outputs.

    Powers of two: output tiles are square, cut off where the output is not.
    """
    nest = steps.nest
    extents = (nest.batch, nest.out_width, nest.out_height, nest.in_channels, nest.out_channels)
    used = behavior.ragged_tiles == "used"
    if behavior.tile_sizes == "powers_of_two":
        unit = 1 if steps.im2col else steps.array.cols
        pixels = [
            (min(size, nest.out_width), min(size, nest.out_height))
            for size in powers_of_two(max(nest.out_width, nest.out_height))
        ]
        outputs = powers_of_two(nest.out_channels, unit)
        inputs = powers_of_two(nest.in_channels)
        choices = product(powers_of_two(nest.batch), pixels, inputs, outputs)
        sizes = np.array([(b, *pixel, ic, oc) for b, pixel, ic, oc in choices], dtype=np.int64).T
        return TileGrid(np.array(extents, dtype=np.int64), sizes, used)

    def work(extent: int, step: Measure) -> Measure:
        def total(size: IntArray) -> IntArray:
            grid = TileGrid(np.array([extent]), size[None, :], used)
            return grid.total(Loop.B, step)

        return total

    row_factors, column_factors = possible_factors(steps.array, behavior)
    in_work = [work(nest.in_channels, partial(steps.reduction, factor=row)) for row in row_factors]
    out_work = [
        work(nest.out_channels, partial(steps.outputs, factor=column)) for column in column_factors
    ]
    columns = [
        useful_sizes(nest.batch, []),
        useful_sizes(nest.out_width, []),
        useful_sizes(nest.out_height, []),
        useful_sizes(nest.in_channels, in_work),
        useful_sizes(nest.out_channels, out_work),
    ]
    units = (
        1,
        1,
        1,
        steps.array.rows * row_factors[0],
        steps.array.cols * column_factors[0],
    )
    columns = thinned(columns, units, behavior.most_tilings)
    mesh = np.meshgrid(*(np.array(c, dtype=np.int64) for c in columns), indexing="ij")
    return TileGrid(
        np.array(extents, dtype=np.int64), np.stack([m.reshape(-1) for m in mesh]), used
    )


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Elements of one operand as a product over loops.

    Attributes:
        indexed: whether a loop indexes the operand.
        parts: factor of one tile, ``[classes or 1, tilings]`` for each loop; 1 where not indexed.
        wholes: factor of all tiles; the trips of a loop that does not index the operand.
        tile_elements: elements of a tile, ``[classes or 1, tilings]``.
        all_elements: elements of all tiles, each counted once.
    """

    indexed: tuple[bool, ...]
    parts: tuple[IntArray, ...]
    wholes: tuple[IntArray, ...]
    tile_elements: IntArray
    all_elements: IntArray

    def grown(self, running: Sequence[Loop]) -> Grown:
        """Sizes by the loops that have run inside, for loops that may have several trips."""
        loops = tuple(loop for loop in running if self.indexed[loop])
        others = tuple(loop for loop in running if not self.indexed[loop])
        return Grown(loops, others, grown(self.parts, self.wholes, loops))


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """Elements of the part of an operand that is kept.

    Attributes:
        loops: loops that index the operand.
        others: loops that do not.
        elements: elements of the part, ``[sets of loops, classes or 1, tilings]``.
    """

    loops: tuple[Loop, ...]
    others: tuple[Loop, ...]
    elements: IntArray

    def growth(
        self, classes: IntArray, tilings: IntArray, bits: IntArray, capacity_bits: int
    ) -> Growth:
        """Growth of chosen candidates, with so many bits an element, in a buffer."""
        rows = classes if self.elements.shape[1] > 1 else 0
        sizes = self.elements[:, rows, tilings] * bits
        return Growth(self.loops, self.others, sizes, 2 * sizes <= capacity_bits)


def pick(values: IntArray, classes: IntArray, tilings: IntArray) -> IntArray:
    """Values of candidates out of ``[classes or 1, tilings]``."""
    picked: IntArray = values[classes, tilings] if len(values) > 1 else values[0, tilings]
    return picked


def _factors(grid: TileGrid, measures: dict[Loop, list[Measure]]) -> Factors:
    parts, wholes = [], []
    for loop in Loop:
        if loop in measures:
            parts.append(np.stack([measure(grid.sizes[loop]) for measure in measures[loop]]))
            wholes.append(np.stack([grid.total(loop, measure) for measure in measures[loop]]))
        else:
            parts.append(np.ones((1, grid.sizes.shape[1]), dtype=np.int64))
            wholes.append(grid.trips[loop][None, :])
    return Factors(
        indexed=tuple(loop in measures for loop in Loop),
        parts=tuple(parts),
        wholes=tuple(wholes),
        tile_elements=np.asarray(prod(parts, start=np.int64(1))),
        all_elements=np.asarray(prod((wholes[loop] for loop in measures), start=np.int64(1))),
    )


def _one(size: IntArray) -> IntArray:
    return size


def weight_factors(
    grid: TileGrid, steps: Steps, fusion: Fusion, behavior: BitFusionBehavior
) -> Factors:
    """Weights: ``ceil(R S c / (N f)) N f * k`` (hsharma35, ANT), or ``R S c * k`` unpadded.

    ``f`` is the fusion along the rows for hsharma35, and that of the weights for ANT.
    """
    rows, taps = steps.array.rows, steps.taps
    swapped = behavior.buffer_padding == "weights_and_inputs"
    factors = fusion.weights if swapped else fusion.row_factor
    inputs: list[Measure] = [
        partial(padded, scale=taps, unit=rows * int(factor)) for factor in factors
    ]
    if behavior.buffer_padding == "none":
        inputs = [partial(padded, scale=taps, unit=1)]
    return _factors(grid, {Loop.IC: inputs, Loop.OC: [_one]})


def input_factors(
    grid: TileGrid, steps: Steps, fusion: Fusion, behavior: BitFusionBehavior
) -> Factors:
    """Inputs: ``window(ow) window(oh) c b``, or ``ow oh R S c b`` where unrolled.

    ``window(o) = (o - 1) * stride + (kernel - 1) * dilation + 1``; padding counts as data.
    """
    nest, taps = steps.nest, steps.taps

    def window(axis: int, kernel: int) -> Measure:
        reach = (kernel - 1) * nest.dilation[axis] + 1
        stride = nest.stride[axis]
        return lambda size: (size - 1) * stride + reach

    unrolled = taps if steps.im2col else 1
    channels: list[Measure] = [partial(padded, scale=unrolled, unit=1)]
    if behavior.buffer_padding == "weights_and_inputs":
        units = steps.array.cols * fusion.activations
        channels = [partial(padded, scale=unrolled, unit=int(unit)) for unit in units]
    rows = _one if steps.im2col else window(0, nest.kernel_height)
    columns = _one if steps.im2col else window(1, nest.kernel_width)
    return _factors(grid, {Loop.B: [_one], Loop.OW: [columns], Loop.OH: [rows], Loop.IC: channels})


def output_factors(
    grid: TileGrid, steps: Steps, fusion: Fusion, behavior: BitFusionBehavior
) -> Factors:
    """Outputs: ``ow oh b * ceil(k / M) M`` (hsharma35), or ``ow oh b k``."""
    channels: list[Measure] = [_one]
    if behavior.buffer_padding == "weights_and_outputs":
        units = steps.array.cols * fusion.column_factor
        channels = [partial(padded, scale=1, unit=int(unit)) for unit in units]
    return _factors(grid, {Loop.B: [_one], Loop.OW: [_one], Loop.OH: [_one], Loop.OC: channels})
