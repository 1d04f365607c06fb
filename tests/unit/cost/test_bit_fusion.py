"""Bit fusion by hand: fusion, slices, tiles, traffic, layer kinds and choices of `behavior`."""

import numpy as np
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.bit_fusion import COST_MODEL, unrolled
from hwmpq.cost.bit_fusion_array import operands_per_unit
from hwmpq.cost.bit_fusion_spec import BitFusionArray, BitFusionBehavior
from hwmpq.errors import SpecError, UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.workload.layer import Conv2d, Linear, MatMul, MultiplyLayer

EVERY = precisions(range(1, 17), range(1, 17))
SHIPPED = ("bitfusion-isca18", "bitfusion-edge", "bitfusion-realistic", "ant-bitfusion")


def conv(**changes) -> Conv2d:
    fields = {
        "in_channels": 32,
        "in_height": 8,
        "in_width": 8,
        "out_channels": 64,
        "kernel_size": 3,
        "padding": 1,
    }
    return Conv2d(name="x", **(fields | changes))


def price(
    layer: MultiplyLayer, pair: str = "8/8", name: str = "bitfusion-isca18", **behavior: object
) -> LayerCosts:
    overrides = {f"behavior.{field}": value for field, value in behavior.items()}
    accelerator = load_accelerator(name, overrides)
    return COST_MODEL.layer_cost(layer, [Precision.parse(pair)], accelerator)


def latency(costs: LayerCosts) -> np.ndarray:
    return costs.compute_cycles + costs.stall_cycles


def figures(costs: LayerCosts) -> dict[str, float]:
    found = {
        "compute": costs.compute_cycles,
        "stall": costs.stall_cycles,
        "read": costs.dram_read_bits,
        "write": costs.dram_write_bits,
        **{f"sram read {k}": v for k, v in costs.sram_read_bits.items()},
        **{f"sram write {k}": v for k, v in costs.sram_write_bits.items()},
        **costs.energy_pj,
    }
    return {name: float(values[0]) for name, values in found.items()}


@pytest.mark.parametrize(
    ("pair", "products"),
    [("2/2", 16), ("1/1", 16), ("2/3", 8), ("3/4", 4), ("2/5", 4), ("4/8", 2), ("7/5", 1)],
)
def test_products_per_unit(pair: str, products: int) -> None:
    # 16 rows: 1024 channels take 1024 / (16 F) steps for each of 8 rows of a linear layer.
    layer = Linear(name="x", batch=8, in_features=1024, out_features=32)
    assert price(layer, pair).compute_cycles[0] == 8 * 1024 // (16 * products)


def test_a_wide_unit_overstates_odd_widths_only_where_the_simulator_does() -> None:
    array = BitFusionArray(rows=1, cols=1, max_bits=16, min_bits=2, energy_pj_per_unit_cycle=0.0)
    odd = np.array([3, 5, 7, 16])
    assert operands_per_unit(odd, array, "floor").tolist() == [5, 3, 2, 1]
    assert operands_per_unit(odd, array, "power_of_two").tolist() == [4, 2, 2, 1]


def test_wide_operands_run_in_slices() -> None:
    layer = Linear(name="x", batch=8, in_features=1024, out_features=32)
    cycles = {pair: int(price(layer, pair).compute_cycles[0]) for pair in ("8/8", "16/8", "9/12")}
    assert cycles == {"8/8": 512, "16/8": 1024, "9/12": 2048}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("layer", [conv(), Linear(name="x", in_features=100, out_features=30)])
def test_odd_widths_never_gain_over_the_width_they_round_up_to(
    name: str, layer: MultiplyLayer
) -> None:
    costs = COST_MODEL.layer_cost(layer, EVERY, load_accelerator(name))
    cycles = costs.compute_cycles.reshape(16, 16)
    up = [min(q for q in (2, 4, 8, 16) if q >= bits) - 1 for bits in range(1, 17)]
    assert (costs.compute_bound_cycles.reshape(16, 16) == _rounded(costs, up)).all()
    if name == "bitfusion-realistic":
        assert (cycles >= cycles[np.ix_(up, up)]).all()


def _rounded(costs: LayerCosts, up: list[int]) -> np.ndarray:
    return costs.compute_bound_cycles.reshape(16, 16)[np.ix_(up, up)]


def test_a_layer_that_fits_worked_by_hand() -> None:
    # 16 inputs, 32 outputs, one row of a linear layer at 8/8 bits on 16 x 32 units: one step.
    costs = price(Linear(name="x", in_features=16, out_features=32))
    weights, inputs, outputs = 16 * 32 * 8, 16 * 8, 32 * 32
    assert costs.compute_cycles[0] == 1
    # All is loaded before, and written after: ceil(5248 / 192) + ceil(1024 / 192).
    assert costs.stall_cycles[0] == 28 + 6
    assert costs.dram_read_bits[0] == weights + inputs + outputs
    assert costs.dram_write_bits[0] == outputs
    assert costs.compute_bound_cycles[0] == 1
    assert costs.compulsory_dram_bits[0] == weights + inputs + outputs
    assert costs.utilization[0] == 1
    # Every multiplication reads both operands; sums are accessed once and exchanged with DRAM.
    assert costs.sram_read_bits["weight_buffer"][0] == 512 * 8
    assert costs.sram_read_bits["input_buffer"][0] == 512 * 8
    assert costs.sram_read_bits["output_buffer"][0] == 2 * outputs
    assert costs.energy_pj["compute"][0] == pytest.approx(235.104)
    assert costs.energy_pj["dram"][0] == (weights + inputs + 2 * outputs) * 15
    assert costs.energy_pj["leakage"][0] == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_groups_run_one_after_the_other(name: str) -> None:
    grouped = price(conv(in_channels=64, out_channels=96, groups=2, im2col=False), name=name)
    single = price(conv(in_channels=32, out_channels=48, im2col=False), name=name)
    doubled = {key: 2 * value for key, value in figures(single).items()}
    assert figures(grouped) == pytest.approx(doubled)


def test_a_depthwise_layer_is_as_many_layers_of_one_channel() -> None:
    depthwise = price(conv(in_channels=24, out_channels=24, groups=24), "4/8")
    single = price(conv(in_channels=1, out_channels=1, im2col=False), "4/8")
    repeated = {key: 24 * value for key, value in figures(single).items()}
    assert figures(depthwise) == pytest.approx(repeated)
    assert depthwise.compulsory_dram_bits[0] == 24 * single.compulsory_dram_bits[0]


def test_a_batched_matmul_is_as_many_linear_layers() -> None:
    matmul = price(MatMul(name="x", batch=12, m=197, k=64, n=197), "4/8")
    linear = price(Linear(name="x", batch=197, in_features=64, out_features=197), "4/8")
    repeated = {key: 12 * value for key, value in figures(linear).items()}
    assert figures(matmul) == pytest.approx(repeated)


def test_a_pointwise_convolution_is_a_linear_layer_of_its_pixels() -> None:
    # Once unrolled, batch and pixels are one loop; here both fit whole.
    pixels = price(conv(in_height=4, in_width=4, kernel_size=1, padding=0), "4/4")
    rows = price(Linear(name="x", batch=16, in_features=32, out_features=64), "4/4")
    assert pixels.compute_cycles == rows.compute_cycles
    assert pixels.compulsory_dram_bits == rows.compulsory_dram_bits


def test_oblong_kernels_images_and_dilation() -> None:
    layer = conv(in_height=5, in_width=9, kernel_size=(1, 3), padding=(0, 2), dilation=(1, 2))
    costs = price(layer)
    # 45 pixels, 3 taps, 32 channels on 16 rows, 64 outputs on 32 columns.
    assert costs.compute_cycles[0] == 45 * 3 * 2 * 2
    turned = conv(in_height=9, in_width=5, kernel_size=(3, 1), padding=(2, 0), dilation=(2, 1))
    assert latency(price(turned)) == latency(costs)


def test_dilation_widens_the_window_that_is_fetched() -> None:
    # One output from a 3 x 3 kernel: 3 x 3 inputs, or 5 x 5 that hold it when dilated by two.
    near = price(conv(in_height=3, in_width=3, padding=0))
    far = price(conv(in_height=5, in_width=5, padding=0, dilation=2))
    assert far.dram_read_bits[0] - near.dram_read_bits[0] == (25 - 9) * 32 * 8
    assert far.compulsory_dram_bits[0] == near.compulsory_dram_bits[0]


def test_which_layers_are_unrolled() -> None:
    image, inner = conv(in_channels=3), conv()
    depthwise = conv(in_channels=4, out_channels=4, groups=4)
    linear = Linear(name="x", in_features=3, out_features=4)
    for choice, wanted in (
        ("first_conv", [True, False, False, False]),
        ("all", [True] * 4),
        ("none", [False] * 4),
    ):
        behavior = BitFusionBehavior(im2col=choice)
        layers = (image, inner, depthwise, linear)
        assert [unrolled(layer, behavior) for layer in layers] == wanted
    told = image.model_copy(update={"im2col": False})
    assert not unrolled(told, BitFusionBehavior(im2col="all"))


def test_fusing_along_rows_and_columns() -> None:
    # 16 x 32 units at 4/4 bits: 32 inputs by 64 outputs per step, instead of 64 by 32.
    layer = Linear(name="x", batch=10, in_features=32, out_features=64)
    both = price(layer, "4/4", fusion_axis="rows_and_columns")
    assert both.compute_cycles[0] == 10
    assert price(layer, "4/4").compute_cycles[0] == 20
    assert both.compute_bound_cycles[0] == 10


def test_output_stationary_array_worked_by_hand() -> None:
    # 32 x 32 units at 8/8: ceil(100 / 32) x ceil(70 / 32) x 50.
    layer = Linear(name="x", batch=100, in_features=50, out_features=70)
    assert price(layer, "8/8", "ant-bitfusion").compute_cycles[0] == 4 * 3 * 50
    # Weights of 4 bits widen the columns to 64, activations of 4 bits lengthen the rows.
    assert price(layer, "4/8", "ant-bitfusion").compute_cycles[0] == 4 * 2 * 50
    assert price(layer, "8/4", "ant-bitfusion").compute_cycles[0] == 2 * 3 * 50


def test_the_consumers_width_and_the_first_read() -> None:
    layer = Linear(name="x", in_features=16, out_features=32)
    weights, inputs = 16 * 32 * 4, 16 * 4
    costs = price(layer, "4/4", written_outputs="consumer", partial_sum_reads="after_first")
    # Four-bit weights are padded to 64 rows.
    assert costs.dram_read_bits[0] == 4 * weights + inputs
    assert costs.dram_write_bits[0] == 32 * 4
    costs = price(layer, "4/4", buffer_padding="none")
    assert costs.dram_read_bits[0] == weights + inputs + 32 * 32


def test_leakage_and_stalls() -> None:
    layer = Linear(name="x", in_features=512, out_features=1000)
    accelerator = load_accelerator("bitfusion-realistic")
    costs = COST_MODEL.layer_cost(layer, [Precision(8, 8)], accelerator)
    milliwatts = 30.37568 + 127.789056 + 51.67952 + 33.01856
    picojoules = latency(costs)[0] * milliwatts * 1e-3 / 500e6 * 1e12
    assert costs.energy_pj["leakage"][0] == pytest.approx(picojoules)
    busy = costs.compute_cycles[0] + 0.1 * costs.stall_cycles[0]
    assert costs.energy_pj["compute"][0] == pytest.approx(235.104 * busy)


def test_forwarding_divides_the_reads_of_inputs_by_the_columns() -> None:
    layer = Linear(name="x", batch=4, in_features=64, out_features=64)
    plain = price(layer, inner_order="output_stationary")
    shared = price(layer, inner_order="output_stationary", sram_reuse="systolic")
    reads = (costs.sram_read_bits["input_buffer"][0] for costs in (plain, shared))
    assert next(reads) == 32 * next(reads)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_layer_of_which_no_tile_fits_is_an_error(name: str) -> None:
    # A single window is larger than any input buffer.
    layer = conv(in_height=1500, in_width=1500, kernel_size=1500, padding=0)
    with pytest.raises(UnsupportedError, match=r"layer 'x' on .*no tile fits"):
        price(layer, name=name)


def test_shared_buffers_are_an_error() -> None:
    accelerator = load_accelerator("bitfusion-isca18")
    weight, inputs, _ = accelerator.memories
    both = inputs.model_copy(update={"holds": ("input", "output")})
    shared = accelerator.model_copy(update={"memories": (weight, both)})
    with pytest.raises(UnsupportedError, match="a buffer each"):
        COST_MODEL.layer_cost(conv(), [Precision(8, 8)], shared)


def test_contradictions_in_a_file_are_errors() -> None:
    with pytest.raises(SpecError, match="rows: pixels goes with"):
        load_accelerator("ant-bitfusion", {"behavior.ragged_tiles": "used"})
    with pytest.raises(SpecError, match="min_bits <= max_bits"):
        load_accelerator("bitfusion-isca18", {"compute.max_bits": 1})


def test_the_model_refuses_other_machines() -> None:
    with pytest.raises(UnsupportedError, match="does not describe a bit-fusion machine"):
        COST_MODEL.layer_cost(conv(), [Precision(8, 8)], load_accelerator("stripes"))
