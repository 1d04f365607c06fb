"""The systolic cost model as a whole: slips, our own behaviour, and laws."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator, Memory
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.workload.layer import Conv2d, Linear, MatMul, MultiplyLayer

EIGHT = Precision(8, 8)
FC = Linear(name="fc", batch=40, in_features=100, out_features=70)
"""2 x 3 folds of 100 (os), 4 x 3 folds of 40 (ws) and 4 x 2 folds of 70 (is) on 32 x 32."""


def price(
    layer: MultiplyLayer, name: str, precision: Precision = EIGHT, **overrides
) -> LayerCosts:
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    return COST_MODEL.layer_cost(layer, [precision], load_accelerator(name, changes))


def scale_sim(layer: MultiplyLayer, **overrides) -> LayerCosts:
    return price(layer, "systolic-32x32", **overrides)


def test_the_last_cycle_is_counted_on_demand() -> None:
    assert scale_sim(FC).compute_cycles[0] == 6 * 162 - 1
    honest = scale_sim(FC, behavior__uncounted_last_cycle=False)
    assert honest.compute_cycles[0] == 6 * 162


def test_extra_output_writes_are_a_slip_of_output_stationary_folds() -> None:
    with_slip = scale_sim(FC).sram_write_bits["ofmap_buffer"][0]
    honest = scale_sim(FC, behavior__extra_output_writes=False)
    assert with_slip == (40 * 70 + 6 * 64) * 8
    assert honest.sram_write_bits["ofmap_buffer"][0] == 40 * 70 * 8


def test_partial_sums_are_read_back_on_demand() -> None:
    flow = {"compute__dataflow": "ws"}
    slip = scale_sim(FC, **flow)
    honest = scale_sim(FC, behavior__partial_sum_reads=True, **flow)
    assert slip.sram_read_bits["ofmap_buffer"][0] == 0
    assert honest.sram_read_bits["ofmap_buffer"][0] == 3 * 40 * 70 * 8
    assert slip.dram_write_bits[0] == honest.dram_write_bits[0] == 4 * 40 * 70 * 8
    assert honest.dram_read_bits[0] - slip.dram_read_bits[0] == 3 * 40 * 70 * 8


def test_words_are_as_wide_as_their_operand() -> None:
    eight, mixed = scale_sim(FC), scale_sim(FC, precision=Precision(4, 2))
    reads, narrow = eight.sram_read_bits, mixed.sram_read_bits
    assert reads["ifmap_buffer"][0] // 8 == narrow["ifmap_buffer"][0] // 2 == 3 * 40 * 100
    assert reads["filter_buffer"][0] // 8 == narrow["filter_buffer"][0] // 4 == 2 * 100 * 70
    wide = scale_sim(FC, behavior__output_bits=32)
    assert wide.dram_write_bits[0] == 40 * 70 * 32


def test_energy_is_counts_times_figures() -> None:
    accelerator = load_accelerator("systolic-32x32")
    costs = COST_MODEL.layer_cost(FC, [EIGHT], accelerator)
    buffer = accelerator.memory_for("output")
    energy = costs.energy_pj
    assert energy["compute"][0] == pytest.approx(FC.macs * 0.2357)
    assert energy["sram.ofmap_buffer"][0] == pytest.approx(
        (40 * 70 + 6 * 64) * 8 * buffer.write_energy_pj_per_bit
    )
    moved = costs.dram_read_bits[0] + costs.dram_write_bits[0]
    assert energy["dram"][0] == pytest.approx(15 * moved)
    power_mw = sum(memory.leakage_mw for memory in accelerator.memories)
    seconds = costs.compute_cycles[0] / accelerator.clock_hz
    assert energy["leakage"][0] == pytest.approx(power_mw * seconds * 1e9)
    silent = scale_sim(FC, behavior__leakage=False)
    assert silent.energy_pj["leakage"][0] == 0


def realistic(layer: MultiplyLayer, precision: Precision = EIGHT, **overrides) -> LayerCosts:
    return price(layer, "systolic-realistic", precision, **overrides)


def test_partial_sums_stay_on_chip() -> None:
    """Sums of 32 bits go back and forth to the buffer; DRAM sees every output once."""
    costs = realistic(FC)
    outputs = 40 * 70
    assert costs.dram_write_bits[0] == outputs * 8
    assert costs.sram_write_bits["ofmap_buffer"][0] == outputs * (3 * 32 + 8)
    # The sums, and the outputs on their way to DRAM.
    assert costs.sram_read_bits["ofmap_buffer"][0] == outputs * (3 * 32 + 8)


def test_sums_that_do_not_fit_are_spilled() -> None:
    small = {"memories.ofmap_buffer": {"name": "ofmap_buffer", "holds": ["output"]}}
    figures = {"size_bits": 2000, "read_energy_pj_per_bit": 1.0, "write_energy_pj_per_bit": 1.0}
    small["memories.ofmap_buffer"] |= figures
    accelerator = load_accelerator("systolic-realistic", {"memories[2]": small.popitem()[1]})
    costs = COST_MODEL.layer_cost(FC, [EIGHT], accelerator)
    outputs = 40 * 70
    assert costs.dram_write_bits[0] == outputs * (8 + 3 * 32)
    assert costs.dram_read_bits[0] == 8 * (40 * 100 + 100 * 70) + outputs * 3 * 32


def test_double_buffered_weights_hide_their_loading() -> None:
    """12 folds of 40 steps: each waits for its stream alone."""
    costs = realistic(FC)
    assert costs.compute_cycles[0] == 32 + 12 * 40 + 62
    single = realistic(FC, compute__weight_double_buffer=False)
    assert single.compute_cycles[0] == 12 * (40 + 64 + 30)


def depthwise(channels: int = 96) -> Conv2d:
    return Conv2d(
        name="dw",
        in_channels=channels,
        in_height=28,
        in_width=28,
        out_channels=channels,
        kernel_size=3,
        padding=1,
        groups=channels,
    )


def test_depthwise_channels_share_the_array() -> None:
    """Nine rows a channel: three channels at a time on 32 rows, 32 rounds of 784 steps."""
    packed = realistic(depthwise())
    assert packed.compute_cycles[0] == 32 + 32 * 784 + 62
    alone = realistic(depthwise(), behavior__groups="separate")
    assert alone.compute_cycles[0] == 32 + 96 * 784 + 62


def test_padding_is_not_read() -> None:
    """28 x 28 with 3 x 3 taps: 82 of 84 taps along an axis read something."""
    costs = realistic(depthwise())
    assert costs.sram_read_bits["ifmap_buffer"][0] == 96 * 82 * 82 * 8
    assert costs.dram_read_bits[0] == 8 * 96 * (28 * 28 + 9)
    stored = scale_sim(depthwise(), compute__dataflow="ws")
    assert stored.sram_read_bits["ifmap_buffer"][0] == 96 * 84 * 84 * 8
    assert stored.dram_read_bits[0] == 8 * 96 * (30 * 30 + 9)


def test_a_starved_array_stalls() -> None:
    rich = realistic(FC, dram__bandwidth_bits_per_cycle=1e9)
    poor = realistic(FC, dram__bandwidth_bits_per_cycle=1.0)
    assert rich.stall_cycles[0] <= 1
    moved = poor.dram_read_bits[0] + poor.dram_write_bits[0]
    assert poor.compute_cycles[0] + poor.stall_cycles[0] >= moved


def test_operands_that_share_a_memory_are_refused() -> None:
    accelerator = load_accelerator("systolic-realistic")
    first = accelerator.memories[0]
    shared = Memory(
        name="shared",
        holds=("input", "output"),
        size_bits=first.size_bits,
        read_energy_pj_per_bit=1.0,
        write_energy_pj_per_bit=1.0,
    )
    unified = accelerator.model_copy(update={"memories": (shared, accelerator.memories[1])})
    with pytest.raises(
        UnsupportedError, match="memory of its own for inputs, weights and outputs"
    ):
        COST_MODEL.layer_cost(FC, [EIGHT], unified)


def test_the_first_tpu_halves_and_quarters_its_speed() -> None:
    """8 x 16 bits at half speed and 16 x 16 at a quarter (Jouppi et al., ISCA 2017, section 2)."""
    layer = Linear(name="fc", batch=2000, in_features=2048, out_features=2048)
    cycles = [
        int(price(layer, "tpu-like", Precision(w, a)).compute_cycles[0] - 256 - 510)
        for w, a in ((8, 8), (16, 8), (8, 16), (16, 16))
    ]
    assert cycles == [64 * 2000 * passes for passes in (1, 2, 2, 4)]


NAMES = ("systolic-32x32", "systolic-realistic", "systolic-psma", "tpu-like")
MACHINES = {name: load_accelerator(name) for name in NAMES}
EVERY = precisions(range(1, 9), range(1, 9))

channels = st.sampled_from([1, 3, 16, 40])
convs = st.builds(
    Conv2d,
    name=st.just("c"),
    batch=st.integers(1, 2),
    in_channels=channels,
    in_height=st.integers(5, 20),
    in_width=st.integers(5, 20),
    out_channels=channels,
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
)
linears = st.builds(
    Linear,
    name=st.just("fc"),
    batch=st.integers(1, 300),
    in_features=st.integers(1, 700),
    out_features=st.integers(1, 700),
)
layers = st.one_of(convs, linears)


def machine(name: str, dataflow: str) -> Accelerator:
    accelerator = MACHINES[name]
    compute = accelerator.compute.model_copy(update={"dataflow": dataflow})
    return accelerator.model_copy(update={"compute": compute})


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(layer=layers, dataflow=st.sampled_from(["os", "ws", "is"]))
def test_bounds_hold_and_more_bits_never_cost_less(name: str, layer, dataflow: str) -> None:
    """Time grows with both widths, on every dataflow."""
    costs = COST_MODEL.layer_cost(layer, EVERY, machine(name, dataflow))
    assert (costs.compute_cycles >= costs.compute_bound_cycles).all()
    moved = costs.dram_read_bits + costs.dram_write_bits
    assert (moved >= costs.compulsory_dram_bits).all()
    grid = (costs.compute_cycles + costs.stall_cycles).reshape(8, 8)
    assert (np.diff(grid, axis=0) >= 0).all()
    assert (np.diff(grid, axis=1) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 200)] * 3),
    batch=st.integers(2, 9),
    dataflow=st.sampled_from(["os", "ws", "is"]),
)
def test_independent_products_add_up(name: str, shape, batch: int, dataflow: str) -> None:
    """Run one after another, products of a batch cost what they cost alone."""
    m, k, n = shape
    accelerator = machine(name, dataflow)
    behavior = accelerator.behavior.model_copy(update={"groups": "separate", "stalls": "none"})
    compute = accelerator.compute.model_copy(update={"weight_double_buffer": False})
    separate = accelerator.model_copy(update={"behavior": behavior, "compute": compute})
    one = COST_MODEL.layer_cost(MatMul(name="x", m=m, k=k, n=n), [EIGHT], separate)
    many = COST_MODEL.layer_cost(MatMul(name="x", batch=batch, m=m, k=k, n=n), [EIGHT], separate)
    for field in ("compute_cycles", "dram_read_bits", "dram_write_bits"):
        assert getattr(many, field)[0] == batch * getattr(one, field)[0]
    for component, energy in one.energy_pj.items():
        assert many.energy_pj[component][0] == pytest.approx(batch * energy[0])


@settings(max_examples=15, deadline=None)
@given(layer=layers, order=st.permutations(range(len(EVERY))))
def test_a_cost_does_not_depend_on_its_neighbours(layer, order: list[int]) -> None:
    accelerator = MACHINES["systolic-realistic"]
    together = COST_MODEL.layer_cost(layer, EVERY, accelerator)
    turned = COST_MODEL.layer_cost(layer, [EVERY[index] for index in order], accelerator)
    for field in dataclasses.fields(LayerCosts):
        values = getattr(together, field.name)
        if isinstance(values, np.ndarray):
            assert (values[order] == getattr(turned, field.name)).all()
