"""How often an operand is fetched from DRAM when the on-chip buffers are too small."""

from __future__ import annotations

import numpy as np

from hwmpq.cost.base import IntArray, ceil_div


def fetches(
    weight_size_bits: IntArray,
    input_size_bits: IntArray,
    weight_capacity_bits: int,
    input_capacity_bits: int,
) -> tuple[IntArray, IntArray]:
    """Times that weights and inputs are fetched, ``[precisions]`` each.

    While either operand fits its buffer, both are fetched once: the other streams past it. When
    neither fits, one is cut into blocks of the buffer's size and the other is fetched once a
    block; the cheaper of the two is taken, inputs being fetched again on a tie.

    Equation (`bitmod_sim/accelerator.py::_calc_num_mem_refetch` of abdelfattah-lab/BitMoD-HPCA-25,
    the same rule in `sim/sim/stripes.py` of yc2367/BitSim)::

        n_w = ceil(I / size_i), n_i = ceil(W / size_w);  min(n_w W + I, W + n_i I)

    >>> fetches(np.array([100]), np.array([40]), 50, 20)
    (array([1]), array([2]))
    """
    weight_times = ceil_div(input_size_bits, input_capacity_bits)
    input_times = ceil_div(weight_size_bits, weight_capacity_bits)
    neither = (weight_times > 1) & (input_times > 1)
    again_weight = weight_times * weight_size_bits + input_size_bits
    again_input = input_times * input_size_bits + weight_size_bits
    weights_again = neither & (again_weight < again_input)
    inputs_again = neither & ~weights_again
    return (
        np.where(weights_again, weight_times, 1),
        np.where(inputs_again, input_times, 1),
    )
