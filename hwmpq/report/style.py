"""Colours and the common look of all figures: light, printable, safe for colour-blind readers.

Categories take the palette of Okabe and Ito ("Color Universal Design", 2008,
https://jfly.uni-koeln.de/color/). Bit-widths take one sequential ramp, light for few bits and dark
for many, and every cell also carries its number, so no figure is read by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

import plotly.graph_objects as go

BLUE: Final = "#0072B2"
SKY: Final = "#56B4E9"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
INK: Final = "#1F2933"
GREY: Final = "#8A94A0"
PALE: Final = "#DDE2E8"

CATEGORIES: Final = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, GREY)
"""Colours of unnamed categories, in order of use."""

ENERGY_COLOURS: Final[Mapping[str, str]] = {
    "compute": BLUE,
    "sram": SKY,
    "dram": ORANGE,
    "leakage": PURPLE,
}
"""Colour of each group of energy components."""

LATENCY_COLOURS: Final[Mapping[str, str]] = {"compute": BLUE, "stall": ORANGE}
"""Colour of the two parts of a latency."""

BIT_RAMP: Final = ("#FFF7DC", "#FBD98D", "#EDAE6B", "#C9766B", "#8F4A74", "#533470", "#231942")
"""Colours of bit-widths from the fewest to the most."""

FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
ROW_PX: Final = 24
"""Height of one layer's row in a chart: tall enough for a label of 11 px at any number of rows."""


def label(text: str) -> str:
    """Text for a figure, with plotly's markup made harmless.

    >>> label("<b>conv</b>")
    '&lt;b&gt;conv&lt;/b&gt;'
    """
    return escape(text, quote=False)


def shorten(text: str, length: int = 34) -> str:
    """Cut a long name in the middle, since its end tells layers apart.

    >>> shorten("backbone.stage3.block11.conv1", 15)
    'backbo…11.conv1'
    """
    if len(text) <= length:
        return text
    head = (length - 1) * 3 // 7
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def bit_colours(low: int, high: int) -> list[tuple[float, str]]:
    """A colour scale in steps, one flat colour a bit-width from ``low`` to ``high``."""
    count = high - low + 1
    steps: list[tuple[float, str]] = []
    for index in range(count):
        colour = _ramp(index / max(count - 1, 1))
        steps += [(index / count, colour), ((index + 1) / count, colour)]
    return steps


def bit_colour(bits: int, low: int, high: int) -> str:
    """Colour of one bit-width; beyond the ends, that of the end."""
    return _ramp(min(max((bits - low) / max(high - low, 1), 0.0), 1.0))


def _ramp(position: float) -> str:
    """The ramp's colour at a position from 0 to 1, mixed between its two neighbours."""
    scaled = position * (len(BIT_RAMP) - 1)
    below = min(int(scaled), len(BIT_RAMP) - 2)
    share = scaled - below
    channels = (
        round(
            int(BIT_RAMP[below][i : i + 2], 16) * (1 - share)
            + int(BIT_RAMP[below + 1][i : i + 2], 16) * share
        )
        for i in (1, 3, 5)
    )
    return "#" + "".join(f"{channel:02X}" for channel in channels)


def dress(figure: go.Figure, *, height: int) -> go.Figure:
    """Give a figure the common look; returns the same figure."""
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        font={"family": FONT, "size": 12, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        colorway=list(CATEGORIES),
        hoverlabel={"font": {"family": FONT, "size": 12}},
        hovermode="closest",
    )
    axis = {
        "gridcolor": "#E9EDF1",
        "linecolor": PALE,
        "zerolinecolor": PALE,
        "automargin": True,
        "title": {"font": {"size": 12}},
        "tickfont": {"size": 11},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure
