"""What an accelerator file says about a bit-fusion machine: its array and its named choices.

The public simulators of this family disagree with each other, and each of them with what hardware
would do. Every such point is one field of `BitFusionBehavior`; the cost model takes no side.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from hwmpq.accelerator.area import elements_area_mm2
from hwmpq.accelerator.spec import Spec

InnerOrder = Literal["least_bits", "least_energy", "output_stationary", "weight_stationary"]


class BitFusionArray(Spec):
    """An array of fusion units, each of which multiplies one wide or several narrow pairs a cycle.

    Attributes:
        rows: N, units along the inputs; their products add up.
        cols: M, units along the output channels.
        max_bits: widest operand that one pass multiplies.
        min_bits: width of the smallest multiplier of a unit; a narrower operand occupies it whole.
        energy_pj_per_unit_cycle: dynamic energy of one unit in one busy cycle, the same at every
            precision.
        stall_energy_fraction: part of it that a unit still draws in a stalled cycle. hsharma35's
            simulator and ANT's charge nothing for waiting.
        leakage_mw: static power of the array.
        area_um2_per_unit: area of one unit, where known.
    """

    rows: PositiveInt
    cols: PositiveInt
    max_bits: PositiveInt
    min_bits: PositiveInt
    energy_pj_per_unit_cycle: NonNegativeFloat
    stall_energy_fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    leakage_mw: NonNegativeFloat = 0.0
    area_um2_per_unit: NonNegativeFloat | None = None

    @property
    def area_mm2(self) -> float | None:
        """Area of the array, where known."""
        return elements_area_mm2(self.area_um2_per_unit, self.rows * self.cols)

    @model_validator(mode="after")
    def _widths_in_order(self) -> BitFusionArray:
        if self.min_bits > self.max_bits:
            msg = f"min_bits <= max_bits must hold, but got {self.min_bits=}, {self.max_bits=}"
            raise ValueError(msg)
        return self


class BitFusionBehavior(Spec):
    """Choices on which bit-fusion models differ; the defaults are those of hsharma35/bitfusion.

    Attributes:
        fusion_axis: where the narrow operands of a unit belong. ``reduction``: all to one output,
            so that a column takes in more input channels (hsharma35). ``rows_and_columns``: narrow
            activations lengthen the rows, narrow weights widen the columns (ANT).
        fusion_rounding: operands that a unit takes at an odd width. ``floor``: ``floor(max_bits /
            width)``, which with 16 ``max_bits`` claims 25 products at 3 bits (a slip of hsharma35;
            no effect with 8). ``power_of_two``: as many as at the next power of two.
        rows: what the rows of the array hold. ``reduction``: input channels, while pixels stream
            through. ``pixels``: output pixels of the batch, while the reduction streams (ANT's
            output-stationary array).
        im2col: layers that are unrolled to a matrix product before they reach the chip, for free,
            where the layer itself does not say. ``first_conv``: ungrouped convolutions of at most
            4 input channels, that is of images (hsharma35 does it to whatever reads the network's
            input). ``all``: every layer (ANT). ``none``: no layer.
        accumulator_bits: width of partial sums in the output buffer and in DRAM.
        written_outputs: width of finished outputs in DRAM. ``accumulator``: never requantised, so
            that narrow networks are bound by their outputs (hsharma35, ANT). ``consumer``: the
            width at which they are read again; in a table of single layers, the layer's own
            activation width stands for it.
        partial_sum_reads: when an output tile is read from DRAM. ``every_visit``: even before the
            first, when there is nothing to read (a slip of hsharma35). ``after_first``: when its
            sums were evicted. ``never``: evicted sums are not read back at all (a slip of ANT).
        buffer_padding: operands that are stored and moved padded to the array.
            ``weights_and_outputs``: weights to full rows, outputs to full columns (hsharma35).
            ``weights_and_inputs``: weights to rows times the weights' fusion, inputs to columns
            times theirs (ANT, which swaps the two). ``none``: exact sizes.
        ragged_tiles: cost of the smaller tiles at the edges. ``full``: that of a whole tile
            (hsharma35, ANT). ``used``: what they compute and move.
        tile_sizes: tiles that the search tries. ``powers_of_two``: powers of two (times the
            columns, for output channels) and the whole extent, output tiles being square
            (hsharma35, ANT). ``all_integers``: every size in every dimension, but those that a
            smaller one beats, up to ``most_tilings``.
        most_tilings: combinations of all-integer sizes that are searched for one layer; where
            there are more, sizes are thinned, and the powers of two stay.
        exposed_transfer: transfer that no computation hides. ``largest_resident``: everything that
            is ever resident at once, loaded before the first cycle and written after the last
            (hsharma35, ANT), so that keeping more data on chip can cost cycles. ``none``: the
            first and the last tile overlap with the layers before and after.
        write_back_size: size of the last write-back. ``outputs``: the resident outputs. ``fills``:
            what was read into the output buffer (a slip of hsharma35 and ANT, which has an effect
            only where partial sums are never read: nothing is exposed then).
        output_tile: whether an output tile must fit half of the output buffer (``checked``) or may
            be of any size (``unchecked``: a slip of ANT, which checks the fill instead).
        inner_order: operand that stays in place within a tile. ``least_bits``: whichever of
            inputs, outputs and weights moves fewest padded bits, an output counted once and the
            three buffers taken as equally costly (hsharma35). ``least_energy``: whichever costs
            least. ``output_stationary``, ``weight_stationary``: fixed (ANT).
        sram_reuse: credit for forwarding inside the array. ``none``: every multiplication reads
            both operands from their buffers (hsharma35, ANT). ``systolic``: an input is read once
            for all columns, and sums add up along the rows before they reach the output buffer.
        leakage: whether static power counts, in every cycle (hsharma35 computes and drops it).
    """

    fusion_axis: Literal["reduction", "rows_and_columns"] = "reduction"
    fusion_rounding: Literal["floor", "power_of_two"] = "floor"
    rows: Literal["reduction", "pixels"] = "reduction"
    im2col: Literal["first_conv", "all", "none"] = "first_conv"
    accumulator_bits: PositiveInt = 32
    written_outputs: Literal["accumulator", "consumer"] = "accumulator"
    partial_sum_reads: Literal["every_visit", "after_first", "never"] = "every_visit"
    buffer_padding: Literal["weights_and_outputs", "weights_and_inputs", "none"] = (
        "weights_and_outputs"
    )
    ragged_tiles: Literal["full", "used"] = "full"
    tile_sizes: Literal["powers_of_two", "all_integers"] = "powers_of_two"
    most_tilings: PositiveInt = 100_000
    exposed_transfer: Literal["largest_resident", "none"] = "largest_resident"
    write_back_size: Literal["outputs", "fills"] = "outputs"
    output_tile: Literal["checked", "unchecked"] = "checked"
    inner_order: InnerOrder = "least_bits"
    sram_reuse: Literal["none", "systolic"] = "none"
    leakage: bool = False

    @model_validator(mode="after")
    def _supported_together(self) -> BitFusionBehavior:
        exact_tiles = self.ragged_tiles == "used" or self.tile_sizes == "all_integers"
        if self.rows == "pixels" and (exact_tiles or self.sram_reuse == "systolic"):
            msg = (
                "rows: pixels goes with ragged_tiles: full, tile_sizes: powers_of_two and "
                f"sram_reuse: none only, but got {self.ragged_tiles=}, {self.tile_sizes=}, "
                f"{self.sram_reuse=}"
            )
            raise ValueError(msg)
        return self
