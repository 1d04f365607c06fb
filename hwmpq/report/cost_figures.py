"""Figures of what whole networks cost: data in, figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hwmpq.report.columns import ENERGY_TITLES
from hwmpq.report.grid import short, whole
from hwmpq.report.style import ENERGY_COLOURS, LATENCY_COLOURS, dress, label
from hwmpq.units import format_energy

LATENCY_TITLES: Final = {"compute": "computing", "stall": "waiting for memory"}
_SCALES: Final = ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))


def energy_scale(largest_pj: float) -> tuple[float, str]:
    """Factor and unit in which an axis up to a value reads best.

    >>> energy_scale(3.2e7)
    (1000000.0, 'µJ')
    """
    return next(((f, u) for f, u in _SCALES if largest_pj >= f), _SCALES[-1])


def totals_figure(
    latency: pd.DataFrame, energy: pd.DataFrame, *, unit: str = "cycles", highlight: str = ""
) -> go.Figure:
    """Latency and energy of whole networks by component, one bar each.

    Args:
        latency: ``[bars, compute | stall]`` in ``unit``.
        energy: ``[bars, compute | sram | dram | leakage]`` in pJ.
        unit: of the latencies.
        highlight: the bar to name in bold.
    """
    names = [f"<b>{label(n)}</b>" if n == highlight else label(str(n)) for n in latency.index]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    cycles = latency.sum(axis=1).tolist()
    texts = [whole(value) if unit == "cycles" else short(value) for value in cycles]
    _panel(figure, latency, names, texts, LATENCY_TITLES, LATENCY_COLOURS, column=1, unit=unit)
    joules = energy.sum(axis=1).tolist()
    factor, energy_unit = energy_scale(max(joules))
    texts = [format_energy(value) for value in joules]
    scaled = energy / factor
    _panel(figure, scaled, names, texts, ENERGY_TITLES, ENERGY_COLOURS, column=2, unit=energy_unit)
    dress(figure, height=116 + 40 * len(names))
    common = {"orientation": "h", "xanchor": "left", "yanchor": "bottom", "y": 1.02}
    figure.update_layout(
        barmode="stack",
        bargap=0.35,
        margin={"l": 10, "r": 60, "t": 50, "b": 46},
        legend={**common, "x": figure.layout.xaxis.domain[0], "traceorder": "normal"},
        legend2={**common, "x": figure.layout.xaxis2.domain[0], "traceorder": "normal"},
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text=f"latency, {unit}", row=1, col=1)
    figure.update_xaxes(title_text=f"energy, {energy_unit}", row=1, col=2)
    return figure


def _panel(
    figure: go.Figure,
    frame: pd.DataFrame,
    names: Sequence[str],
    texts: Sequence[str],
    titles: Mapping[str, str],
    colours: Mapping[str, str],
    *,
    column: int,
    unit: str,
) -> None:
    """Stacked bars with their totals written at the end."""
    for part, title in titles.items():
        if not frame[part].any():
            continue
        figure.add_trace(
            go.Bar(
                y=names, x=frame[part].tolist(), orientation="h", name=title,
                legend="legend" if column == 1 else f"legend{column}",
                marker={"color": colours[part]},
                hovertemplate=f"%{{y}}<br>{title}: %{{x:,.4~g}} {unit}<extra></extra>",
            ),
            row=1, col=column,
        )  # fmt: skip
    ends = frame.sum(axis=1).tolist()
    for name, text, end in zip(names, texts, ends, strict=True):
        figure.add_annotation(
            x=end, y=name, text=text, showarrow=False, xanchor="left", xshift=6,
            font={"size": 11}, row=1, col=column,
        )  # fmt: skip
    # Room for the text behind the longest bar.
    figure.update_xaxes(range=[0, max(ends) * 1.2 or 1], row=1, col=column)


def precision_heatmap(frame: pd.DataFrame, *, title: str) -> go.Figure:
    """A total at every uniform precision, relative to the most bits, in cells.

    Args:
        frame: ``[weight bits, activation bits]``, as `tables.precision_grid_frame` gives.
        title: what the total is.
    """
    totals = frame.to_numpy(dtype=np.float64)
    values = (totals / totals[-1, -1]).tolist()
    figure = go.Figure(
        go.Heatmap(
            x=[str(column) for column in frame.columns],
            y=[str(row) for row in frame.index],
            z=values,
            text=[[f"{value:.2f}x" for value in row] for row in values],
            texttemplate="%{text}",
            textfont={"size": 11},
            colorscale=[[0, "#F1F6FB"], [0.5, "#7FB2D6"], [1, "#0B4A78"]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="weights %{y} bits, activations %{x} bits: %{text}<extra></extra>",
        )
    )
    dress(figure, height=90 + 34 * len(frame))
    figure.update_layout(margin={"l": 10, "r": 10, "t": 34, "b": 46}, title=None)
    figure.add_annotation(
        text=f"<b>{label(title)}</b>", x=0, y=1, xref="paper", yref="paper", yshift=24,
        xanchor="left", showarrow=False, font={"size": 13},
    )  # fmt: skip
    figure.update_xaxes(title_text="activation bits", type="category", showgrid=False)
    figure.update_yaxes(title_text="weight bits", type="category", showgrid=False)
    return figure
