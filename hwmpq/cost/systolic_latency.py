"""Time of a layer whose tiles are double-buffered behind one DRAM port.

While piece t of the work computes, the next one's operands are loaded and the last one's outputs
are stored:

    load_0 + sum over t of max(compute_t, load_{t+1} + store_{t-1}) + store_last

What a schedule must expose are the operands without which nothing can start, and the outputs that
exist only at the very end. Everything between is cut into pieces as fine as one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hwmpq.cost.systolic_gemm import Gemm
from hwmpq.cost.systolic_spec import SystolicCompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """Operands of one group that no computing hides, in elements.

    Attributes:
        inputs: activations loaded before anything can start.
        weights: weights loaded before anything can start.
        outputs: outputs stored after everything is computed.
    """

    inputs: int
    weights: int
    outputs: int


def exposed(gemm: Gemm, compute: SystolicCompute, *, together: int, apart: int) -> Exposed:
    """What the first step of a layer waits for, and what its last step leaves.

    ======== ============== ==================== ===================
    dataflow kept at start  one step of streams  left at the end
    ======== ============== ==================== ===================
    os       nothing        d (R inputs, C n)    outputs of a fold
    ws       weights        one window's inputs  one step's outputs
    is       inputs         one channel's weights one step's outputs
    ======== ============== ==================== ===================

    Args:
        gemm: the layer.
        compute: the array.
        together: products that an element adds up per cycle.
        apart: products that an element keeps apart.

    >>> from hwmpq.cost.systolic_spec import MacEnergy
    >>> gemm = Gemm(groups=1, samples=40, channels=100, n=70)
    >>> energy = MacEnergy(pj_per_mac={"8x8": 1.0})
    >>> array = SystolicCompute(dataflow="ws", rows=32, cols=32, mac_energy=energy)
    >>> exposed(gemm, array, together=1, apart=1)
    Exposed(inputs=32, weights=1024, outputs=32)
    """
    depth = min(gemm.k, compute.rows * together)
    channels = min(gemm.n, compute.cols * apart)
    if compute.dataflow == "os":
        depth = min(gemm.k, together)
        pixels = min(gemm.m, compute.rows)
        inputs, weights, outputs = pixels * depth, depth * channels, pixels * channels
    elif compute.dataflow == "ws":
        inputs, weights, outputs = depth, depth * channels, channels
    else:
        pixels = min(gemm.m, compute.cols)
        step = min(gemm.n, apart)
        inputs, weights, outputs = pixels * depth, depth * step, pixels * step
    return Exposed(inputs=min(inputs, gemm.input_words), weights=weights, outputs=outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """The DRAM port.

    Attributes:
        bandwidth_bits_per_cycle: of reads and writes together.
        fetch_latency_cycles: that every fold's fetch takes besides.
    """

    bandwidth_bits_per_cycle: float
    fetch_latency_cycles: int = 0


def latency(
    compute_cycles: int,
    drain_cycles: int,
    folds: int,
    read_bits: int,
    write_bits: int,
    first_bits: int,
    last_bits: int,
    port: Port,
) -> int:
    """Cycles of a layer behind one DRAM port.

    Equation, with everything in cycles of the port::

        max(first + compute + last, reads + writes, reads + drain + last)

    It is the sum over pieces (see the module) of pieces that compute in proportion to the traffic
    behind them, the first load and the last store being ``first`` and ``last``, and the last piece
    the draining of the array, behind which only stores pass. It grows with each of its arguments
    but the bandwidth, so a layer that computes and moves more never takes less time.

    >>> latency(1000, 62, 10, 8000, 1600, 320, 160, Port(bandwidth_bits_per_cycle=16))
    1030
    >>> latency(100, 62, 10, 8000, 160, 320, 160, Port(bandwidth_bits_per_cycle=16))
    572
    """
    bandwidth = port.bandwidth_bits_per_cycle
    fetches = port.fetch_latency_cycles
    last = last_bits / bandwidth
    computing = compute_cycles + fetches + first_bits / bandwidth + last
    loading = read_bits / bandwidth + folds * fetches
    moving = (read_bits + write_bits) / bandwidth + folds * fetches
    return ceil(round(max(computing, moving, loading + drain_cycles + last), 6))
