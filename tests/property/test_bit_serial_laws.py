"""Laws of the bit-serial models beyond those of every accelerator."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq import registry
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.precision import precisions
from hwmpq.workload.layer import Conv2d, Linear, MultiplyLayer

NAMES = (
    "stripes",
    "stripes-128",
    "stripes-bitsim",
    "dadiannao",
    "loom-1b",
    "loom-2b",
    "bismo-8x256x8",
    "bismo-16x256x16",
    "unpu",
    "bitmod",
)
BOUNDS = ("compute_bound_cycles", "compulsory_dram_bits")
load = cache(load_accelerator)
channels = st.integers(1, 70)


@st.composite
def layers(draw) -> MultiplyLayer:
    if draw(st.booleans()):
        return Linear(
            name="fc",
            batch=draw(st.integers(1, 40)),
            in_features=draw(st.integers(1, 600)),
            out_features=draw(st.integers(1, 600)),
        )
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    return Conv2d(
        name="conv",
        batch=draw(st.integers(1, 3)),
        in_channels=groups * draw(channels),
        in_height=draw(st.integers(5, 24)),
        in_width=draw(st.integers(5, 24)),
        out_channels=groups * draw(channels),
        kernel_size=(draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=(draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        groups=groups,
    )


def price(accelerator, layer: MultiplyLayer) -> LayerCosts:
    pairs = precisions(range(1, 9), range(1, 9))
    costs: LayerCosts = registry.resolve("cost", accelerator.architecture).layer_cost(
        layer, pairs, accelerator
    )
    return costs


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(layer=layers())
def test_more_bits_never_lower_a_bound_or_a_cycle(name: str, layer: MultiplyLayer) -> None:
    costs = price(load(name), layer)
    for field in BOUNDS:
        grid = getattr(costs, field).reshape(8, 8)
        assert (np.diff(grid, axis=0) >= 0).all(), field
        assert (np.diff(grid, axis=1) >= 0).all(), field
    grid = costs.compute_cycles.reshape(8, 8)
    assert (np.diff(grid, axis=0) >= 0).all()
    assert (np.diff(grid, axis=1) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(layer=layers())
def test_a_larger_batch_never_lowers_a_bound(name: str, layer: MultiplyLayer) -> None:
    one = price(load(name), layer)
    two = price(load(name), layer.model_copy(update={"batch": layer.batch + 1}))
    assert (two.compute_bound_cycles >= one.compute_bound_cycles).all()
    assert (two.compute_cycles >= one.compute_cycles).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(
    layer=layers(),
    weight_room=st.integers(14, 20).map(lambda power: 2**power),
    input_room=st.integers(14, 20).map(lambda power: 2**power),
)
def test_bounds_hold_however_small_the_buffers(name, layer, weight_room, input_room) -> None:
    sizes = {
        "memories.weight_buffer.size_bits": weight_room,
        "memories.activation_buffer.size_bits": input_room,
    }
    roomy, tight = price(load(name), layer), price(load_accelerator(name, sizes), layer)
    moved = tight.dram_read_bits + tight.dram_write_bits
    assert (moved >= tight.compulsory_dram_bits).all()
    assert (moved >= roomy.dram_read_bits + roomy.dram_write_bits).all()
    assert (tight.compute_cycles == roomy.compute_cycles).all()


@settings(max_examples=15, deadline=None)
@given(layer=layers())
def test_loom_at_one_weight_bit_is_stripes_of_its_size(layer: MultiplyLayer) -> None:
    stripes = load_accelerator("loom-1b", {"compute.serial": "activation"})
    loom = load("loom-1b")
    one = price(loom, layer).compute_cycles.reshape(8, 8)[0]
    assert (one == price(stripes, layer).compute_cycles.reshape(8, 8)[0]).all()
