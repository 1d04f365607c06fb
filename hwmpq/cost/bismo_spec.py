"""What an accelerator file says about a BISMO machine: its array and its named choices."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from hwmpq.accelerator.area import elements_area_mm2
from hwmpq.accelerator.spec import Spec


class BismoArray(Spec):
    """The array.

    Attributes:
        rows: rows of the left matrix (output channels) side by side, Dm.
        depth: bits of one dot product, Dk.
        cols: columns of the right matrix (output pixels) side by side, Dn.
        result_bits: width of a written result.
        energy_pj_per_binary_mac: energy of an AND, a popcount and their share of accumulation.
        area_um2_per_dot_product: area of one dot product with its accumulator, where known.
    """

    rows: PositiveInt
    depth: PositiveInt
    cols: PositiveInt
    result_bits: PositiveInt = 32
    energy_pj_per_binary_mac: NonNegativeFloat
    area_um2_per_dot_product: NonNegativeFloat | None = None

    @property
    def area_mm2(self) -> float | None:
        """Area of the array, where known."""
        return elements_area_mm2(self.area_um2_per_dot_product, self.rows * self.cols)


class BismoBehavior(Spec):
    """Choices on which the runtime library and HAQ's table differ.

    Attributes:
        lhs_fetch: ``per_column_tile`` keeps a stripe of the right matrix on chip and fetches the
            whole left matrix again for every stripe, as the runtime library does; ``once`` fetches
            each matrix once.
        read_ports: ``shared`` fetches both matrices through one port; ``separate`` has one for
            each, as HAQ's table shows.
        fetched_rows: ``padded`` spends time on the rows and columns that pad a matrix to the tile
            grid, as the runtime library does; ``real`` does not, as HAQ's table shows.
        result_write: ``streamed`` writes results through a port of its own, which may be the
            slowest; ``hidden`` never waits for it, as in HAQ's table, which leaves results out.
        batch: ``together`` lowers all images to one matrix; ``per_image`` runs and fetches image
            by image, as HAQ's table shows. Rows of a linear layer are always one matrix.
        groups: ``packed`` shares the bits of a dot product among as many groups as fit in depth
            and rows, as HAQ's table shows for depthwise layers; ``sequential`` runs one at a time.
    """

    lhs_fetch: Literal["per_column_tile", "once"] = "per_column_tile"
    read_ports: Literal["shared", "separate"] = "shared"
    fetched_rows: Literal["padded", "real"] = "padded"
    result_write: Literal["streamed", "hidden"] = "streamed"
    batch: Literal["together", "per_image"] = "together"
    groups: Literal["packed", "sequential"] = "packed"
