"""A layer as matrix products on BISMO's tile grid."""

from __future__ import annotations

from dataclasses import dataclass

from hwmpq.workload.layer import Conv2d, MultiplyLayer


@dataclass(frozen=True, slots=True)
class Product:
    """``count`` products of a ``[rows, depth]`` by a ``[depth, columns]`` matrix.

    Attributes:
        count: products, one after the other.
        rows: rows of the left matrix (filters), M.
        total_rows: rows over all products, a partly filled last one counted as it is.
        depth: common dimension, K.
        columns: columns of the right matrix (pixels), N.
    """

    count: int
    rows: int
    total_rows: int
    depth: int
    columns: int


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles of one product along each dimension."""

    rows: int
    depth: int
    columns: int

    @property
    def count(self) -> int:
        """Tiles of one product."""
        return self.rows * self.depth * self.columns


def packed_groups(groups: int, filters: int, reduction: int, rows: int, depth: int) -> int:
    """Groups that share the rows and bits of one tile; at least one.

    Equation (the packing behind HAQ's table, 16 channels of 3 x 3 in a word of 256 bits):
    ``min(G, floor(Dm / filters), floor(Dk / reduction))``.

    >>> packed_groups(groups=96, filters=1, reduction=9, rows=16, depth=256)
    16
    """
    return max(1, min(groups, rows // filters, depth // reduction))


def product(
    layer: MultiplyLayer, array_rows: int, array_depth: int, *, per_image: bool, pack: bool
) -> Product:
    """Lower a layer to matrix products."""
    nest = layer.loops
    reduction = nest.in_channels * nest.kernel_height * nest.kernel_width
    together = 1
    if pack:
        together = packed_groups(
            nest.groups, nest.out_channels, reduction, array_rows, array_depth
        )
    images = nest.batch if per_image and isinstance(layer, Conv2d) else 1
    pixels = nest.batch * nest.out_height * nest.out_width // images
    return Product(
        count=-(-nest.groups // together) * images,
        rows=nest.out_channels * together,
        total_rows=nest.groups * nest.out_channels * images,
        depth=reduction * together,
        columns=pixels,
    )


def tiles(shape: Product, array_rows: int, array_depth: int, array_columns: int) -> Tiles:
    """Tile grid of one product, every dimension rounded up."""
    return Tiles(
        rows=-(-shape.rows // array_rows),
        depth=-(-shape.depth // array_depth),
        columns=-(-shape.columns // array_columns),
    )
