"""The figure of a network layer by layer: bits, latency, energy and distance to the roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hwmpq.report.columns import ENERGY_TITLES
from hwmpq.report.cost_figures import LATENCY_TITLES, energy_scale
from hwmpq.report.style import (
    BLUE,
    ENERGY_COLOURS,
    GREY,
    INK,
    LATENCY_COLOURS,
    ORANGE,
    PALE,
    ROW_PX,
    bit_colours,
    dress,
    label,
    shorten,
)
from hwmpq.units import format_count, format_energy


def bits_heatmap(
    columns: Sequence[str],
    widths: pd.DataFrame,
    *,
    rows: Sequence[str],
    bounds: tuple[int, int],
    text: bool = True,
) -> go.Heatmap:
    """Bit-widths as coloured cells that carry their number.

    Args:
        columns: titles of the columns.
        widths: ``[rows, columns]``, missing where there is nothing to choose.
        rows: titles of the rows.
        bounds: fewest and most bits of the colour scale.
        text: whether cells are wide enough for their number.
    """
    low, high = bounds
    values = [[None if pd.isna(v) else int(v) for v in row] for row in widths.to_numpy()]
    return go.Heatmap(
        x=list(columns),
        y=list(rows),
        z=values,
        text=[["" if v is None else str(v) for v in row] for row in values],
        texttemplate="%{text}" if text else None,
        textfont={"size": 11},
        hovertemplate="%{y}<br>%{x}: %{z} bits<extra></extra>",
        zmin=low - 0.5,
        zmax=high + 0.5,
        colorscale=bit_colours(low, high),
        showscale=not text,
        colorbar={"thickness": 14, "title": {"text": "bits", "side": "top"}},
        xgap=2,
        ygap=2,
    )


def bit_bounds(*frames: pd.DataFrame) -> tuple[int, int]:
    """Fewest and most bits in frames, at least from 2 to 8 so that colours mean the same."""
    values = [int(v) for frame in frames for v in frame.to_numpy().ravel() if not pd.isna(v)]
    return min([2, *values]), max([8, *values])


def _stack(
    figure: go.Figure,
    frame: pd.DataFrame,
    names: list[str],
    parts: dict[str, tuple[str, str, str]],
    *,
    column: int,
    factor: float,
    legend: str,
    unit: str,
) -> None:
    """Draw stacked bars as bars with a base, so that they can lie over a wider pale one."""
    base = pd.Series(0.0, index=frame.index)
    for key, (source, title, colour) in parts.items():
        length = frame[source] / factor
        figure.add_trace(
            go.Bar(
                y=names, x=length.tolist(), base=base.tolist(), orientation="h", width=0.5,
                name=title, marker={"color": colour, "line": {"width": 0}}, legend=legend,
                customdata=length.tolist(), meta=key,
                hovertemplate=f"%{{y}}<br>{title}: %{{customdata:,.4~g}} {unit}<extra></extra>",
            ),
            row=1, col=column,
        )  # fmt: skip
        base = base + length


def _reference_bars(
    figure: go.Figure,
    values: pd.Series,
    names: list[str],
    title: str,
    *,
    column: int,
    legend: str,
    unit: str,
) -> None:
    figure.add_trace(
        go.Bar(
            y=names, x=values.tolist(), orientation="h", width=0.86, name=title, legend=legend,
            marker={"color": PALE, "line": {"width": 0}},
            hovertemplate=f"%{{y}}<br>{title}: %{{x:,.4~g}} {unit}<extra></extra>",
        ),
        row=1, col=column,
    )  # fmt: skip


def layer_profile(frame: pd.DataFrame, *, reference: str = "") -> go.Figure:
    """Bits, latency, energy and distance to the roofline of every layer, side by side.

    Args:
        frame: as `tables.layer_frame` gives, folded for charts.
        reference: name of the reference, such as ``8/8``; empty when the frame has none.
    """
    names = unique_labels(frame["layer"])
    widths = frame[["weight_bits", "activation_bits"]]
    figure = make_subplots(
        rows=1, cols=4, shared_yaxes=True, horizontal_spacing=0.018,
        column_widths=[0.09, 0.35, 0.35, 0.21],
    )  # fmt: skip
    figure.add_trace(
        bits_heatmap(["W", "A"], widths, rows=names, bounds=bit_bounds(widths)), row=1, col=1
    )
    if reference:
        _reference_bars(
            figure, frame["reference_latency_cycles"], names, f"all {reference}",
            column=2, legend="legend", unit="cycles",
        )  # fmt: skip
    latency = {
        part: (f"{part}_cycles", LATENCY_TITLES[part], LATENCY_COLOURS[part])
        for part in ("compute", "stall")
    }
    _stack(
        figure, frame, names, latency, column=2, factor=1.0, legend="legend", unit="cycles",
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            y=names, x=frame["latency_bound_cycles"].tolist(), mode="markers", legend="legend",
            name="lower bound", showlegend=False,
            marker={"symbol": "line-ns", "size": 13, "line": {"width": 2, "color": INK}},
            hovertemplate="%{y}<br>lower bound: %{x:,.4~g} cycles<extra></extra>",
        ),
        row=1, col=2,
    )  # fmt: skip
    columns = ["energy_pj", *(["reference_energy_pj"] if reference else [])]
    factor, unit = energy_scale(float(frame[columns].max().max()))
    if reference:
        _reference_bars(
            figure, frame["reference_energy_pj"] / factor, names, f"all {reference}",
            column=3, legend="legend2", unit=unit,
        )  # fmt: skip
    energy = {
        group: (f"energy_{group}_pj", ENERGY_TITLES[group], colour)
        for group, colour in ENERGY_COLOURS.items()
        if frame[f"energy_{group}_pj"].any()
    }
    _stack(
        figure, frame, names, energy, column=3, factor=factor, legend="legend2", unit=unit
    )  # fmt: skip
    _roofline_distance(figure, frame, names)
    height = 96 + 46 + ROW_PX * len(frame)
    dress(figure, height=height)
    figure.update_layout(
        barmode="overlay",
        margin={"l": 10, "r": 10, "t": 96, "b": 46},
        **_legends(figure, height),
    )
    figure.update_yaxes(range=[len(names) - 0.5, -0.5], showgrid=False, zeroline=False)
    figure.update_xaxes(rangemode="tozero", zeroline=False)
    figure.update_xaxes(side="top", showgrid=False, fixedrange=True, row=1, col=1)
    _cut(figure, frame, "latency_cycles", names, column=2, factor=1.0, show=format_count)
    _cut(figure, frame, "energy_pj", names, column=3, factor=factor, show=format_energy)
    figure.update_xaxes(title_text="cycles", row=1, col=2)
    figure.update_xaxes(title_text=unit, row=1, col=3)
    return figure


def _cut(
    figure: go.Figure,
    frame: pd.DataFrame,
    cost: str,
    names: list[str],
    *,
    column: int,
    factor: float,
    show: Callable[[float], str],
) -> None:
    """End an axis at the longest layer, and write what a longer gathered row comes to.

    Dozens of small operators in one row would otherwise dwarf the layers that have a choice.
    """
    reference = f"reference_{cost}"
    values = frame[[cost, reference]].max(axis=1) if reference in frame else frame[cost]
    layers = values[frame["choosable"]]
    longest = float(layers.max()) if len(layers) else 0.0
    if longest <= 0 or float(values.max()) <= 1.1 * longest:
        return
    figure.update_xaxes(range=[0, 1.04 * longest / factor], row=1, col=column)
    for name, value in zip(names, values, strict=True):
        if value > longest:
            figure.add_annotation(
                x=1.03 * longest / factor, y=name, text=f"{show(value)} →", xanchor="right",
                showarrow=False, font={"size": 11}, bgcolor="rgba(255,255,255,0.85)",
                row=1, col=column,
            )  # fmt: skip


def _roofline_distance(figure: go.Figure, frame: pd.DataFrame, names: list[str]) -> None:
    for kind, colour, symbol in (("compute", BLUE, "circle"), ("memory", ORANGE, "diamond")):
        chosen = (frame["limited_by"] == kind).tolist()
        rows = frame[chosen]
        figure.add_trace(
            go.Scatter(
                y=[name for name, keep in zip(names, chosen, strict=True) if keep],
                x=rows["bound_ratio"].tolist(),
                mode="markers",
                name=f"{kind} bound",
                legend="legend3",
                marker={"color": colour, "symbol": symbol, "size": 9},
                cliponaxis=False,
                hovertemplate="%{y}<br>%{x:.2f} times the lower bound<extra></extra>",
            ),
            row=1,
            col=4,
        )
    figure.add_vline(x=1, line={"color": GREY, "dash": "dot", "width": 1}, row=1, col=4)
    figure.update_xaxes(title_text="latency / lower bound", row=1, col=4)


def _legends(figure: go.Figure, height: int) -> dict[str, object]:
    """A heading and a legend above each panel."""
    domains = [figure.layout[axis].domain for axis in ("xaxis", "xaxis2", "xaxis3", "xaxis4")]
    plot = height - 96 - 46
    titles = ("Bits", "Latency", "Energy", "Distance to the roofline")
    headings = [
        {
            "text": f"<b>{title}</b>", "x": domain[0], "xref": "paper", "xanchor": "left",
            "y": 1, "yref": "paper", "yshift": 84, "yanchor": "top", "showarrow": False,
            "font": {"size": 13},
        }
        for title, domain in zip(titles, domains, strict=True)
    ]  # fmt: skip
    common = {
        "orientation": "h", "xanchor": "left", "yanchor": "top", "y": 1 + 64 / plot,
        "font": {"size": 11}, "tracegroupgap": 0, "itemwidth": 30,
    }  # fmt: skip
    return {
        "annotations": [*figure.layout.annotations, *headings],
        "legend": {**common, "x": domains[1][0]},
        "legend2": {**common, "x": domains[2][0]},
        "legend3": {**common, "x": domains[3][0]},
    }


def unique_labels(names: Sequence[str] | pd.Series) -> list[str]:
    """Names of layers as axis labels: shortened and harmless, and still different."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        text = shorten(str(name))
        seen[text] = seen.get(text, 0) + 1
        result.append(label(text if seen[text] == 1 else f"{text} ({seen[text]})"))
    return result
