"""The bit-fusion cost model against its two public simulators, row by row.

Figures of `bitfusion.csv` are runs of the simulators; its first line says which.
"""

from functools import cache
from math import ceil, prod
from pathlib import Path

import pandas as pd
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.bit_fusion import COST_MODEL
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d, Linear, MultiplyLayer

HERE = Path(__file__).parent
APQ = HERE.parents[1].parent / "shared" / "reference" / "apq_bitfusion_lut.csv"
SIMULATOR = "hsharma35/bitfusion 04ec1c8 as `bitfusion-isca18`"
ANT = "clevercool/ANT-Quantization bc84067 as `ant-bitfusion`"
BUFFERS = {"ibuf": "input_buffer", "wbuf": "weight_buffer", "obuf": "output_buffer"}
CYCLES = ("compute_cycles", "mem_stall_cycles")
TRAFFIC = ("dram_read_bits", "dram_write_bits")
SRAM = tuple(f"{short}_{way}_bits" for short in BUFFERS for way in ("read", "write"))
ENERGIES = {
    "E_core_nJ": "compute",
    "E_ibuf_nJ": "sram.input_buffer",
    "E_wbuf_nJ": "sram.weight_buffer",
    "E_obuf_nJ": "sram.output_buffer",
    "E_dram_nJ": "dram",
}

# Cycles for the whole batch of 16, speed-up and energy reduction over Eyeriss, and uJ per image:
# the eight benchmarks re-run with hsharma35/bitfusion, bit-identical to the figures it ships.
BENCHMARKS = {
    "AlexNet": (37_666_491, 1.87, 1.56, 8246.6),
    "SVHN": (1_317_523, 8.57, 10.57, 263.8),
    "CIFAR10": (3_293_704, 13.41, 14.77, 724.5),
    "LeNet-5": (410_352, 2.72, 4.30, 71.3),
    "VGG-7": (2_822_491, 7.66, 9.87, 578.1),
    "RESNET-18": (49_079_982, 1.95, 1.85, 10604),
    "RNN": (394_583, 2.66, 5.14, 78.6),
    "LSTM": (337_175, 2.43, 4.78, 67.5),
}


def layer_of(row) -> MultiplyLayer:
    if row.op == "fc":
        return Linear(
            name="x", batch=int(row.batch), in_features=int(row.C), out_features=int(row.K)
        )
    # TensorFlow's SAME padding of an even excess is half a pixel more on one side; only the size
    # of the output matters here.
    return Conv2d(
        name="x",
        batch=int(row.batch),
        in_channels=int(row.C),
        in_height=int(row.H),
        in_width=int(row.W),
        out_channels=int(row.K),
        kernel_size=(int(row.R), int(row.S)),
        stride=(int(row.stride), int(row.stride)),
        padding=(ceil(row.pad), ceil(row.pad)),
        groups=int(row.groups),
        im2col=bool(row.im2col),
    )


@cache
def figures() -> pd.DataFrame:
    return pd.read_csv(HERE / "bitfusion.csv", skiprows=1)


def columns_of(costs: LayerCosts, index: int) -> dict[str, object]:
    """The model's figures under the names of the reference."""
    found: dict[str, object] = {
        "compute_cycles": int(costs.compute_cycles[index]),
        "mem_stall_cycles": int(costs.stall_cycles[index]),
        "total_cycles": int(costs.compute_cycles[index] + costs.stall_cycles[index]),
        "dram_read_bits": int(costs.dram_read_bits[index]),
        "dram_write_bits": int(costs.dram_write_bits[index]),
    }
    for short, name in BUFFERS.items():
        found[f"{short}_read_bits"] = int(costs.sram_read_bits[name][index])
        found[f"{short}_write_bits"] = int(costs.sram_write_bits[name][index])
    found |= {key: costs.energy_pj[part][index] / 1e3 for key, part in ENERGIES.items()}
    return found | {key: texts[index] for key, texts in costs.mapping.items()}


@cache
def modelled(simulator: str, accelerator_name: str) -> pd.DataFrame:
    """Reference rows of a simulator, and the model's figures as columns with ``my_``."""
    accelerator = load_accelerator(accelerator_name)
    rows = figures()
    rows = rows[rows.simulator.str.startswith(simulator)].reset_index(drop=True)
    layers = [layer_of(row) for row in rows.itertuples()]
    mine: list[dict[str, object]] = [{} for _ in layers]
    for layer in dict.fromkeys(layers):
        where = [index for index, other in enumerate(layers) if other == layer]
        pairs = [Precision(int(rows.wbits[i]), int(rows.abits[i])) for i in where]
        costs = COST_MODEL.layer_cost(layer, pairs, accelerator)
        for position, index in enumerate(where):
            mine[index] = columns_of(costs, position)
    return rows.join(pd.DataFrame(mine).add_prefix("my_"))


def hsharma() -> pd.DataFrame:
    return modelled("hsharma35", "bitfusion-isca18")


@pytest.mark.parametrize("column", [*CYCLES, "total_cycles", *TRAFFIC, *SRAM])
def test_every_row_of_the_simulator_is_met_exactly(column: str, publish) -> None:
    rows = hsharma()
    assert len(rows) == 361
    given = rows[rows[column].notna()]
    assert len(given) >= 300
    wrong = given[given[column].astype("int64") != given[f"my_{column}"]]
    assert wrong.empty, wrong[["network", "layer", "wbits", "abits", column, f"my_{column}"]]
    publish("bit_fusion", SIMULATOR, f"`{column}`", len(given), "equal")


@pytest.mark.parametrize("column", list(ENERGIES))
def test_energy_by_component_is_met_within_a_thousandth(column: str, publish) -> None:
    rows = hsharma()
    given = rows[rows[column].notna()]
    assert len(given) >= 300
    error = (given[f"my_{column}"] / given[column] - 1).abs().max()
    assert error < 1e-3
    publish("bit_fusion", SIMULATOR, f"`{column}`", len(given), f"within {error:.4%}")


def test_loop_order_and_tile_are_those_that_the_simulator_reports(publish) -> None:
    rows = hsharma()
    given = rows[rows["best_order(outer..inner)"].notna()]
    assert len(given) == 300
    assert (given["best_order(outer..inner)"] == given.my_loop_order).all()
    tiles = [
        f"b={int(row.tile_b)} ow={int(row.tile_oh_ow)} oh={int(row.tile_oh_ow)} "
        f"ic={int(row.tile_ic)} oc={int(row.tile_oc)}"
        for row in given.itertuples()
    ]
    assert tiles == given.my_tile.to_list()
    publish("bit_fusion", SIMULATOR, "tile and loop order", len(given), "equal")


def test_totals_of_the_eight_benchmarks(publish) -> None:
    rows = hsharma()
    benchmarks = rows[rows.network.str.contains("repo benchmark")]
    names = benchmarks.network.str.split(" ").str[0]
    totals = benchmarks.groupby(names).my_total_cycles.sum().to_dict()
    assert totals == {name: figure[0] for name, figure in BENCHMARKS.items()}
    quantity = "total cycles of its eight benchmarks, batch 16"
    publish("bit_fusion", SIMULATOR, quantity, len(totals), "equal")


def test_headline_speed_up_and_energy_reduction_over_eyeriss(publish) -> None:
    rows = hsharma()
    speed_ups, reductions = [], []
    for name, (cycles, speed_up, reduction, micro_joule) in BENCHMARKS.items():
        mine = rows[rows.network.str.startswith(f"{name} (")]
        speed_ups.append(speed_up * cycles / mine.my_total_cycles.sum())
        nano_joule = mine[[f"my_{column}" for column in ENERGIES]].sum().sum() / 16
        assert nano_joule / 1e3 == pytest.approx(micro_joule, rel=1e-3)
        reductions.append(reduction * micro_joule * 1e3 / nano_joule)
    # The given factors have two or three digits.
    speed_up, reduction = (prod(factors) ** (1 / 8) for factors in (speed_ups, reductions))
    assert speed_up == pytest.approx(3.925, rel=1e-3)
    assert reduction == pytest.approx(5.117, rel=1e-3)
    result = f"{speed_up:.2f} and {reduction:.2f} against the published 3.9 and 5.1"
    quantity = "geometric mean speed-up and energy reduction over Eyeriss"
    publish("bit_fusion", "Bit Fusion, ISCA 2018, abstract", quantity, 8, result)


# Millions of cycles of the same 21 layers at batch 16, from the same simulator.
@pytest.mark.parametrize(
    ("pair", "millions"),
    [
        ("8/8", 58.99),
        ("4/4", 21.26),
        ("2/2", 15.82),
        ("4/8", 32.86),
        ("8/4", 32.18),
        ("6/6", 58.67),
        ("3/3", 19.96),
        ("1/1", 14.20),
    ],
)
def test_resnet18_at_batch_16(pair: str, millions: float, publish) -> None:
    accelerator = load_accelerator("bitfusion-isca18")
    rows = figures()
    layers = [
        layer_of(row).model_copy(update={"batch": 16})
        for row in rows[(rows.network == "ResNet18") & (rows.batch == 1)].iloc[:21].itertuples()
    ]
    total = 0
    for layer in layers:
        costs = COST_MODEL.layer_cost(layer, [Precision.parse(pair)], accelerator)
        total += int(costs.compute_cycles[0] + costs.stall_cycles[0])
    assert round(total / 1e6, 2) == millions
    quantity = f"total cycles of ResNet-18 at {pair}, batch 16"
    publish("bit_fusion", SIMULATOR, quantity, len(layers), "equal to the digits given")


def test_the_first_layer_is_recognised_without_being_told() -> None:
    rows = hsharma()
    accelerator = load_accelerator("bitfusion-isca18")
    convolutions = rows[rows.op == "conv"].drop_duplicates(["C", "K", "R", "H", "stride"])
    for row in convolutions.itertuples():
        told = layer_of(row)
        untold = told.model_copy(update={"im2col": None})
        pair = [Precision(int(row.wbits), int(row.abits))]
        costs = [COST_MODEL.layer_cost(layer, pair, accelerator) for layer in (told, untold)]
        assert columns_of(costs[0], 0) == columns_of(costs[1], 0), row.layer


@pytest.mark.parametrize("column", [*CYCLES, "total_cycles"])
def test_every_row_of_the_ant_simulator_is_met_exactly(column: str, publish) -> None:
    rows = modelled("clevercool", "ant-bitfusion")
    assert len(rows) == 42
    assert (rows[column].astype("int64") == rows[f"my_{column}"]).all()
    publish("bit_fusion", ANT, f"`{column}`", len(rows), "equal")


def test_totals_of_resnet18_on_the_ant_simulator() -> None:
    rows = modelled("clevercool", "ant-bitfusion")
    totals = rows.groupby(rows.config.str[-3:]).my_total_cycles.sum().to_dict()
    assert totals == {"bit": 102_543_576, "ant": 33_917_312}


# Layer, narrower pair, wider pair: where fewer bits take more cycles, because a tile that stays
# resident is loaded before the first cycle.
LAYER1 = [("5/5", "8/8"), ("6/6", "8/8"), ("7/3", "8/4")]
SLOWER_WITH_FEWER_BITS = {
    ("ResNet18", layer, *pairs)
    for layer in (
        *(f"layer1.{block}.conv{conv}" for block in (0, 1) for conv in (1, 2)),
        "layer2.0.conv1",
    )
    for pairs in LAYER1
} | {
    ("ResNet18", "layer3.0.downsample", "2/2", "2/4"),
    ("ResNet18", "layer3.0.downsample", "2/2", "3/3"),
    ("ResNet18", "fc", "2/2", "2/4"),
    ("ResNet18", "fc", "2/2", "2/8"),
}


def _inversions(rows: pd.DataFrame, cycles: str) -> set[tuple[str, str, str, str]]:
    found = set()
    shape = ["network", "layer", "C", "H", "K", "R", "stride", "batch"]
    for (network, layer, *_), group in rows.groupby(shape):
        members = list(group.itertuples())
        for few in members:
            for many in members:
                narrower = few.wbits <= many.wbits and few.abits <= many.abits
                if narrower and getattr(few, cycles) > getattr(many, cycles):
                    pairs = (f"{r.wbits}/{r.abits}" for r in (few, many))
                    found.add((network, layer, *pairs))
    return found


def test_fewer_bits_cost_more_cycles_in_the_simulators_19_pairs_only(publish) -> None:
    rows = hsharma()
    assert len(SLOWER_WITH_FEWER_BITS) == 19
    assert _inversions(rows, "total_cycles") == SLOWER_WITH_FEWER_BITS
    assert _inversions(rows, "my_total_cycles") == SLOWER_WITH_FEWER_BITS
    assert _inversions(rows, "my_compute_cycles") == set()
    quantity = "pairs in which fewer bits take more cycles"
    publish("bit_fusion", SIMULATOR, quantity, 19, "the same pairs")


def test_the_realistic_machine_has_no_such_pair() -> None:
    rows = hsharma()
    rows = rows[(rows.network == "ResNet18") & (rows.batch == 1)]
    accelerator = load_accelerator("bitfusion-realistic")
    for layer, group in rows.groupby(["C", "H", "K", "R", "stride"]):
        group = group.drop_duplicates(["wbits", "abits"])
        pairs = [Precision(int(r.wbits), int(r.abits)) for r in group.itertuples()]
        costs = COST_MODEL.layer_cost(layer_of(next(group.itertuples())), pairs, accelerator)
        group = group.assign(mine=costs.compute_cycles + costs.stall_cycles)
        assert _inversions(group, "mine") == set(), layer


def resnet20(size: int) -> list[tuple[MultiplyLayer, bool]]:
    """ResNet-20 with 1 x 1 shortcuts on grey images, and whether a layer is first or last."""

    def conv(inputs: int, size: int, outputs: int, kernel: int, stride: int) -> MultiplyLayer:
        return Conv2d(
            name="x",
            in_channels=inputs,
            in_height=size,
            in_width=size,
            out_channels=outputs,
            kernel_size=kernel,
            stride=stride,
            padding=kernel // 2,
        )

    layers = [(conv(1, size, 16, 3, 1), True)]
    channels = 16
    for width in (16, 32, 64):
        for block in range(3):
            stride = 2 if width > channels and block == 0 else 1
            layers.append((conv(channels, size, width, 3, stride), False))
            layers.append((conv(width, size // stride, width, 3, 1), False))
            if stride == 2:
                layers.append((conv(channels, size, width, 1, 2), False))
            size, channels = size // stride, width
    return [*layers, (Linear(name="x", in_features=64, out_features=10), True)]


@pytest.mark.parametrize(
    ("name", "four_bits", "two_bits"),
    [("bitfusion-edge", 0.263, 0.171), ("bitfusion-isca18", 0.743, 0.667)],
)
def test_small_networks_gain_from_few_bits_on_the_small_array(
    name: str, four_bits: float, two_bits: float
) -> None:
    # Given for ResNet-20 on 8 x 8 digits; here the first and the last layer stay at 8/8 bits.
    accelerator = load_accelerator(name)
    cycles = [0, 0, 0]
    for layer, fixed in resnet20(8):
        costs = COST_MODEL.layer_cost(layer, [Precision(b, b) for b in (8, 4, 2)], accelerator)
        latency = costs.compute_cycles + costs.stall_cycles
        cycles = [sofar + int(latency[0 if fixed else i]) for i, sofar in enumerate(cycles)]
    assert cycles[1] / cycles[0] == pytest.approx(four_bits, abs=1e-3)
    assert cycles[2] / cycles[0] == pytest.approx(two_bits, abs=1e-3)


def test_pointwise_entries_of_the_table_that_apq_published(publish) -> None:
    if not APQ.exists():
        pytest.skip(
            "APQ's table (mit-han-lab/apq, MIT) may not be copied and is not beside the project"
        )
    table = pd.read_csv(APQ)
    accelerator = load_accelerator("bitfusion-isca18")
    # Two of its entries are figures of this simulator; its variant is unreleased.
    for filters, pair, cycles in ((456, (8, 8), 37_068), (480, (4, 8), 33_104)):
        shape = {"C": 96, "H": 14, "K": filters, "R": 1, "groups": 1}
        wanted = pd.Series(shape | {"wbits": pair[0], "abits": pair[1]})
        entry = table[(table[wanted.index] == wanted).all(axis=1)]
        assert set(entry.cycles_at_500MHz.astype(int)) == {cycles}
        layer = Conv2d(
            name="x",
            in_channels=96,
            in_height=14,
            in_width=14,
            out_channels=filters,
            kernel_size=1,
        )
        costs = COST_MODEL.layer_cost(layer, [Precision(*pair)], accelerator)
        assert int(costs.compute_cycles[0] + costs.stall_cycles[0]) == cycles
    reference = "APQ's latency table (third party)"
    publish("bit_fusion", reference, "cycles of two pointwise layers", 2, "equal")
