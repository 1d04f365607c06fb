"""Frames behind a report: sums agree with the cost table, ratios with hand-worked numbers."""

import pandas as pd
import pytest

from hwmpq.cost.table import CSV_COLUMNS, CostTable
from hwmpq.precision import Precision
from hwmpq.report.tables import (
    average_bits,
    component_frame,
    fold_unchoosable,
    layer_frame,
    precision_grid_frame,
    summed,
    total_row,
    uniform_bits,
)

EIGHT = Precision(8, 8)


def test_layer_columns_begin_as_the_cost_csv_and_say_what_bounds_each_layer(
    costs: CostTable,
) -> None:
    frame = layer_frame(costs, costs.uniform(EIGHT))
    assert tuple(frame.columns[: len(CSV_COLUMNS)]) == CSV_COLUMNS
    # The fourth layer computes 23000 * 64 / 64 / 16 = 1437 cycles and waits (2300 * 8 + 640) / 4.
    fourth = frame.iloc[3]
    assert fourth["compute_cycles"] == 1437
    assert fourth["stall_cycles"] == 4760
    assert fourth["limited_by"] == "memory"
    assert fourth["bound_ratio"] == pytest.approx((1437 + 4760) / (1437 * 4 // 5))
    assert set(frame["limited_by"].drop(3)) == {"compute"}


def test_operators_without_a_choice_have_no_bits(costs: CostTable) -> None:
    frame = layer_frame(costs, costs.uniform(EIGHT))
    assert frame["weight_bits"].tolist()[:4] == [8, 8, 8, 8]
    assert pd.isna(frame["weight_bits"].iloc[4])


def test_reference_ratios_compare_with_the_reference(costs: CostTable) -> None:
    bits = costs.uniform(Precision(4, 4))
    frame = layer_frame(costs, bits, costs.uniform(EIGHT))
    # 8000 MACs: 8000 * 16 / 1024 = 125 cycles against 8000 * 64 / 1024 = 500.
    assert frame["latency_cycles_vs_reference"].iloc[0] == 0.25
    assert frame["latency_cycles_vs_reference"].iloc[4] == 1


def test_folding_keeps_totals_and_gathers_vector_operators(costs: CostTable) -> None:
    frame = layer_frame(costs, costs.uniform(Precision(2, 8)), costs.uniform(EIGHT))
    folded = fold_unchoosable(frame, keep=0)
    assert folded["layer"].iloc[-1] == "1 vector operators"
    for column in ("latency_cycles", "energy_pj", "reference_energy_pj", "weight_memory_bits"):
        assert folded[column].sum() == pytest.approx(frame[column].sum())
    assert fold_unchoosable(frame, keep=1) is frame


def test_summed_rows_are_the_network_totals(costs: CostTable) -> None:
    bits = costs.uniform(Precision(4, 8))
    row = summed(layer_frame(costs, bits, costs.uniform(EIGHT)))
    assert row["latency_cycles"] == costs.total("latency_cycles", bits)
    before = costs.total("energy_pj", costs.uniform(EIGHT))
    assert row["energy_pj_vs_reference"] == pytest.approx(row["energy_pj"] / before)
    assert "weight_bits" not in row


def test_components_add_up_to_the_energy(costs: CostTable) -> None:
    bits = costs.uniform(EIGHT)
    frame = component_frame(costs, {"chosen": bits})
    assert frame["chosen"].sum() == pytest.approx(costs.total("energy_pj", bits))
    assert dict(zip(frame["component"], frame["group"], strict=True)) == {
        "compute.array": "compute",
        "sram.weight_buffer": "sram",
        "dram": "dram",
        "leakage": "leakage",
    }


def test_total_row_weighs_utilisation_by_busy_cycles(costs: CostTable) -> None:
    row = total_row(costs, costs.uniform(EIGHT))
    assert row["utilization"] == pytest.approx(0.8)
    assert row["latency_s"] == row["latency_cycles"] / 500_000_000
    assert row["latency_cycles"] == row["compute_cycles"] + row["stall_cycles"]


def test_average_bits_weigh_layers_by_their_elements(costs: CostTable) -> None:
    first, *rest = costs.choosable_layers
    bits = {first: EIGHT, **dict.fromkeys(rest, Precision(2, 4))}
    # Weights of the layers: 160, 260, 360, 460.
    weights, activations = average_bits(costs, bits)
    assert weights == pytest.approx((160 * 8 + 1080 * 2) / 1240)
    assert activations == pytest.approx((8 + 3 * 4) / 4)


def test_precision_grid_holds_every_uniform_total(costs: CostTable) -> None:
    frame = precision_grid_frame(costs, "latency_cycles")
    assert list(frame.index) == [2, 4, 8]
    assert list(frame.columns) == [4, 8]
    assert frame.loc[8, 8] == costs.total("latency_cycles", costs.uniform(EIGHT))


def test_uniform_bits_are_named(costs: CostTable) -> None:
    assert uniform_bits({"a": EIGHT, "b": EIGHT}) == "8/8"
    assert uniform_bits({"a": EIGHT, "b": Precision(4, 8)}) == "mixed"
