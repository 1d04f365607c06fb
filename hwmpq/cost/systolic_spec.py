"""What an accelerator file says about a systolic array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from hwmpq.accelerator.area import elements_area_mm2
from hwmpq.accelerator.spec import BitWidths, Spec
from hwmpq.cost.systolic_folds import Array, Dataflow

UW_PER_MW: Final = 1e3
Mode = Literal["fixed", "subword", "fused_2d", "fused_w", "serial_w"]


class MacEnergy(Spec):
    """Energy of one multiply-accumulate operation.

    Attributes:
        pj_per_mac: by ``<weight bits>x<activation bits>``, after rounding up to a width that the
            element has a mode for; the pair of native widths must be there. An operation over
            several passes costs their sum.
        otherwise: what a pair that is not listed costs: the native energy times the product of
            both widths over the native ones (``product``), what the wider width of both costs
            (``widest``), or the native energy (``constant``).
    """

    pj_per_mac: Mapping[str, NonNegativeFloat]
    otherwise: Literal["product", "widest", "constant"] = "constant"


class Scaling(Spec):
    """How an element trades precision for speed.

    Attributes:
        mode: ``fixed`` computes every width at the native one, ``subword`` splits the element by
            the wider operand, ``fused_2d`` by both, ``fused_w`` by the weight alone, ``serial_w``
            takes ``serial_bits`` bits of the weight per cycle.
        widths: operand widths that the element has a mode for; the largest is the native one.
        products: whether the several products of an element are summed (depth shrinks) or kept
            apart (output channels shrink).
        passes: whether the passes of an operand wider than the native width repeat whole folds or
            run one after another inside a fold.
        serial_bits: weight bits per cycle of ``serial_w``.
    """

    mode: Mode = "fixed"
    widths: BitWidths = (8,)
    products: Literal["together", "apart"] = "together"
    passes: Literal["repeat_fold", "inside_fold"] = "repeat_fold"
    serial_bits: PositiveInt = 1

    @model_validator(mode="after")
    def _divide(self) -> Scaling:
        odd = [width for width in self.widths if self.native_bits % width]
        if odd:
            msg = f"every width must divide the largest, {self.native_bits}, but got {odd}"
            raise ValueError(msg)
        return self

    @property
    def native_bits(self) -> int:
        """Width that an element multiplies at once."""
        return max(self.widths)


class SystolicCompute(Spec):
    """The array.

    Attributes:
        dataflow: operand that stays in the array: ``os`` outputs, ``ws`` weights, ``is`` inputs.
        rows: R.
        cols: C.
        scaling: what low precision gains.
        mac_energy: energy of an operation.
        accumulator_bits: width of partial sums; as wide as a layer needs if left out.
        weight_double_buffer: shadow registers take the next stationary operand while the array
            works.
        element_leakage_uw: static power of an element; none where its energy includes it.
        element_area_um2: area of an element.
    """

    dataflow: Dataflow
    rows: PositiveInt
    cols: PositiveInt
    scaling: Scaling = Scaling()
    mac_energy: MacEnergy
    accumulator_bits: PositiveInt | None = None
    weight_double_buffer: bool = False
    element_leakage_uw: NonNegativeFloat | None = None
    element_area_um2: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _native_energy(self) -> SystolicCompute:
        native = f"{self.scaling.native_bits}x{self.scaling.native_bits}"
        if native not in self.mac_energy.pj_per_mac:
            known = ", ".join(self.mac_energy.pj_per_mac)
            msg = f"mac_energy.pj_per_mac must hold the native width {native}, but holds {known}"
            raise ValueError(msg)
        return self

    @property
    def elements(self) -> int:
        """Processing elements."""
        return self.rows * self.cols

    @property
    def leakage_mw(self) -> float | None:
        """Static power of the array."""
        each = self.element_leakage_uw
        return None if each is None else each * self.elements / UW_PER_MW

    @property
    def area_mm2(self) -> float | None:
        """Area of the array."""
        return elements_area_mm2(self.element_area_um2, self.elements)

    @property
    def array(self) -> Array:
        """Geometry, as the formulas take it."""
        return Array(dataflow=self.dataflow, rows=self.rows, cols=self.cols)


class SystolicBehavior(Spec):
    """Choices on which SCALE-Sim and hardware differ; the file of each machine says which.

    Attributes:
        output_bits: width of a written output; ``activation`` is the layer's activation width.
        output_size: outputs of an unpadded convolution whose stride does not divide: ``torch``
            rounds down, ``ceiling`` gives one more window over the edge.
        padding: ``stored`` reads padding from memory like data, ``implicit`` makes it up.
        groups: groups run one after another (``separate``) or share the array where several fit
            (``packed``).
        uncounted_last_cycle: a layer's cycles are the index of its last one, one too few, for
            each group run by itself.
        extra_output_writes: output-stationary folds count R + C writes too many each.
        partial_sums: ``dram`` sends every partial sum to DRAM, ``on_chip`` keeps them in the
            output buffer, streaming no more of a layer than fits half of it.
        partial_sum_reads: whether reading partial sums back to go on accumulating is counted.
        word_bits: an operand takes whole words of this width in a buffer, and a buffer's size
            counts such words; operands are packed tightly if left out.
        buffer_fills: whether moving data between DRAM and buffers counts as buffer accesses.
        dram: ``fast`` and ``replay`` count DRAM reads of SCALE-Sim's buffers, in closed form with
            convolutions estimated, or exactly by replaying addresses; ``tiled`` is ours.
        stalls: ``none``, or ``double_buffered`` for the time a fold waits for the next one's data.
        leakage: whether static power counts.
        dram_latency_cycles: latency of the fetch for each fold.
    """

    output_bits: PositiveInt | Literal["activation"]
    output_size: Literal["torch", "ceiling"] = "torch"
    padding: Literal["implicit", "stored"] = "implicit"
    groups: Literal["separate", "packed"] = "packed"
    uncounted_last_cycle: bool = False
    extra_output_writes: bool = False
    partial_sums: Literal["on_chip", "dram"] = "on_chip"
    partial_sum_reads: bool = True
    word_bits: PositiveInt | None = None
    buffer_fills: bool = True
    dram: Literal["tiled", "fast", "replay"] = "tiled"
    stalls: Literal["double_buffered", "none"] = "double_buffered"
    leakage: bool = True
    dram_latency_cycles: Annotated[int, Field(ge=0)] = 0
