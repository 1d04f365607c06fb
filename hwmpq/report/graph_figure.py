"""A network as a picture: operators, the tensors between them, bits and share of the cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Path2D

from hwmpq.errors import UnsupportedError
from hwmpq.files import write_atomic
from hwmpq.precision import Assignment
from hwmpq.report.graph_layout import drawn_graph, lay_out
from hwmpq.report.style import GREY, INK, PALE, bit_colour, shorten
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import MULTIPLY_LAYERS

_WIDTH, _HEIGHT, _ARC = 0.84, 0.56, 0.22
_COLUMN_INCHES, _ROW_INCHES = 2.5, 0.52
_BITS: Final = (1, 8)
_DARK_FROM: Final = 6


def graph_figure(
    workload: Workload,
    assignment: Assignment | None = None,
    shares: Mapping[str, float] | None = None,
) -> Figure:
    """Draw multiplying layers and joins; a box's colour is the weight bits, where they are given.

    Args:
        workload: the network.
        assignment: bits by layer.
        shares: each layer's share of the network's latency, 0 to 1.

    Raises:
        UnsupportedError: there is nothing to draw.
    """
    shown = drawn_graph(workload)
    if not shown:
        msg = f"workload '{workload.name}' has no multiplying layer or join to draw"
        raise UnsupportedError(msg)
    layout = lay_out(shown)
    inches = ((layout.columns + _ARC) * _COLUMN_INCHES, layout.rows * _ROW_INCHES + 0.5)
    figure = Figure(figsize=inches)
    axes = figure.add_axes((0.02, 0.01, 0.96, 0.98))
    axes.axis("off")
    for source, reader in layout.edges:
        axes.add_patch(_edge(layout.positions[source], layout.positions[reader]))
    for name, (x, y) in layout.positions.items():
        precision = (assignment or {}).get(name)
        bits = precision.weight_bits if precision else None
        fill = "white" if bits is None else bit_colour(bits, *_BITS)
        ink = "white" if bits is not None and bits >= _DARK_FROM else INK
        box = FancyBboxPatch(
            (x - _WIDTH / 2, y - _HEIGHT / 2),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=fill,
            edgecolor=GREY if isinstance(workload.layer(name), MULTIPLY_LAYERS) else PALE,
            lw=0.8,
            zorder=2,
        )
        axes.add_patch(box)
        text = shorten(name, 26)
        detail = _detail(workload, name, str(precision) if precision else "", shares)
        axes.text(x, y - 0.11, text, ha="center", va="center", size=7, color=ink, parse_math=False)
        axes.text(x, y + 0.14, detail, ha="center", va="center", size=6, color=ink)
    columns = [column for column, _ in layout.positions.values()]
    axes.set_xlim(min(columns) - 0.5, max(columns) + 0.5 + _ARC)
    axes.set_ylim(layout.rows - 0.5, -0.6)
    return figure


def _edge(start: tuple[float, int], end: tuple[float, int]) -> PathPatch:
    """A line down to the next row, or a curve beside what lies between."""
    (x0, y0), (x1, y1) = start, end
    far, half = y1 - y0 > 1, _WIDTH / 2
    curve: list[tuple[float, float]] = []
    if far and x0 == x1:
        bulge = x0 + half + _ARC
        curve = [(x0 + half, y0), (bulge, y0), (bulge, y1), (x0 + half, y1)]
    elif far and x0 > x1:
        curve = [(x0, y0 + _HEIGHT / 2), (x0, y1), (x0, y1), (x1 + half, y1)]
    line: list[tuple[float, float]] = [(x0, y0 + _HEIGHT / 2), (x1, y1 - _HEIGHT / 2)]
    codes = [Path2D.MOVETO, *([Path2D.CURVE4] * 3 if curve else [Path2D.LINETO])]
    path = Path2D(curve or line, codes)
    return PathPatch(path, facecolor="none", edgecolor=GREY, lw=0.8, zorder=1)


def _detail(
    workload: Workload, name: str, precision: str, shares: Mapping[str, float] | None
) -> str:
    layer = workload.layer(name)
    tensor = workload.graph.nodes[name]["tensor"]
    size = "x".join(str(extent) for extent in tensor.shape[1:] or tensor.shape)
    parts = [layer.op, size]
    if precision:
        parts.append(f"W/A {precision}")
    if shares is not None and name in shares:
        parts.append(f"{shares[name]:.1%} of cycles")
    return " · ".join(parts)


def write_graph_svg(
    file: Path,
    workload: Workload,
    assignment: Assignment | None = None,
    shares: Mapping[str, float] | None = None,
) -> Path:
    """Write the picture as SVG with text that can be searched.

    Raises:
        OutputError: the file cannot be written.
    """
    figure = graph_figure(workload, assignment, shares)
    canvas = FigureCanvasSVG(figure)

    def draw(part: Path) -> None:
        # A fixed salt and no date make the same network the same file.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "hwmpq"}):
            canvas.print_figure(str(part), format="svg", metadata={"Date": None})

    return write_atomic(file, draw)
