"""Laws of bit fusion: an independent search in plain Python, monotonicity, and bounds."""

from functools import cache
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.bit_fusion import COST_MODEL
from hwmpq.cost.tiling import LOOP_ORDERS, Loop, powers_of_two
from hwmpq.precision import Precision, precisions
from hwmpq.workload.layer import Conv2d, Linear, MultiplyLayer

load = cache(load_accelerator)
INDEXES = {
    "weight": (Loop.IC, Loop.OC),
    "input": (Loop.B, Loop.OW, Loop.OH, Loop.IC),
    "output": (Loop.B, Loop.OW, Loop.OH, Loop.OC),
}


def up(a: int, b: int) -> int:
    return -(-a // b)


def walk(tile: int, trips: dict[Loop, int], operand: str, room: float, order) -> tuple[int, int]:
    """Bits moved, and most bits kept at once, by hsharma35's rule."""
    total, kept, resident = tile, tile, True
    for loop in reversed(order):
        if not resident:
            total *= trips[loop]
        elif loop in INDEXES[operand]:
            total *= trips[loop]
            resident = total <= room
            kept = total if resident else kept
    return total, kept


def plain_search(layer: Conv2d, pair: Precision, machine) -> tuple[int, set[tuple[int, int, int]]]:
    """Least cycles, and (compute cycles, DRAM reads, writes) of all that reach them."""
    n, m = machine.compute.rows, machine.compute.cols
    w, a = pair.weight_bits, pair.activation_bits
    lanes = n * (8 // max(a, 2)) * (8 // max(w, 2))
    taps, size = layer.kernel_size[0] ** 2, layer.out_height
    port = int(machine.dram.bandwidth_bits_per_cycle)
    room = {name: machine.memory_for(name).size_bits / 2 for name in INDEXES}
    found: dict[int, set[tuple[int, int, int]]] = {}
    sizes = (
        powers_of_two(layer.batch),
        powers_of_two(size),
        powers_of_two(layer.in_channels),
        powers_of_two(layer.out_channels, 1 if layer.im2col else m),
    )
    for b, o, c, k in product(*sizes):
        window = ((o - 1) * layer.stride[0] + layer.kernel_size[0]) ** 2
        tile = {
            "weight": up(taps * c, lanes) * lanes * k * w,
            "input": (o * o * taps if layer.im2col else window) * c * b * a,
            "output": o * o * up(k, m) * m * b * 32,
        }
        if any(tile[name] > room[name] for name in tile):
            continue
        extents = (layer.batch, size, size, layer.in_channels, layer.out_channels)
        trips = {loop: up(extents[loop], (b, o, o, c, k)[loop]) for loop in Loop}
        steps = up(taps * c, lanes) if layer.im2col else taps * up(c, lanes)
        compute = prod(trips.values()) * b * o * o * up(k, m) * steps
        for order in LOOP_ORDERS:
            moved = {name: walk(tile[name], trips, name, room[name], order) for name in tile}
            read, written = sum(total for total, _ in moved.values()), moved["output"][0]
            first, last = sum(kept for _, kept in moved.values()), moved["output"][1]
            middle = up(read + written - first - last, port)
            cycles = max(compute, middle) + up(first, port) + up(last, port)
            found.setdefault(cycles, set()).add((compute, read, written))
    return min(found), found[min(found)]


@st.composite
def square_convolutions(draw) -> Conv2d:
    kernel = draw(st.sampled_from([1, 3, 5]))
    size = draw(st.integers(kernel, 12))
    return Conv2d(
        name="x",
        batch=draw(st.sampled_from([1, 2, 3])),
        in_channels=draw(st.integers(1, 150)),
        in_height=size,
        in_width=size,
        out_channels=draw(st.integers(1, 150)),
        kernel_size=kernel,
        stride=draw(st.integers(1, 3)),
        im2col=draw(st.booleans()),
    )


linears = st.builds(
    Linear,
    name=st.just("x"),
    batch=st.integers(1, 9),
    in_features=st.integers(1, 700),
    out_features=st.integers(1, 400),
)
bits = st.integers(1, 8)


def latency(costs: LayerCosts) -> np.ndarray:
    return costs.compute_cycles + costs.stall_cycles


@settings(max_examples=25, deadline=None)
@given(
    layer=square_convolutions(),
    pair=st.builds(Precision, bits, bits),
    rows=st.sampled_from([4, 8, 16]),
    columns=st.sampled_from([4, 32]),
    port=st.sampled_from([32, 192]),
    capacity=st.sampled_from(["2KiB", "8KiB", "32KiB"]),
)
def test_search_equals_a_plain_one(layer, pair, rows, columns, port, capacity) -> None:
    changes: dict[str, object] = {
        "compute.rows": rows,
        "compute.cols": columns,
        "dram.bandwidth_bits_per_cycle": float(port),
        "memories.weight_buffer.size_bits": "32KiB",
        "memories.input_buffer.size_bits": capacity,
    }
    machine = load_accelerator("bitfusion-isca18", changes)
    least, ways = plain_search(layer, pair, machine)
    costs = COST_MODEL.layer_cost(layer, [pair], machine)
    assert latency(costs)[0] == least
    figures = (costs.compute_cycles[0], costs.dram_read_bits[0], costs.dram_write_bits[0])
    assert tuple(int(figure) for figure in figures) in ways


def grown(layer: MultiplyLayer, factor: str) -> MultiplyLayer:
    """The layer with one more of something."""
    names = {
        "inputs": ("in_channels", "in_features"),
        "outputs": ("out_channels", "out_features"),
        "batch": ("batch", "batch"),
    }[factor]
    name = names[isinstance(layer, Linear)]
    return layer.model_copy(update={name: getattr(layer, name) + 1})


@pytest.mark.parametrize("change", ["inputs", "outputs", "batch"])
@settings(max_examples=8, deadline=None)
@given(layer=st.one_of(square_convolutions(), linears))
def test_a_larger_layer_is_never_faster_on_the_realistic_machine(layer, change) -> None:
    pairs = precisions([2, 8, 9], [3, 4])
    machine = load("bitfusion-realistic")
    small = COST_MODEL.layer_cost(layer, pairs, machine)
    large = COST_MODEL.layer_cost(grown(layer, change), pairs, machine)
    assert (latency(large) >= latency(small)).all()
    assert (large.compute_cycles >= small.compute_cycles).all()
    assert (large.compute_bound_cycles >= small.compute_bound_cycles).all()
    assert (large.compulsory_dram_bits >= small.compulsory_dram_bits).all()


@settings(max_examples=8, deadline=None)
@given(layer=st.one_of(square_convolutions(), linears))
def test_more_bits_are_never_faster_on_the_realistic_machine(layer) -> None:
    widths = [1, 2, 3, 4, 8, 9]
    costs = COST_MODEL.layer_cost(layer, precisions(widths, widths), load("bitfusion-realistic"))
    for values in (latency(costs), costs.compute_bound_cycles, costs.compulsory_dram_bits):
        table = values.reshape(6, 6)
        assert (np.diff(table, axis=0) >= 0).all()
        assert (np.diff(table, axis=1) >= 0).all()


@settings(max_examples=10, deadline=None)
@given(layer=st.one_of(square_convolutions(), linears))
def test_all_integer_tiles_are_no_worse_than_powers_of_two(layer) -> None:
    pairs = precisions([1, 8], [2, 8])
    for name in ("bitfusion-realistic", "bitfusion-isca18"):
        few, many = (
            COST_MODEL.layer_cost(
                layer, pairs, load_accelerator(name, {"behavior.tile_sizes": sizes})
            )
            for sizes in ("powers_of_two", "all_integers")
        )
        assert (latency(many) <= latency(few)).all()
        assert (latency(many) >= many.compute_bound_cycles).all()


@settings(max_examples=5, deadline=None)
@given(layer=linears)
def test_any_set_of_precisions_gives_the_same_costs(layer) -> None:
    machine = load("bitfusion-realistic")
    pairs = precisions([1, 2, 3, 4], [2, 5, 8])
    whole = COST_MODEL.layer_cost(layer, pairs, machine)
    for index, pair in enumerate(pairs):
        alone = COST_MODEL.layer_cost(layer, [pair], machine)
        assert latency(alone)[0] == latency(whole)[index]
        assert alone.dram_read_bits[0] == whole.dram_read_bits[index]
        assert alone.mapping["tile"][0] == whole.mapping["tile"][index]
