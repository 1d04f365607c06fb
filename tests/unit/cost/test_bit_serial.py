import numpy as np
import pytest

from hwmpq import registry
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.bit_serial import BitSerialBehavior, staggered_cycles, word_bits
from hwmpq.cost.compulsory import touched_input_elements
from hwmpq.cost.refetch import fetches
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, Linear, MatMul, MultiplyLayer


def conv(**changes) -> Conv2d:
    shape = {
        "name": "c",
        "in_channels": 256,
        "in_height": 14,
        "in_width": 14,
        "out_channels": 256,
        "kernel_size": 3,
        "padding": 1,
    }
    return Conv2d(**{**shape, **changes})


def price(name: str, layer: MultiplyLayer, pair: str = "8/8", **overrides) -> LayerCosts:
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    accelerator = load_accelerator(name, changes)
    costs: LayerCosts = registry.resolve("cost", accelerator.architecture).layer_cost(
        layer, [Precision.parse(pair)], accelerator
    )
    return costs


def cycles(name: str, layer: MultiplyLayer, pair: str = "8/8", **overrides) -> int:
    return int(price(name, layer, pair, **overrides).compute_cycles[0])


PAIRS = ("8/8", "8/16")
STEPS = 13 * 1 * 9 * 16  # windows 196 / 16, filters 256 / 256, taps, channels 256 / 16


def test_activations_are_serial_on_stripes() -> None:
    assert cycles("stripes", conv(), "8/8") == STEPS * 8
    assert cycles("stripes", conv(), "2/3") == STEPS * 3
    assert cycles("stripes", conv(), "16/16") == STEPS * 16


def test_both_operands_are_serial_on_loom() -> None:
    steps = STEPS * 2  # half the tiles
    assert cycles("loom-1b", conv(), "3/5") == steps * 15
    # Twice the windows per column, two activation bits a cycle: ceil(5 / 2).
    assert cycles("loom-2b", conv(), "3/5") == 25 * 2 * 9 * 16 * 3 * 3


def test_bits_change_nothing_on_dadiannao() -> None:
    assert cycles("dadiannao", conv(), "1/1") == cycles("dadiannao", conv(), "16/16")
    assert cycles("dadiannao", conv()) == 196 * 9 * 16
    assert price("dadiannao", conv(), "2/2").dram_read_bits == (
        price("dadiannao", conv(), "16/16").dram_read_bits
    )


def test_depthwise_layers_use_one_tile() -> None:
    layer = conv(in_channels=48, out_channels=48, groups=48)
    assert cycles("stripes", layer) == 13 * 3 * 9 * 8
    # Eight rows: eight filters at a time.
    assert cycles("stripes-128", layer) == 13 * 6 * 9 * 8


def test_first_layer_turns_its_stride_into_channels() -> None:
    first = conv(
        in_channels=3,
        in_height=224,
        in_width=224,
        out_channels=64,
        kernel_size=7,
        stride=2,
        padding=3,
    )
    # 230 x 230 x 3 becomes 115 x 115 x 12, the kernel 4 x 4, the output stays 112 x 112.
    assert cycles("stripes", first) == 784 * 16 * 8
    assert cycles("stripes", first, behavior__first_layer="direct") == 784 * 49 * 8
    # A kernel that the stride divides gives a row and column more than the real output.
    even = conv(
        in_channels=3, in_height=8, in_width=9, kernel_size=2, stride=2, padding=0, out_channels=16
    )
    assert even.out_width == 4
    assert cycles("stripes", even) == 2 * 8  # ceil(4 * 5 / 16)


def test_two_groups_run_in_turn_and_other_groups_share_steps() -> None:
    two = conv(groups=2)
    assert cycles("stripes", two) == 2 * 13 * 9 * 8 * 8
    four = conv(groups=4)
    assert cycles("stripes", four) == 13 * 9 * 4 * 8
    assert cycles("stripes", four, behavior__grouped="per_group") == 4 * 13 * 9 * 4 * 8


def test_linear_layers_stagger_their_columns() -> None:
    fc = Linear(name="fc", in_features=512, out_features=1000)
    assert cycles("stripes", fc) == 4 * 32 + 7
    assert cycles("stripes", fc.model_copy(update={"batch": 5})) == 5 * (4 * 32 + 7)
    as_windows = fc.model_copy(update={"batch": 16})
    assert cycles("stripes", as_windows, behavior__linear="windows") == 4 * 32 * 8


def test_staggering_by_simulation() -> None:
    def simulate(steps: int, columns: int, length: int) -> int:
        free = [0] * columns
        now = 0
        for step in range(steps):
            now = max(now, free[step % columns])
            free[step % columns] = now + length
            now += 1
        return max(free)

    for steps in (1, 7, 8, 9, 40):
        for columns in (1, 3, 8):
            for length in (1, 2, 8, 13, 64):
                closed = staggered_cycles(np.array(steps), np.array(columns), np.array(length))
                assert closed == simulate(steps, columns, length)


def test_a_matmul_runs_rows_as_windows() -> None:
    scores = MatMul(name="qk", batch=12, m=197, k=64, n=197)
    assert cycles("stripes", scores) == 12 * 13 * 1 * 4 * 8


def test_images_run_one_after_the_other() -> None:
    assert cycles("stripes", conv(batch=3)) == 3 * cycles("stripes", conv())


def test_a_dilated_kernel_has_the_taps_of_the_undilated_one() -> None:
    assert cycles("stripes", conv(dilation=2, padding=2)) == STEPS * 8


def test_axes_count_on_their_own() -> None:
    flat = conv(in_height=1, in_width=100, kernel_size=(1, 5), padding=(0, 2))
    assert cycles("stripes", flat) == 7 * 5 * 16 * 8


def test_wide_operands_take_several_columns_and_rows() -> None:
    wide = {"compute__pe_width_bits": 8}
    # The two halves of an activation run side by side, 8 cycles each (DNNsim, Stripes.cpp).
    assert cycles("stripes", conv(), "8/16", **wide) == 25 * 9 * 16 * 8
    assert cycles("stripes", conv(), "8/10", **wide) == 25 * 9 * 16 * 8
    assert cycles("stripes", conv(), "16/8", **wide) == 13 * 2 * 9 * 16 * 8
    # Twice the elements for as long: a product of 8 and 16 bits costs twice one of 8 and 8.
    narrow, both = (price("stripes", conv(), p, **wide).energy_pj["compute.array"] for p in PAIRS)
    np.testing.assert_allclose(both, 2 * narrow)
    with pytest.raises(UnsupportedError, match="8/16 needs more columns"):
        cycles("dadiannao", conv(), "8/16", **wide)


def test_wide_weights_of_loom_take_all_their_bits_as_in_the_simulator() -> None:
    wide = {"compute__pe_width_bits": 8}
    assert cycles("loom-1b", conv(), "16/8", **wide) == 13 * 4 * 9 * 16 * 16 * 8
    sliced = wide | {"behavior__wide_serial_weight": "sliced"}
    assert cycles("loom-1b", conv(), "16/8", **sliced) == 13 * 4 * 9 * 16 * 8 * 8
    assert cycles("loom-1b", conv(), "8/16", **wide) == 25 * 2 * 9 * 16 * 8 * 8


def test_values_take_the_next_power_of_two_in_memory() -> None:
    bits = np.array([1, 2, 3, 5, 8, 9, 16])
    packed = BitSerialBehavior(dram_word="exact")
    wide = BitSerialBehavior(data_width_bits=8)
    assert word_bits(bits, BitSerialBehavior()).tolist() == [1, 2, 4, 8, 8, 16, 16]
    assert word_bits(bits, packed).tolist() == bits.tolist()
    assert word_bits(bits, wide).tolist() == [8, 8, 8, 8, 8, 16, 16]


def test_operands_are_read_once_while_one_of_them_fits() -> None:
    costs = price("stripes", conv())
    weights, inputs = 256 * 256 * 9 * 8, 256 * 16 * 16 * 8
    assert costs.dram_read_bits == weights + inputs
    assert costs.dram_write_bits == 0


def test_small_buffers_fetch_the_cheaper_operand_again() -> None:
    tiny = {
        "memories__weight_buffer__size_bits": 2 * 2**20,
        "memories__activation_buffer__size_bits": 4 * 2**16,
    }
    costs = price("stripes", conv(), **tiny)
    weights, inputs = 256 * 256 * 9 * 8, 256 * 16 * 16 * 8
    # Half a buffer serves the running layer, and inputs share theirs with outputs.
    assert costs.dram_read_bits == weights + -(-weights // 2**20) * inputs
    assert costs.dram_write_bits == 256 * 14 * 14 * 8


def test_outputs_go_to_dram_when_told() -> None:
    costs = price("stripes", conv(), behavior__outputs="dram")
    assert costs.dram_write_bits == 256 * 14 * 14 * 8
    kept = price("stripes", conv())
    assert costs.compulsory_dram_bits - kept.compulsory_dram_bits == costs.dram_write_bits


def test_stalls_are_what_transfers_exceed_computing_by() -> None:
    costs = price("stripes", conv(), dram__bandwidth_bits_per_cycle=64)
    moved = int(costs.dram_read_bits[0])
    assert costs.compute_cycles + costs.stall_cycles == -(-moved // 64)
    assert price("stripes", conv(), dram__bandwidth_bits_per_cycle=1e9).stall_cycles == 0


def test_a_measured_fraction_scales_cycles_bounds_and_energy() -> None:
    whole = price("loom-1b", conv())
    half = price("loom-1b", conv(), behavior__step_fraction=0.5)
    assert half.compute_cycles * 2 == whole.compute_cycles
    assert half.compute_bound_cycles * 2 == whole.compute_bound_cycles
    assert half.energy_pj["compute.array"] * 2 == whole.energy_pj["compute.array"]


def test_energy_by_hand() -> None:
    costs = price("loom-1b", conv(), "2/3")
    macs = 256 * 256 * 9 * 196
    assert costs.energy_pj["compute.array"] == pytest.approx(macs * 6 * 0.0155)
    assert costs.energy_pj["dram"] == pytest.approx(costs.dram_read_bits * 17.5)


def test_refetching_prefers_the_cheaper_operand() -> None:
    bits = np.array([1000])
    assert fetches(bits, bits, 1000, 10) == (np.array([1]), np.array([1]))
    assert fetches(bits, np.array([500]), 500, 100) == (np.array([1]), np.array([2]))
    assert fetches(np.array([500]), bits, 100, 500) == (np.array([2]), np.array([1]))


def test_a_stride_beyond_the_kernel_skips_inputs() -> None:
    skipping = conv(kernel_size=1, stride=2, padding=0)
    assert touched_input_elements(skipping) == 256 * 7 * 7
    assert touched_input_elements(conv()) == 256 * 14 * 14
    # A 1 x 1 kernel on padding alone reads nothing there.
    padded = conv(kernel_size=1, stride=1, padding=2)
    assert touched_input_elements(padded) == 256 * 14 * 14
