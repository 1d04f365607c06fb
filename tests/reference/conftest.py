"""Figures that the reference tests publish in docs/validation.md.

A test that has compared with a reference states what it found with the ``publish`` fixture. Run as
they are, the tests fail when the page says something else; with HWMPQ_WRITE_VALIDATION=1, as
`make docs` does, they write the page.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "validation.md"
WRITING = bool(os.environ.get("HWMPQ_WRITE_VALIDATION"))
THIRD_PARTY = "(third party)"
HEAD = f"""# Validation

How far each cost model is from the independent simulators and tables that it is held against.
`make docs` writes this page from the reference tests themselves (`tests/reference/`), and they
fail when it is stale. Rows marked {THIRD_PARTY} are compared where their tables are at hand; those
tables are not in this repository. What a figure leaves out is on the page of its model.

| model | reference | quantity | rows | result |
|---|---|---|--:|---|
"""

_lines: set[str] = set()


@pytest.fixture
def publish() -> Callable[..., None]:
    """State a comparison: ``publish(model, reference, quantity, rows, result)``."""

    def state(model: str, reference: str, quantity: str, rows: int, result: str) -> None:
        line = f"| {model} | {reference} | {quantity} | {rows} | {result} |"
        if WRITING:
            _lines.add(line)
        else:
            text = PAGE.read_text(encoding="utf-8")
            assert line in text.splitlines(), f"docs/validation.md is stale (make docs): {line}"

    return state


@pytest.fixture(scope="session", autouse=True)
def _write_page() -> Iterator[None]:
    yield
    if WRITING:
        if not any(THIRD_PARTY in line for line in _lines):
            text = PAGE.read_text(encoding="utf-8")
            _lines.update(line for line in text.splitlines() if f"{THIRD_PARTY} |" in line)
        PAGE.write_text(HEAD + "\n".join(sorted(_lines)) + "\n", encoding="utf-8")
