"""Figures of a sweep: fronts, the transfer matrix, energies under uncertain constants."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from hwmpq.report.style import BLUE, CATEGORIES, GREEN, GREY, INK, VERMILION, dress, label, shorten
from hwmpq.report.sweep_view import FrontView, SweepView

MOST_DRAWN: Final = 2000
"""Points off the front that are drawn; more are thinned out evenly."""
_MOST_NAMED: Final = 7
_HEIGHT: Final = 460


def drawn_candidates(front: FrontView) -> pd.DataFrame:
    """Rows off the front, thinned out evenly."""
    others = front.candidates.drop(index=front.rows.index)
    return others.iloc[:: max(1, -(-len(others) // MOST_DRAWN))]


def front_figure(front: FrontView, view: SweepView) -> go.Figure:
    """A front: its first quantity upwards, the second across, a third as colour.

    Every point carries its row's number as ``customdata``, which opens its bits.
    """
    figure = go.Figure()

    def trace(rows: pd.DataFrame, **look: Any) -> None:
        figure.add_trace(_points(rows, front, view, **look))

    trace(
        drawn_candidates(front),
        name="beaten",
        mode="markers",
        marker={"color": GREY, "size": 5, "opacity": 0.45},
    )
    if len(front.axes) == 3:
        depth = front.axes[2]
        marker = {
            "size": 10,
            "color": (front.rows[depth.column] * depth.scale).tolist(),
            "colorscale": "Viridis",
            "colorbar": {"title": {"text": depth.title}, "thickness": 14},
            "line": {"width": 1, "color": "white"},
        }
        trace(front.rows, name="front", mode="markers", marker=marker)
    else:
        figure.add_trace(_steps(front, INK))
        for colour, name, rows in _by_variant(front, view):
            marker = {"size": 9, "color": colour, "line": {"width": 1, "color": "white"}}
            trace(rows, name=name, mode="markers", marker=marker)
    star = {"symbol": "star", "size": 17, "color": VERMILION, "line": {"width": 1, "color": INK}}
    trace(front.rows.loc[[front.knee]], name="knee", mode="markers", marker=star)
    return _laid_out(figure, front)


def rivals_figure(fronts: Mapping[str, FrontView], view: SweepView) -> go.Figure:
    """Fronts of several sweeps in one picture, each with its name; points open their bits."""
    figure = go.Figure()
    colours = cycle(CATEGORIES)
    for (name, front), colour in zip(fronts.items(), colours, strict=False):
        if len(front.axes) == 2:
            figure.add_trace(_steps(front, colour))
        marker = {"size": 9, "color": colour, "line": {"width": 1, "color": "white"}}
        figure.add_trace(
            _points(
                front.rows, front, view, name=label(shorten(name, 40)), mode="markers",
                marker=marker, showlegend=True,
            )
        )  # fmt: skip
    return _laid_out(figure, next(iter(fronts.values())))


def _points(rows: pd.DataFrame, front: FrontView, view: SweepView, **look: Any) -> go.Scatter:
    """Rows as points that say what they are, and carry their number."""
    up, across = front.axes[:2]
    shown = [[axis.show(row[axis.column]) for axis in front.axes] for _, row in rows.iterrows()]
    names = [axis.title.partition(",")[0] for axis in front.axes]
    text = [
        "<br>".join(
            [label(shorten(view.label(variant), 60))]
            + [f"{name} {value}" for name, value in zip(names, values, strict=True)]
        )
        for variant, values in zip(rows["variant"], shown, strict=True)
    ]
    return go.Scatter(
        x=(rows[across.column] * across.scale).tolist(),
        y=(rows[up.column] * up.scale).tolist(),
        customdata=[str(index) for index in rows.index],
        text=text,
        hovertemplate="%{text}<extra></extra>",
        **look,
    )


def _steps(front: FrontView, colour: str) -> go.Scatter:
    """The edge of what a front beats."""
    up, across = front.axes[:2]
    return go.Scatter(
        x=(front.rows[across.column] * across.scale).tolist(),
        y=(front.rows[up.column] * up.scale).tolist(),
        mode="lines",
        line={"color": colour, "width": 1, "shape": "hv"},
        hoverinfo="skip",
        showlegend=False,
    )


def _laid_out(figure: go.Figure, front: FrontView) -> go.Figure:
    up, across = front.axes[:2]
    figure.update_layout(
        clickmode="event", legend={"orientation": "h", "y": -0.18},
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
    )  # fmt: skip
    figure.update_xaxes(title_text=across.title)
    figure.update_yaxes(title_text=up.title)
    return dress(figure, height=_HEIGHT)


def _by_variant(front: FrontView, view: SweepView) -> list[tuple[str, str, pd.DataFrame]]:
    """Rows of the front by variant, the many rare ones together."""
    counts = front.rows["variant"].value_counts()
    named = counts.index.tolist()
    if len(named) > _MOST_NAMED:
        named = named[: _MOST_NAMED - 1]
    found = [
        (
            colour,
            label(shorten(view.label(variant), 40)),
            front.rows[front.rows["variant"] == variant],
        )
        for colour, variant in zip(CATEGORIES, named, strict=False)
    ]
    rest = front.rows[~front.rows["variant"].isin(named)]
    return found if rest.empty else [*found, (GREY, "other variants", rest)]


def transfer_figure(view: SweepView) -> go.Figure:
    """How much sensitivity bits lose that were chosen for another accelerator, after repair."""
    frame = view.transfer
    names = list(dict.fromkeys(frame["optimised_for"]))
    shown = [label(shorten(view.label(name), 40)) for name in names]
    table = frame.set_index(["optimised_for", "run_on"])
    values, text = [], []
    for source in names:
        rows = [table.loc[(source, target)] for target in names]
        values.append([None if pd.isna(row["penalty"]) else 100 * row["penalty"] for row in rows])
        text.append(
            [
                f"{'fits' if row['fits'] else str(row['changed_layers']) + ' changed'}"
                + ("" if pd.isna(row["penalty"]) else f"<br>{100 * row['penalty']:+.0f} %")
                for row in rows
            ]
        )
    figure = go.Figure(
        go.Heatmap(
            x=shown, y=shown, z=values, text=text, texttemplate="%{text}", xgap=2, ygap=2,
            colorscale=[[0, "#F5F7F9"], [1, "#E69F00"]], zmin=0,
            colorbar={"title": {"text": "penalty, %"}, "thickness": 14},
            hovertemplate="optimised for %{y}<br>run on %{x}<br>%{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="run on")
    figure.update_yaxes(
        title_text="optimised for", title_standoff=16, automargin=True, autorange="reversed"
    )
    return dress(figure, height=180 + 52 * len(names))


def survival_figure(view: SweepView) -> go.Figure:
    """Energy of the points near the front with its spread, and how often each is on the front."""
    frame = view.survival.iloc[::-1]
    names = [
        f"{label(shorten(view.label(variant), 36))} #{point}"
        for variant, point in zip(frame["variant"], frame["point"], strict=True)
    ]
    scale = 1e-9
    energy = frame["energy_pj"] * scale
    colours = [
        GREEN if share >= 0.95 else BLUE if share >= 0.5 else GREY for share in frame["on_front"]
    ]
    figure = go.Figure(
        go.Scatter(
            x=energy.tolist(), y=names, mode="markers+text",
            marker={"color": colours, "size": 9},
            text=[f"{100 * share:.0f} %" for share in frame["on_front"]],
            textposition="top center", textfont={"size": 10},
            error_x={
                "type": "data", "symmetric": False, "color": GREY, "thickness": 1.5,
                "array": (frame["energy_p95_pj"] * scale - energy).tolist(),
                "arrayminus": (energy - frame["energy_p05_pj"] * scale).tolist(),
            },
            hovertemplate="%{y}<br>%{x:.4~g} mJ, on the front in %{text} of draws<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="energy, mJ", rangemode="tozero")
    figure.update_layout(margin={"l": 20, "r": 20, "t": 20, "b": 50})
    return dress(figure, height=110 + 34 * len(frame))
