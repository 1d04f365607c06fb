"""What a report is made of, before it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import plotly.graph_objects as go

from hwmpq.report.grid import Flag, Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One headline number.

    Attributes:
        title: what it is.
        value: the number, printed.
        detail: a line below it.
        flag: whether it is good or bad news.
        filled: share of the reference that is spent, drawn as a bar; None draws none.
        limit: where the limit stands on that bar.
    """

    title: str
    value: str
    detail: str = ""
    flag: Flag = ""
    filled: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Cards:
    """Headline numbers side by side."""

    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """What a click on a point shows.

    Attributes:
        title: what the point is.
        facts: names with their values.
        rows: key of the names of its rows, such as a network's layers.
        bits: ``weights/activations`` of each row, with blanks between.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    rows: str
    bits: str


@dataclass(frozen=True, slots=True)
class Opening:
    """Points of a chart that open on a click; a point's ``customdata`` holds its key.

    Attributes:
        points: by key.
        rows: names of rows by key.
        first: the point that is open at first.
        colours: background of a bit-width, by bits.
    """

    points: Mapping[str, Opened]
    rows: Mapping[str, tuple[str, ...]]
    first: str
    colours: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with what to see in it, and what its points open."""

    figure: go.Figure
    caption: str = ""
    opening: Opening | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A table with a title.

    Attributes:
        grid: the table.
        title: what it lists.
        note: how to read it.
        folded: shown closed on the screen at first; printed in full.
    """

    grid: Grid
    title: str = ""
    note: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Remark:
    """A paragraph, or a notice that stands out."""

    text: str
    kind: Literal["text", "good", "warning"] = "text"


Block: TypeAlias = Cards | Chart | Listing | Facts | Remark


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page.

    Attributes:
        key: anchor, unique on the page.
        title: heading.
        blocks: its content in order.
        level: 1 for a part such as one of several runs, 2 for a section of it.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]
    level: Literal[1, 2] = 2


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    footer: str = ""
