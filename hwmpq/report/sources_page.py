"""The section of a report that says what the numbers rest on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hwmpq.accelerator.families import mixing_warnings
from hwmpq.accelerator.spec import Accelerator
from hwmpq.report import columns
from hwmpq.report.grid import Column, make_grid
from hwmpq.report.page import Block, Listing, Remark, Section
from hwmpq.report.provenance import provenance_frame


def sources_section(
    accelerator: Accelerator,
    unpriced: Sequence[str],
    key: str,
    title: str = "Assumptions and sources",
) -> Section:
    """Assumptions and sources of an accelerator, and the operators left without a price."""
    frame = provenance_frame(accelerator)
    assumed = int(frame["assumed"].sum())
    blocks: list[Block] = [_unpriced(unpriced)]
    text = (
        f"{len(frame)} entries describe {accelerator.name}: {len(frame) - assumed} with a source, "
        f"{assumed} assumed. "
    )
    if accelerator.description:
        text += accelerator.description
    blocks.append(Remark(text.strip(), "warning" if assumed else "text"))
    blocks += [Remark(warning, "warning") for warning in mixing_warnings(accelerator)]
    if assumed:
        grid = make_grid(frame[frame["assumed"]], columns.SOURCES)
        blocks.append(Listing(grid, "Assumed, without a published source"))
    sourced = make_grid(frame[~frame["assumed"]], columns.SOURCES)
    note = "'Stated for' names the part of the file whose source a number inherits."
    blocks.append(Listing(sourced, "With a source", note))
    return Section(key, title, tuple(blocks))


def _unpriced(unpriced: Sequence[str]) -> Block:
    if not unpriced:
        return Remark("Every operator of the network is priced.")
    frame = pd.DataFrame({"operator": list(unpriced)})
    note = "They were exempted by name. Latency, energy and memory leave them out."
    grid = make_grid(frame, (Column("operator", "operator"),))
    return Listing(grid, f"{len(unpriced)} operators without a price", note)
