"""Laws of systolic arrays beyond those of every accelerator: when latency may not fall."""

from functools import cache
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.table import cost_table
from hwmpq.precision import Precision, precisions
from hwmpq.shipped import shipped_files
from hwmpq.testing.cost_laws import (
    LARGER,
    check_better_machine,
    check_bounds_grow_with_bits,
    check_bounds_grow_with_size,
    workload_of,
)
from hwmpq.workload.layer import Conv2d, Layer, Linear, MatMul

LATENCY = ("latency_cycles",)
load = cache(load_accelerator)
NAMES = tuple(
    name for name in shipped_files("accelerators") if load(name).architecture == "systolic"
)
SIZES = MappingProxyType({**LARGER, Conv2d: (*LARGER[Conv2d], "in_height", "in_width")})
"""Layers may grow in space, too."""

sizes = st.one_of(st.integers(1, 40), st.integers(1, 700))
channels = st.one_of(st.integers(1, 9), st.integers(1, 80))


@st.composite
def convolutions(draw) -> Conv2d:
    groups = draw(st.sampled_from([1, 1, 2, 3, 7, 40]))
    depthwise = groups > 3
    return Conv2d(
        name="conv",
        batch=draw(st.integers(1, 3)),
        in_channels=groups * (1 if depthwise else draw(channels)),
        in_height=draw(st.integers(5, 24)),
        in_width=draw(st.integers(5, 24)),
        out_channels=groups * (1 if depthwise else draw(channels)),
        kernel_size=(draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=(draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        groups=groups,
    )


layers = st.one_of(
    convolutions(),
    st.builds(Linear, name=st.just("fc"), batch=sizes, in_features=sizes, out_features=sizes),
    st.builds(MatMul, name=st.just("qk"), batch=st.integers(1, 13), m=sizes, k=sizes, n=sizes),
)
"""Small layers above all: those whose folds are few."""

bandwidths = st.sampled_from([8.0, 50.0, 192.0, 1000.0])


def machine(name: str, bandwidth: float, **changes: object) -> Accelerator:
    overrides = {"dram.bandwidth_bits_per_cycle": bandwidth}
    return load_accelerator(name, {**overrides, **changes})


def every_precision(accelerator: Accelerator) -> tuple[Precision, ...]:
    stated = accelerator.precisions
    return precisions(stated.weight_bits, stated.activation_bits)


FEW = precisions((1, 3, 8), (2, 8))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(layer=layers, bandwidth=bandwidths)
def test_more_bits_never_take_less_time(name: str, layer: Layer, bandwidth: float) -> None:
    accelerator = machine(name, bandwidth)
    table = cost_table(workload_of([layer]), accelerator, every_precision(accelerator))
    check_bounds_grow_with_bits(table, LATENCY)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(layer=layers, bandwidth=bandwidths)
def test_a_larger_layer_never_takes_less_time(name: str, layer: Layer, bandwidth: float) -> None:
    check_bounds_grow_with_size(machine(name, bandwidth), [layer], FEW, LATENCY, SIZES)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(layer=layers, bandwidth=bandwidths, gain=st.floats(1.001, 3))
def test_bandwidth_and_buffers_never_take_time(name, layer, bandwidth: float, gain) -> None:
    """Except for SCALE-Sim's buffers, whose forgetting is not orderly; it never stalls either."""
    poor = machine(name, bandwidth)
    check_better_machine(poor, machine(name, bandwidth * gain), [layer], FEW)
    larger = [
        memory.model_copy(update={"size_bits": int(memory.size_bits * gain)})
        for memory in poor.memories
    ]
    check_better_machine(poor, poor.model_copy(update={"memories": tuple(larger)}), [layer], FEW)


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("products", ["together", "apart"])
@settings(max_examples=8, deadline=None)
@given(layer=layers, bandwidth=bandwidths)
def test_the_laws_hold_on_every_dataflow(dataflow, products, layer, bandwidth) -> None:
    """Buffers of a sixteenth, so that tiles do not fit; wide ports, for sums kept apart."""
    changes: dict[str, object] = {
        "compute.dataflow": dataflow,
        "compute.scaling.products": products,
        "memories.ofmap_buffer.banks": 256,
    }
    accelerator = machine("systolic-realistic", bandwidth, **changes)
    small = [
        memory.model_copy(update={"size_bits": memory.size_bits // 16})
        for memory in accelerator.memories
    ]
    accelerator = accelerator.model_copy(update={"memories": tuple(small)})
    table = cost_table(workload_of([layer]), accelerator, every_precision(accelerator))
    check_bounds_grow_with_bits(table, LATENCY)
    check_bounds_grow_with_size(accelerator, [layer], FEW, LATENCY, SIZES)
