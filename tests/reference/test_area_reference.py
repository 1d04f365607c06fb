"""The areas that docs/models/energy.md states are those that the code gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hwmpq.accelerator.area import area_mm2
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.bismo_area import fpga_resources
from hwmpq.cost.bismo_spec import BismoArray
from hwmpq.shipped import shipped_files

MODELS = Path(__file__).parents[2] / "docs" / "models"
NAMES = sorted(shipped_files("accelerators"))


def rows(page: str, columns: int) -> dict[str, list[str]]:
    """Rows of a page's tables that start with an accelerator and have so many further columns."""
    found = {}
    for line in (MODELS / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = cells[0].strip("`")
        if line.startswith("|") and name in NAMES and len(cells) == columns + 1:
            found[name] = cells[1:]
    return found


def stated(area: float | None) -> str:
    """As the page writes it: three significant digits."""
    return "unknown" if area is None else f"{area:.3g}"


def test_the_page_has_every_shipped_accelerator() -> None:
    assert sorted(rows("energy.md", 6)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_page_states_what_the_code_gives(name: str) -> None:
    found = area_mm2(load_accelerator(name))
    parts = found.components
    memories = [area for key, area in parts.items() if key.startswith("memory.")]
    known = [area for area in memories if area is not None]
    memory = sum(known) if len(known) == len(memories) else None
    expected = [parts["compute"], memory, parts["vector"], found.total_mm2]
    assert rows("energy.md", 6)[name][:4] == [stated(area) for area in expected]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("bismo")])
def test_the_page_states_the_fpga_resources(name: str) -> None:
    accelerator = load_accelerator(name)
    array = accelerator.compute
    assert isinstance(array, BismoArray)
    words = [
        memory.size_bits // memory.banks // array.depth
        for memory in (accelerator.memory_for("weight"), accelerator.memory_for("input"))
    ]
    found = fpga_resources(array, left_words=words[0], right_words=words[1])
    luts, block_rams = rows("bismo.md", 4)[name][:2]
    assert re.sub(r"\D", "", luts) == f"{found.luts:.0f}"
    assert block_rams == str(found.block_rams)
