"""UNPU, BitMoD and BitSim's Stripes by hand."""

import numpy as np
import pytest

from hwmpq import registry
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, Linear, MatMul, MultiplyLayer


def price(name: str, layer: MultiplyLayer, pair: str = "8/8", **overrides) -> LayerCosts:
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    accelerator = load_accelerator(name, changes)
    costs: LayerCosts = registry.resolve("cost", accelerator.architecture).layer_cost(
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


FC = Linear(name="fc", in_features=1000, out_features=864)


def test_unpu_runs_at_its_published_peaks() -> None:
    assert price("unpu", FC, "16/16").compute_cycles == 1000
    assert price("unpu", FC, "3/16").compute_cycles == 188  # ceil(864000 * 3 / 13824)
    assert price("unpu", FC, "1/16").compute_cycles == 47  # ceil(864000 / 18430)
    assert price("unpu", FC, "16/2").compute_cycles == 1000
    half = price("unpu", FC, "16/16", behavior__share_of_peak=0.5)
    assert half.compute_cycles == 2000
    assert half.utilization == 0.5


def test_unpu_energy_joins_the_published_points() -> None:
    published = {1: 2 / 50.6, 16: 2 / 3.08}
    for bits, per_mac in published.items():
        energy = price("unpu", FC, f"{bits}/16").energy_pj["compute.chip"]
        assert energy == pytest.approx(864000 * per_mac, rel=1e-5)


def test_bitmod_takes_two_weight_bits_a_cycle() -> None:
    token = Linear(name="q", in_features=4096, out_features=4096)
    tiles = 1024 * 64
    assert price("bitmod", token, "4/16").compute_cycles == tiles * 2
    assert price("bitmod", token, "3/16").compute_cycles == tiles * 2
    assert price("bitmod", token, "5/16").compute_cycles == tiles * 3
    assert price("bitmod", token, "1/16").compute_cycles == tiles


def test_bitmod_turns_its_array_for_many_tokens() -> None:
    many = Linear(name="q", batch=256, in_features=4096, out_features=4096)
    assert price("bitmod", many, "4/16").compute_cycles == 1024 * 128 * 8 * 2
    narrow = price("bitmod", many, "4/16", behavior__arrangement="decode")
    assert narrow.compute_cycles == 1024 * 64 * 16 * 2
    few = many.model_copy(update={"batch": 16})
    assert price("bitmod", few, "4/16").compute_cycles == 1024 * 64 * 2


def test_bitmod_stores_scales_beside_narrow_weights_but_not_in_the_cache() -> None:
    fc = Linear(name="q", in_features=128, out_features=10)
    activations = 128 * 16
    assert price("bitmod", fc, "4/16").dram_read_bits == 10 * 520 + activations
    assert price("bitmod", fc, "8/16").dram_read_bits == 10 * 1024 + activations
    scores = MatMul(name="qk", batch=1, m=1, k=128, n=10)
    assert price("bitmod", scores, "4/16").dram_read_bits == 10 * 512 + activations


def test_bitmod_drops_part_cycles() -> None:
    fc = Linear(name="q", in_features=128, out_features=10)
    moved = 10 * 520 + 128 * 16 + 10 * 16
    dropped = price("bitmod", fc, "4/16")
    assert dropped.compute_cycles + dropped.stall_cycles == max(32 * 2, moved // 256)
    thin = {"dram__bandwidth_bits_per_cycle": 10}
    counted = price("bitmod", fc, "4/16", behavior__part_cycles="counted", **thin)
    assert counted.compute_cycles + counted.stall_cycles == -(-moved // 10)


def test_bitmod_fetches_again_when_neither_operand_fits() -> None:
    big = Linear(name="q", batch=256, in_features=11008, out_features=4096)
    weights, inputs = 4096 * 11008 * 8, 256 * 11008 * 16
    room = 512 * 1024 * 8
    costs = price("bitmod", big, "8/16")
    assert costs.dram_read_bits == min(
        weights + -(-weights // room) * inputs, inputs + -(-inputs // room) * weights
    )


def test_bitmod_lowers_convolutions_to_tokens() -> None:
    costs = price("bitmod", conv(), "4/16")
    assert costs.compute_cycles == 144 * 2 * 98 * 2
    assert price("bitmod", conv(groups=4), "4/16").compute_cycles == 4 * 36 * 1 * 98 * 2


def test_bitsim_tiles_the_smaller_of_taps_and_channels_in_full() -> None:
    assert price("stripes-bitsim", conv()).compute_cycles == 8 * 9 * 2 * 56 * 4 * 8
    first = conv(in_channels=3, in_height=224, in_width=224, kernel_size=7, stride=2, padding=3)
    assert price("stripes-bitsim", first).compute_cycles == 7 * 3 * 2 * 112 * 7 * 8


def test_bitsim_rows_idle_on_groups() -> None:
    depthwise = conv(groups=64)
    assert price("stripes-bitsim", depthwise).compute_cycles == 2 * 64 * 56 * 4 * 8
    grouped = conv(groups=4)
    assert price("stripes-bitsim", grouped).compute_cycles == 2 * 16 * 64 * 56 * 4 * 8
    filled = price("stripes-bitsim", grouped, behavior__grouped="per_group")
    assert filled.compute_cycles == 4 * 2 * 9 * 1 * 56 * 4 * 8


def test_bitsim_matmul_and_linear_fill_columns_with_tokens() -> None:
    fc = Linear(name="fc", batch=17, in_features=512, out_features=1000)
    assert price("stripes-bitsim", fc).compute_cycles == 64 * 32 * 2 * 8
    scores = MatMul(name="qk", batch=12, m=197, k=64, n=197)
    assert price("stripes-bitsim", scores).compute_cycles == 12 * 8 * 7 * 13 * 8


def test_bitsim_stores_weights_in_bytes_at_any_serial_width() -> None:
    deep = conv(in_channels=512, out_channels=512, in_height=7, in_width=7)
    assert price("stripes-bitsim", deep, "2/8").dram_read_bits == 512 * 512 * 9 * 8
    packed = price("stripes-bitsim", deep, "2/8", behavior__stored_weight="serial_bits")
    assert packed.dram_read_bits == 512 * 512 * 9 * 2


def test_bitsim_keeps_activations_that_fit() -> None:
    small = conv(in_height=7, in_width=7)
    assert price("stripes-bitsim", small).dram_write_bits == 0
    assert price("stripes-bitsim", small).dram_read_bits == 64 * 64 * 9 * 8
    through = price("stripes-bitsim", small, behavior__activations="dram")
    assert through.dram_read_bits == 64 * 64 * 9 * 8 + 64 * 49 * 8
    assert through.dram_write_bits == 64 * 49 * 8
    # The network's input always comes from DRAM.
    image = conv(in_channels=3, in_height=7, in_width=7)
    assert price("stripes-bitsim", image).dram_read_bits == 64 * 3 * 9 * 8 + 3 * 49 * 8


def test_bitsim_batches_run_image_by_image() -> None:
    one, three = price("stripes-bitsim", conv()), price("stripes-bitsim", conv(batch=3))
    assert np.array_equal(three.compute_cycles, 3 * one.compute_cycles)
