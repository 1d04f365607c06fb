"""Figures of bits, scores and accuracies of runs: data in, figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hwmpq.report.grid import short
from hwmpq.report.layer_figure import bit_bounds, bits_heatmap, unique_labels
from hwmpq.report.style import (
    CATEGORIES,
    ORANGE,
    ROW_PX,
    dress,
    label,
)

_SYMBOLS: Final = ("circle", "diamond", "square", "triangle-up", "star", "cross", "x")
_MOST_NUMBERED: Final = 40
"""Columns up to which the cells of a heat map are wide enough for a number."""


def bits_over_rounds(weights: pd.DataFrame, activations: pd.DataFrame) -> go.Figure:
    """Bits in force after each round, one heat map for weights and one for activations.

    Args:
        weights: weight bits, ``[layers, rounds]``.
        activations: activation bits, ``[layers, rounds]``.
    """
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=("<b>Weights</b>", "<b>Activations</b>"),
    )  # fmt: skip
    names = unique_labels([str(name) for name in weights.index])
    columns = [str(column) for column in weights.columns]
    bounds = bit_bounds(weights, activations)
    wide = len(columns) <= _MOST_NUMBERED
    for column, widths in ((1, weights), (2, activations)):
        trace = bits_heatmap(columns, widths, rows=names, bounds=bounds, text=wide)
        figure.add_trace(trace, row=1, col=column)
    _finish_cells(figure, rows=len(names), title="round")
    figure.update_annotations(font_size=13)
    return figure


def bits_of_runs(weights: pd.DataFrame, activations: pd.DataFrame) -> go.Figure:
    """Final bits of several runs side by side, ``[layers, runs]``."""
    figure = bits_over_rounds(weights, activations)
    figure.update_xaxes(title_text="", tickangle=-30 if weights.shape[1] > 3 else 0)
    return figure


def sensitivity_heatmap(frame: pd.DataFrame, chosen: Mapping[str, str] | None = None) -> go.Figure:
    """Scores of the allocator by layer and precision; dark cells hurt most.

    Colours are logarithmic over the positive scores; scores of zero or less keep the lightest
    colour and show their value on hovering.

    Args:
        frame: ``[layers, precisions]``.
        chosen: precision that each layer got, marked with a dot.
    """
    values = frame.to_numpy(dtype=float)
    positive = values[np.isfinite(values) & (values > 0)]
    floor = float(positive.min()) if positive.size else 1.0
    ceiling = float(positive.max()) if positive.size else 1.0
    logarithm = np.log10(np.clip(np.nan_to_num(values, nan=floor), floor, None))
    low, high = np.log10(floor), np.log10(ceiling)
    ticks = _log_ticks(low, high)
    names = unique_labels([str(name) for name in frame.index])
    figure = go.Figure(
        go.Heatmap(
            x=[str(column) for column in frame.columns],
            y=names,
            z=logarithm.tolist(),
            customdata=values.tolist(),
            zmin=float(low),
            zmax=float(high) if high > low else float(low) + 1,
            colorscale="Blues",
            xgap=1,
            ygap=1,
            colorbar={
                "title": {"text": "score", "side": "top"},
                "thickness": 14,
                "tickvals": ticks,
                "ticktext": [short(10**tick) for tick in ticks],
                "len": 1,
            },
            hovertemplate="%{y}<br>%{x}: %{customdata:.4g}<extra></extra>",
        )
    )
    marked = [(chosen or {}).get(str(name)) for name in frame.index]
    figure.add_trace(
        go.Scatter(
            x=marked, y=names, mode="markers", hoverinfo="skip", showlegend=False,
            marker={"symbol": "circle", "size": 9, "color": ORANGE,
                    "line": {"width": 1.5, "color": "white"}},
        )
    )  # fmt: skip
    _finish_cells(figure, rows=len(frame), title="weight bits / activation bits")
    figure.update_xaxes(categoryorder="array", categoryarray=list(map(str, frame.columns)))
    return figure


def _log_ticks(low: float, high: float) -> list[float]:
    if high - low < 1:
        return [float(low), float(high)] if high > low else [float(low)]
    step = max(1, int(np.ceil((high - low) / 6)))
    return [float(tick) for tick in range(int(np.ceil(low)), int(np.floor(high)) + 1, step)]


def _finish_cells(figure: go.Figure, *, rows: int, title: str) -> None:
    dress(figure, height=84 + ROW_PX * max(rows, 3))
    figure.update_layout(margin={"l": 10, "r": 10, "t": 36, "b": 48})
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", ticks="")
    figure.update_xaxes(title_text=title, showgrid=False, type="category")


def accuracy_figure(frame: pd.DataFrame, *, costs: Sequence[tuple[str, str]]) -> go.Figure:
    """Test accuracy of runs against each cost, one colour and symbol a method.

    Args:
        frame: columns run, method, test_accuracy, and the columns of ``costs``.
        costs: column and axis title of each panel.
    """
    figure = make_subplots(rows=1, cols=len(costs), shared_yaxes=True, horizontal_spacing=0.05)
    for index, (method, group) in enumerate(frame.groupby("method", sort=False)):
        for column, (key, title) in enumerate(costs, start=1):
            figure.add_trace(
                go.Scatter(
                    x=group[key].tolist(), y=group["test_accuracy"].tolist(), mode="markers",
                    name=label(str(method)), legendgroup=str(index), showlegend=column == 1,
                    text=[label(str(run)) for run in group["run"]],
                    marker={
                        "size": 11, "color": CATEGORIES[index % len(CATEGORIES)],
                        "symbol": _SYMBOLS[index % len(_SYMBOLS)],
                        "line": {"width": 1, "color": "white"},
                    },
                    hovertemplate=f"%{{text}}<br>{title}: %{{x:.4g}}<br>%{{y:.2%}}<extra></extra>",
                ),
                row=1, col=column,
            )  # fmt: skip
            figure.update_xaxes(title_text=title, rangemode="tozero", row=1, col=column)
    baselines = frame["float_test_accuracy"].dropna().unique()
    if len(baselines) == 1:
        figure.add_hline(
            y=float(baselines[0]), line={"color": ORANGE, "dash": "dash", "width": 1},
            annotation_text="float baseline", annotation_font_size=11,
        )  # fmt: skip
    dress(figure, height=380)
    figure.update_layout(
        margin={"l": 10, "r": 20, "t": 50, "b": 46},
        legend={"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom"},
    )
    figure.update_yaxes(tickformat=".1%")
    figure.update_yaxes(title_text="test accuracy", row=1, col=1)
    return figure
