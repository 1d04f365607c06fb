"""The figure of how a run went: accuracy, loss and costs over epochs, rounds marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hwmpq.report.grid import records
from hwmpq.report.style import BLUE, CATEGORIES, GREEN, GREY, INK, VERMILION, dress, label

Mark: TypeAlias = dict[str, Any]
_PHASE_FILL: Final = {"warm-up": "#EEF1F4", "search": "#FFFFFF", "fine-tune": "#E8F3EC"}
_MOST_NUMBERS: Final = 30


def training_figure(
    epochs: pd.DataFrame,
    rounds: pd.DataFrame,
    *,
    float_accuracy: float | None,
    costs: Mapping[str, float | None],
) -> go.Figure:
    """Accuracy, loss and budgeted costs over the epochs of the quantised network.

    Args:
        epochs: columns epoch, phase, train_loss, validation_accuracy.
        rounds: columns round, epoch, changed_layers, and one a name of ``costs``, relative to the
            reference.
        float_accuracy: validation accuracy of the float baseline.
        costs: title of each drawn cost -> its limit relative to the reference, if it has one.
    """
    figure = make_subplots(
        rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.4, 0.3, 0.3]
    )
    ends = epochs["epoch"] + 1
    curves = (
        ("validation_accuracy", "validation accuracy", BLUE),
        ("train_loss", "training loss", VERMILION),
    )
    for row, (column, title, colour) in enumerate(curves, start=1):
        figure.add_trace(
            go.Scatter(
                x=ends.tolist(), y=epochs[column].tolist(), mode="lines+markers", name=title,
                line={"color": colour, "width": 2}, marker={"size": 5}, showlegend=False,
                hovertemplate=f"after epoch %{{x}}<br>{title}: %{{y:.4f}}<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip
    if float_accuracy is not None:
        figure.add_hline(
            y=float_accuracy, line={"color": INK, "dash": "dash", "width": 1}, row=1, col=1,
            annotation_text="float baseline", annotation_position="top left",
            annotation_font_size=11,
        )  # fmt: skip
    _cost_steps(figure, rounds, costs, end=float(ends.max()) if len(ends) else 1.0)
    bands, names = _phases(epochs)
    lines, numbers = _rounds(rounds)
    # Set at once: plotly checks every mark anew whenever one is added.
    figure.layout.shapes = (*bands, *lines, *figure.layout.shapes)
    figure.layout.annotations = (*names, *numbers, *figure.layout.annotations)
    dress(figure, height=560)
    figure.update_layout(
        margin={"l": 10, "r": 20, "t": 46, "b": 70},
        showlegend=len(costs) > 1,
        legend={"orientation": "h", "x": 0, "y": -0.11, "yanchor": "top", "font": {"size": 11}},
    )
    figure.update_yaxes(title_text="accuracy", tickformat=".0%", row=1, col=1)
    figure.update_yaxes(title_text="loss", rangemode="tozero", row=2, col=1)
    drawn = label(next(iter(costs), "")) if len(costs) == 1 else "cost"
    figure.update_yaxes(title_text=f"{drawn} of reference", rangemode="tozero", row=3, col=1)
    figure.update_xaxes(title_text="epochs finished", row=3, col=1)
    figure.update_xaxes(range=[0, float(ends.max()) if len(ends) else 1.0], showgrid=False)
    return figure


def _cost_steps(
    figure: go.Figure, rounds: pd.DataFrame, costs: Mapping[str, float | None], *, end: float
) -> None:
    for (title, limit), colour in zip(costs.items(), CATEGORIES * len(costs), strict=False):
        if title not in rounds or rounds.empty:
            continue
        figure.add_trace(
            go.Scatter(
                x=[*rounds["epoch"].tolist(), end],
                y=[*rounds[title].tolist(), rounds[title].iloc[-1]],
                mode="lines+markers", line={"shape": "hv", "color": colour, "width": 2},
                name=label(title), marker={"size": 6},
                hovertemplate=f"%{{x}} epochs<br>{label(title)}: %{{y:.4f}}<extra></extra>",
            ),
            row=3, col=1,
        )  # fmt: skip
        if limit is not None:
            figure.add_hline(
                y=limit, line={"color": colour, "dash": "dash", "width": 1}, row=3, col=1,
                annotation_text=f"limit of {label(title)}", annotation_position="bottom left",
                annotation_font_size=11,
            )  # fmt: skip


def _phases(epochs: pd.DataFrame) -> tuple[list[Mark], list[Mark]]:
    """A band and a name for each stretch of epochs of one phase."""
    bands: list[Mark] = []
    names: list[Mark] = []
    change = epochs["phase"] != epochs["phase"].shift()
    for _, block in epochs.groupby(change.cumsum()):
        phase = str(block["phase"].iloc[0])
        first, last = float(block["epoch"].min()), float(block["epoch"].max()) + 1
        bands.append(
            {
                "type": "rect", "xref": "x", "yref": "paper", "x0": first, "x1": last, "y0": 0,
                "y1": 1, "fillcolor": _PHASE_FILL.get(phase, "#FFFFFF"), "layer": "below",
                "line": {"width": 0},
            }
        )  # fmt: skip
        names.append(_note((first + last) / 2, label(phase), GREY, shift=16, size=11))
    return bands, names


def _rounds(rounds: pd.DataFrame) -> tuple[list[Mark], list[Mark]]:
    """A line for each round, and numbers for as many as there is room for."""
    lines: list[Mark] = []
    numbers: list[Mark] = []
    every = -(-len(rounds) // _MOST_NUMBERS)
    for record in records(rounds):
        colour, epoch = GREEN if record["changed_layers"] else GREY, float(record["epoch"])
        lines.append(
            {
                "type": "line", "xref": "x", "yref": "paper", "x0": epoch, "x1": epoch, "y0": 0,
                "y1": 1, "line": {"color": colour, "dash": "dot", "width": 1},
            }
        )  # fmt: skip
        if record["round"] % every == 0:
            numbers.append(_note(epoch, f"r{record['round']}", colour, shift=2, size=10))
    return lines, numbers


def _note(x: float, text: str, colour: str, *, shift: int, size: int) -> Mark:
    """Text above the plots."""
    return {
        "x": x, "y": 1, "xref": "x", "yref": "paper", "yshift": shift, "yanchor": "bottom",
        "text": text, "showarrow": False, "font": {"size": size, "color": colour},
    }  # fmt: skip
