"""BISMO, a matrix multiplier serial in both operands: one bit plane against one bit plane a cycle.

An overlay of ``rows x cols`` dot products of ``depth`` bits each (Dm x Dn x Dk in its papers),
public as EECS-NTNU/bismo. A product of a ``w``-bit and an ``a``-bit matrix takes ``w * a`` passes
over the tiles. With two memory ports instead of one it also explains the latency table that HAQ
published for a 16 x 256 x 16 machine (mit-han-lab/haq, batch 16), whose simulator was never
released.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost import base, overlap
from hwmpq.cost.base import IntArray, LayerCosts, ceil_div
from hwmpq.cost.bismo_area import fpga_resources
from hwmpq.cost.bismo_spec import BismoArray, BismoBehavior
from hwmpq.cost.bismo_tiles import Product, Tiles, product, tiles
from hwmpq.cost.compulsory import stationary_elements, touched_input_elements
from hwmpq.precision import Precision
from hwmpq.workload.layer import MultiplyLayer

BUFFER_REGIONS = 4
"""Regions that each operand buffer is split in so that fetching and executing overlap."""


class Bismo:
    """The cost model."""

    compute_spec = BismoArray
    behavior_spec = BismoBehavior

    def resources(self, accelerator: Accelerator) -> Mapping[str, int]:
        """LUTs and block RAMs of an FPGA, for the buffers that the file gives."""
        array = cast(BismoArray, accelerator.compute)
        left = accelerator.memory_for("weight").size_bits
        right = accelerator.memory_for("input").size_bits
        found = fpga_resources(
            array,
            left_words=-(-left // (array.rows * array.depth)),
            right_words=-(-right // (array.cols * array.depth)),
        )
        return {"LUTs": round(found.luts), "block RAMs": found.block_rams}

    def layer_cost(
        self, layer: MultiplyLayer, precisions: Sequence[Precision], accelerator: Accelerator
    ) -> LayerCosts:
        """Price one layer at all precisions at once.

        A convolution is lowered to a matrix product: the left matrix holds the filters, the right
        one a column per output pixel. A matmul is ``batch`` such products.

        Equation (`doc/hardware.md` of EECS-NTNU/bismo): ``ceil(M / Dm) * ceil(N / Dn) *
        ceil(K / Dk) * w * a`` cycles per product; the few cycles of pipeline latency are left out.
        """
        array = cast(BismoArray, accelerator.compute)
        behavior = cast(BismoBehavior, accelerator.behavior)
        weight = base.weight_bits(precisions)
        activation = base.activation_bits(precisions)
        shape = product(
            layer,
            array.rows,
            array.depth,
            per_image=behavior.batch == "per_image",
            pack=behavior.groups == "packed",
        )
        grid = tiles(shape, array.rows, array.depth, array.cols)
        passes = weight * activation
        compute = shape.count * grid.count * passes
        peak = array.rows * array.depth * array.cols
        work = layer.macs * passes
        traffic, busy = _traffic(shape, grid, weight, activation, accelerator)
        # Every cycle reads a slice of depth bits for each row and each column.
        traffic.read(accelerator.memory_for("weight"), compute * array.rows * array.depth)
        traffic.read(accelerator.memory_for("input"), compute * array.cols * array.depth)
        compulsory_w = stationary_elements(layer) * weight
        compulsory_a = touched_input_elements(layer) * activation
        results = layer.output_elements * array.result_bits
        bound = ceil_div(work, peak)
        streams = [compulsory_w, compulsory_a]
        if behavior.read_ports == "shared":
            streams = [compulsory_w + compulsory_a]
        if behavior.result_write == "streamed":
            streams.append(np.full_like(weight, results))
        slowest = np.maximum.reduce(streams)
        bandwidth = accelerator.dram.bandwidth_bits_per_cycle
        return overlap.overlapped_costs(
            accelerator,
            traffic,
            compute_cycles=compute,
            compute_energy_pj={
                "compute.array": np.asarray(
                    work * array.energy_pj_per_binary_mac, dtype=np.float64
                )
            },
            utilization=np.asarray(work / (compute * peak), dtype=np.float64),
            compute_bound_cycles=bound,
            compulsory_dram_bits=compulsory_w + compulsory_a + results,
            busy_cycles=busy,
            latency_bound_cycles=np.maximum(bound, overlap.transfer_cycles(slowest, bandwidth)),
        )


def depth_chunks(
    grid: Tiles, weight: IntArray, activation: IntArray, accelerator: Accelerator
) -> IntArray:
    """Pieces that the common dimension is cut into so that a stripe of each matrix fits on chip.

    A stripe holds all bits of one row or column of tiles and must fit one of the buffer's regions;
    the runtime library refuses larger ones (issue 9 of EECS-NTNU/bismo), here they are cut.
    """
    array = cast(BismoArray, accelerator.compute)
    left = grid.depth * array.rows * array.depth * weight
    right = grid.depth * array.cols * array.depth * activation
    left_room = overlap.share_bits(accelerator, "weight") // BUFFER_REGIONS
    right_room = overlap.share_bits(accelerator, "input") // BUFFER_REGIONS
    pieces = np.maximum(ceil_div(left, left_room), ceil_div(right, right_room))
    return np.minimum(pieces, grid.depth)


def _traffic(
    shape: Product, grid: Tiles, weight: IntArray, activation: IntArray, accelerator: Accelerator
) -> tuple[overlap.Traffic, IntArray]:
    """Bits moved and the cycles that the slowest port is busy.

    Equations (`bismo_rt_matmul.cpp::getNumBytesToFetch`, `FetchInstrGen.cpp`): matrices are stored
    bit plane by bit plane, padded to the tile grid; ``right + left * ceil(N / Dn)`` is read and
    ``M * N * 32`` bits are written. Partial results of a cut common dimension are written and read
    back.
    """
    array = cast(BismoArray, accelerator.compute)
    behavior = cast(BismoBehavior, accelerator.behavior)
    bandwidth = accelerator.dram.bandwidth_bits_per_cycle
    again = grid.columns if behavior.lhs_fetch == "per_column_tile" else 1
    word = shape.count * grid.depth * array.depth
    left = word * grid.rows * array.rows * again * weight
    right = word * grid.columns * array.cols * activation
    pieces = depth_chunks(grid, weight, activation, accelerator)
    results = (
        shape.count * (grid.rows * array.rows) * (grid.columns * array.cols) * array.result_bits
    )
    partial = results * (pieces - 1)
    traffic = overlap.Traffic(
        dram_read_bits=left + right + partial, dram_write_bits=results + partial
    )
    traffic.write(accelerator.memory_for("weight"), left)
    traffic.write(accelerator.memory_for("input"), right)
    traffic.write(accelerator.memory_for("output"), traffic.dram_write_bits)
    traffic.read(accelerator.memory_for("output"), traffic.dram_write_bits)
    if behavior.fetched_rows == "real":
        left = grid.depth * array.depth * shape.total_rows * again * weight
        right = word * shape.columns * activation
    ports = [left, right + partial]
    if behavior.read_ports == "shared":
        ports = [left + right + partial]
    if behavior.result_write == "streamed":
        ports.append(results + partial)
    return traffic, overlap.transfer_cycles(np.maximum.reduce(ports), bandwidth)


COST_MODEL = Bismo()
"""The registered model."""
