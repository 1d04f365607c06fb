"""Figures show the numbers they are given, at any number of layers."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from hwmpq.codesign.folder import Run
from hwmpq.cost.table import CostTable
from hwmpq.precision import Precision
from hwmpq.report.cost_figures import energy_scale, precision_heatmap, totals_figure
from hwmpq.report.layer_figure import bit_bounds, layer_profile, unique_labels
from hwmpq.report.run_figures import (
    accuracy_figure,
    bits_over_rounds,
    sensitivity_heatmap,
)
from hwmpq.report.run_tables import comparison_frame, epoch_frame, round_frame
from hwmpq.report.style import bit_colours, shorten
from hwmpq.report.tables import layer_frame, precision_grid_frame
from hwmpq.report.training_figure import training_figure

EIGHT = Precision(8, 8)


def _bars(figure: go.Figure, name: str, legend: str) -> go.Bar:
    found = [
        trace
        for trace in figure.data
        if isinstance(trace, go.Bar) and trace.name == name and trace.legend == legend
    ]
    assert len(found) == 1
    return found[0]


def test_layer_profile_stacks_to_the_latency_of_each_layer(costs: CostTable) -> None:
    frame = layer_frame(costs, costs.uniform(Precision(4, 4)), costs.uniform(EIGHT))
    figure = layer_profile(frame, reference="8/8")
    busy = _bars(figure, "computing", "legend")
    waiting = _bars(figure, "waiting for memory", "legend")
    assert list(waiting.base) == list(busy.x)
    ends = np.add(waiting.base, waiting.x)
    assert ends.tolist() == frame["latency_cycles"].tolist()
    whole = _bars(figure, "all 8/8", "legend")
    assert list(whole.x) == frame["reference_latency_cycles"].tolist()


def test_layer_profile_writes_bits_into_the_cells(costs: CostTable) -> None:
    bits = {**costs.uniform(EIGHT), "conv1": Precision(2, 4)}
    figure = layer_profile(layer_frame(costs, bits))
    heatmap = next(trace for trace in figure.data if isinstance(trace, go.Heatmap))
    assert [list(row) for row in heatmap.text[:2]] == [["2", "4"], ["8", "8"]]
    assert list(heatmap.text[-1]) == ["", ""]


def test_layer_profile_gives_every_layer_the_same_room(
    build_costs: Callable[..., CostTable],
) -> None:
    heights = []
    for count in (10, 70):
        costs = build_costs([f"layer{i}" for i in range(count)])
        heights.append(layer_profile(layer_frame(costs, costs.uniform(EIGHT))).layout.height)
    assert heights[1] - heights[0] == 60 * 24


def test_labels_are_harmless_short_and_different() -> None:
    long = "backbone.very.long.path.to.block"
    names = ["<i>a</i>", f"{long}.first.conv1.weight", f"{long}.other.conv1.weight"]
    labels = unique_labels(names)
    assert labels[0] == "&lt;i&gt;a&lt;/i&gt;"
    assert len(set(labels)) == 3
    assert all(len(shorten(name)) <= 34 for name in names)


def test_colours_of_bits_mean_the_same_from_two_to_eight() -> None:
    assert bit_bounds(pd.DataFrame({"a": [4, pd.NA]})) == (2, 8)
    assert bit_bounds(pd.DataFrame({"a": [1, 16]})) == (1, 16)
    scale = bit_colours(2, 8)
    assert scale[0][0] == 0
    assert scale[-1][0] == 1
    assert len({colour for _, colour in scale}) == 7


def test_totals_draw_only_components_that_cost() -> None:
    latency = pd.DataFrame({"compute": [3.0], "stall": [1.0]}, index=["a"])
    energy = pd.DataFrame(
        {"compute": [2e6], "sram": [1e6], "dram": [5e6], "leakage": [0.0]}, index=["a"]
    )
    figure = totals_figure(latency, energy)
    names = [trace.name for trace in figure.data]
    assert "leakage" not in names
    assert [list(trace.x) for trace in figure.data if trace.name == "DRAM"] == [[5.0]]
    assert {note.text for note in figure.layout.annotations} == {"4", "8 µJ"}


@pytest.mark.parametrize(("value", "unit"), [(3e13, "J"), (2e9, "mJ"), (5.0, "pJ"), (0.0, "pJ")])
def test_energy_axes_take_a_unit_that_reads_well(value: float, unit: str) -> None:
    assert energy_scale(value)[1] == unit


def test_precision_heatmap_is_relative_to_the_most_bits(costs: CostTable) -> None:
    figure = precision_heatmap(precision_grid_frame(costs, "latency_cycles"), title="Latency")
    assert figure.data[0].text[-1][-1] == "1.00x"


def test_training_figure_marks_rounds_limits_and_the_float_baseline(run: Run) -> None:
    rounds = round_frame(run.history, run.results.reference_totals)
    figure = training_figure(
        epoch_frame(run.history.epochs),
        rounds.rename(columns={"latency_vs_reference": "latency"}),
        float_accuracy=0.985,
        costs={"latency": 0.5},
    )
    texts = [note.text for note in figure.layout.annotations]
    assert {"r0", "r1", "r2", "float baseline", "limit of latency", "search", "fine-tune"} <= set(
        texts
    )
    steps = next(trace for trace in figure.data if trace.name == "latency")
    assert list(steps.y) == [
        *rounds["latency_vs_reference"],
        rounds["latency_vs_reference"].iloc[-1],
    ]


def test_many_rounds_are_not_all_labelled(run: Run) -> None:
    one = round_frame(run.history, run.results.reference_totals).iloc[:1]
    rounds = pd.concat([one.assign(round=i, epoch=i) for i in range(100)], ignore_index=True)
    figure = training_figure(
        epoch_frame(run.history.epochs), rounds, float_accuracy=None, costs={}
    )
    labels = [note.text for note in figure.layout.annotations if note.text.startswith("r")]
    assert 20 <= len(labels) <= 30


def test_bits_over_rounds_drop_numbers_that_do_not_fit() -> None:
    few = pd.DataFrame({str(i): [4] for i in range(5)}, index=["a"], dtype="Int64")
    many = pd.DataFrame({str(i): [4] for i in range(50)}, index=["a"], dtype="Int64")
    assert bits_over_rounds(few, few).data[0].texttemplate == "%{text}"
    crowded = bits_over_rounds(many, many).data[0]
    assert crowded.texttemplate is None
    assert crowded.showscale


def test_sensitivities_span_decades_and_keep_their_values() -> None:
    frame = pd.DataFrame({"2/8": [1e-6, 1.0], "8/8": [0.0, np.inf]}, index=["a", "b"])
    heatmap = sensitivity_heatmap(frame).data[0]
    assert (heatmap.zmin, heatmap.zmax) == (-6, 0)
    assert np.isfinite(np.array(heatmap.z, dtype=float)).all()
    assert heatmap.customdata[0][0] == 1e-6


def test_a_sensitivity_table_of_zeros_can_be_drawn() -> None:
    frame = pd.DataFrame({"8/8": [0.0, 0.0]}, index=["a", "b"])
    assert json.loads(sensitivity_heatmap(frame).to_json())


def test_accuracy_figure_shows_one_mark_a_run(run: Run) -> None:
    frame = comparison_frame([run, run])
    figure = accuracy_figure(frame, costs=[("latency_vs_reference", "latency")])
    assert len(figure.data) == 1
    assert list(figure.data[0].text) == ["run", "run (2)"]


def test_a_long_gathered_row_is_cut_and_its_total_written(costs: CostTable) -> None:
    frame = layer_frame(costs, costs.uniform(EIGHT))
    assert not [note for note in layer_profile(frame).layout.annotations if "→" in note.text]
    frame.loc[4, ["latency_cycles", "compute_cycles"]] = 1_000_000
    figure = layer_profile(frame)
    arrows = [note.text for note in figure.layout.annotations if "→" in note.text]
    assert arrows == ["1 M →"]
    longest = frame["latency_cycles"].iloc[:4].max()
    assert figure.layout.xaxis2.range[1] == pytest.approx(1.04 * longest)


def test_the_chosen_precision_of_each_layer_is_marked() -> None:
    frame = pd.DataFrame({"2/8": [2.0, 1.0], "8/8": [0.5, 0.1]}, index=["a", "b"])
    marks = sensitivity_heatmap(frame, {"a": "8/8", "b": "2/8"}).data[1]
    assert list(zip(marks.y, marks.x, strict=True)) == [("a", "8/8"), ("b", "2/8")]
