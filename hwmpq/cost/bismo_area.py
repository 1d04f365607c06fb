"""What BISMO takes: LUTs and block RAM of the FPGA, and the area of the same array as an ASIC.

An overlay has no mm2 of its own. To compare it with chips, its array is priced as if it were one,
from the project's synthesised gates and adders. The FPGA itself takes far more: 35 times on
average for logic and flip-flops at 90 nm, 18 times with hard blocks (abstract of Kuon and Rose,
IEEE TCAD 26(2), 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hwmpq.accelerator.area import carried_area_um2
from hwmpq.accelerator.arithmetic import adder_area_um2, multiplier_area_um2, register_area_um2
from hwmpq.cost.bismo_spec import BismoArray
from hwmpq.errors import UnsupportedError

ASIC_NODE_NM: Final = 45
"""Node of the synthesised tables, at which the array is priced as an ASIC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FpgaResources:
    """What an instance takes of an FPGA.

    Attributes:
        luts: look-up tables of the array.
        block_rams: block RAMs of 36 Kbit, 1024 words of 32 bits, of both operand buffers.
    """

    luts: float
    block_rams: int


def fpga_resources(array: BismoArray, *, left_words: int, right_words: int) -> FpgaResources:
    """LUTs and block RAMs of an instance, by BISMO's own cost model.

    Equations (EECS-NTNU/bismo, its published cost model)::

        LUT  = Dm Dn (1.17 Dk + 44.1 + 120.1)
        BRAM = ceil(Dk / 32) (Dm ceil(Bm / 1024) + Dn ceil(Bn / 1024))

    The LUTs are a fit, those of the fetch and result stages left out.

    Args:
        array: the array, ``Dm`` rows of ``Dk`` bits by ``Dn`` columns.
        left_words: words of ``Dk`` bits in the buffer of one row, ``Bm``.
        right_words: words in the buffer of one column, ``Bn``.

    Raises:
        UnsupportedError: a buffer without words.
    """
    if min(left_words, right_words) < 1:
        msg = f"a buffer holds at least 1 word, but got {left_words} and {right_words}"
        raise UnsupportedError(msg)
    rows, cols = array.rows, array.cols
    return FpgaResources(
        luts=rows * cols * (1.17 * array.depth + 44.1 + 120.1),
        block_rams=-(-array.depth // 32)
        * (rows * -(-left_words // 1024) + cols * -(-right_words // 1024)),
    )


def popcount_area_um2(inputs: int) -> float:
    """Area of a tree of adders that counts ones, 45 nm (FreePDK45, synthesised).

    Adders are as wide as their sums; a term without a partner waits for the next level.

    >>> popcount_area_um2(2)  # one adder of two bits
    5.85
    >>> round(popcount_area_um2(4), 3)  # two of two bits, one of three: 5.85 * 2 + 12.235
    23.935
    """
    area, terms, width = 0.0, inputs, 2
    while terms > 1:
        area += terms // 2 * adder_area_um2(width)
        terms, width = -(-terms // 2), width + 1
    return area


def dot_product_area_um2(depth: int, result_bits: int) -> float:
    """Area of one dot product as an ASIC at 45 nm.

    One-bit multipliers, the popcount tree, and an accumulator: an adder and a register of
    ``result_bits`` (Aladdin, carried from 40 nm). The one-bit multiplier of the table has five
    cells and is larger than an AND gate, so this part is an upper bound; shifter, negation,
    control, wiring and pipeline registers are left out.
    """
    return (
        depth * multiplier_area_um2(1, 1)
        + popcount_area_um2(depth)
        + adder_area_um2(result_bits)
        + carried_area_um2(register_area_um2(result_bits), "aladdin", ASIC_NODE_NM)
    )
