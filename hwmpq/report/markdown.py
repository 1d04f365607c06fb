"""Pages as Markdown: everything but the figures."""

from __future__ import annotations

from hwmpq.report.grid import Grid
from hwmpq.report.page import Block, Cards, Chart, Facts, Listing, Page, Remark

_ESCAPES = str.maketrans(
    {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_", "`": "\\`",
     "[": "\\[", "]": "\\]", "\n": " ", "\r": " "}
)  # fmt: skip


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is, in a table cell too.

    >>> escape("a|b <i>")
    'a\\|b &lt;i&gt;'
    """
    return text.translate(_ESCAPES)


def markdown_grid(grid: Grid) -> str:
    """A table in the notation of GitHub, columns padded so that the text itself is readable."""
    header = [escape(column.title) for column in grid.columns]
    rows = [[escape(cell.text) for cell in row] for row in grid.all_rows]
    widths = [max(3, *(len(row[i]) for row in (header, *rows))) for i in range(len(header))]
    right = [column.numeric for column in grid.columns]

    def line(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(cells, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if numeric else "-" * width
        for width, numeric in zip(widths, right, strict=True)
    ]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def _block(block: Block) -> str:
    match block:
        case Cards(cards):
            lines = (
                f"- **{escape(card.title)}**: {escape(card.value)}"
                + (f" ({escape(card.detail)})" if card.detail else "")
                for card in cards
            )
            return "\n".join(lines)
        case Facts(pairs):
            return "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in pairs)
        case Listing(grid, title, note):
            parts = (f"### {escape(title)}" if title else "", escape(note), markdown_grid(grid))
            return "\n\n".join(filter(None, parts))
        case Remark(text, kind):
            return f"**{escape(text)}**" if kind == "warning" else escape(text)
        case Chart():
            return ""


def markdown_page(page: Page) -> str:
    """A whole page."""
    parts = [f"# {escape(page.title)}", escape(page.subtitle)]
    for section in page.sections:
        parts.append(f"{'#' * section.level} {escape(section.title)}")
        parts += [_block(block) for block in section.blocks]
    parts.append(escape(page.footer))
    return "\n\n".join(part for part in parts if part) + "\n"
