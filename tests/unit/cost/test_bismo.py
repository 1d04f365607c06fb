import numpy as np
import pytest

from hwmpq import registry
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.bismo_tiles import packed_groups
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, Linear, MatMul, MultiplyLayer


def price(name: str, layer: MultiplyLayer, pair: str = "8/8", **overrides) -> LayerCosts:
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    accelerator = load_accelerator(name, changes)
    costs: LayerCosts = registry.resolve("cost", "bismo").layer_cost(
        layer, [Precision.parse(pair)], accelerator
    )
    return costs


def conv(**changes) -> Conv2d:
    shape = {
        "name": "c",
        "in_channels": 64,
        "in_height": 56,
        "in_width": 56,
        "out_channels": 64,
        "kernel_size": 3,
        "padding": 1,
    }
    return Conv2d(**{**shape, **changes})


TILES = 8 * 392 * 3  # filters 64 / 8, pixels 3136 / 8, depth 576 / 256


def test_every_pair_of_bit_planes_is_a_pass() -> None:
    assert price("bismo-8x256x8", conv(), "8/8").compute_cycles == TILES * 64
    assert price("bismo-8x256x8", conv(), "3/5").compute_cycles == TILES * 15


def test_the_left_matrix_is_fetched_for_every_stripe_of_the_right() -> None:
    costs = price("bismo-8x256x8", conv(), "2/4")
    left, right = 64 * 768 * 2, 3136 * 768 * 4
    assert costs.dram_read_bits == right + left * 392
    assert costs.dram_write_bits == 3136 * 64 * 32
    once = price("bismo-8x256x8", conv(), "2/4", behavior__lhs_fetch="once")
    assert once.dram_read_bits == right + left


def test_the_slowest_port_sets_the_pace() -> None:
    costs = price("bismo-10x256x10", conv(kernel_size=1, padding=0), "1/1")
    latency = int(costs.compute_cycles[0] + costs.stall_cycles[0])
    assert latency == int(costs.dram_write_bits[0]) // 64
    hidden = price(
        "bismo-10x256x10", conv(kernel_size=1, padding=0), "1/1", behavior__result_write="hidden"
    )
    assert hidden.compute_cycles + hidden.stall_cycles < latency


def test_images_are_lowered_together_or_one_by_one() -> None:
    seven = conv(in_height=7, in_width=7, batch=16)
    assert price("bismo-8x256x8", seven).compute_cycles == 8 * 98 * 3 * 64
    apart = price("bismo-8x256x8", seven, behavior__batch="per_image")
    assert apart.compute_cycles == 16 * 8 * 7 * 3 * 64
    rows = Linear(name="fc", batch=16, in_features=512, out_features=64)
    for how in ("together", "per_image"):
        costs = price("bismo-8x256x8", rows, behavior__batch=how)
        assert costs.compute_cycles == 8 * 2 * 2 * 64


def test_depthwise_groups_share_the_bits_of_a_dot_product() -> None:
    assert packed_groups(groups=96, filters=1, reduction=9, rows=16, depth=256) == 16
    assert packed_groups(groups=96, filters=1, reduction=25, rows=16, depth=256) == 10
    assert packed_groups(groups=4, filters=64, reduction=9, rows=16, depth=256) == 1
    layer = conv(in_channels=96, out_channels=96, groups=96)
    assert price("bismo-16x256x16", layer).compute_cycles == 6 * 196 * 64
    alone = price("bismo-16x256x16", layer, behavior__groups="sequential")
    assert alone.compute_cycles == 96 * 196 * 64


def test_a_matmul_is_a_product_per_batch_entry() -> None:
    scores = MatMul(name="qk", batch=12, m=197, k=64, n=197)
    assert price("bismo-8x256x8", scores, "4/4").compute_cycles == 12 * 25 * 25 * 1 * 16


def test_stripes_beyond_the_buffers_are_cut_and_summed_up_in_dram() -> None:
    wide = Linear(name="fc", batch=1, in_features=25088, out_features=4096)
    costs = price("bismo-8x256x8", wide)
    # 98 tiles of depth x 8 bits of 8 rows in a region of 256 words: four pieces.
    results = 4096 * 8 * 32
    assert costs.dram_write_bits == results * 4
    left, right = 4096 * 25088 * 8, 8 * 25088 * 8
    assert costs.dram_read_bits == left + right + 3 * results
    fits = price("bismo-8x256x8", wide, "2/2")
    assert fits.dram_write_bits == results


def test_bounds_hold_on_separate_ports() -> None:
    costs = price("bismo-16x256x16", conv(), "1/1")
    assert np.all(costs.latency_bound_cycles <= costs.compute_cycles + costs.stall_cycles)
    assert costs.compulsory_dram_bits <= costs.dram_read_bits + costs.dram_write_bits


def test_energy_by_hand() -> None:
    costs = price("bismo-10x256x10", conv(), "2/3")
    assert costs.energy_pj["compute.array"] == pytest.approx(conv().macs * 6 * 1.039)
