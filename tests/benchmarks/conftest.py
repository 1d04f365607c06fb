"""What benches share: tables of figures after the run, caches emptied, CPU time of children."""

from __future__ import annotations

import functools
import io
import resource
import sys
import time
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

collect_ignore = ["scalesim_runner.py"]  # runs in SCALE-Sim's environment only

TABLES = pytest.StashKey[dict[str, list[dict[str, object]]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLES] = {}


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Adds a row to the table of a title, printed after the run even if the test then fails."""

    def add(title: str, row: dict[str, object]) -> None:
        request.config.stash[TABLES].setdefault(title, []).append(row)

    return add


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    console = Console(width=118, file=io.StringIO(), highlight=False)
    for title, rows in config.stash[TABLES].items():
        table = Table()
        for position, name in enumerate(rows[0]):
            table.add_column(name, justify="right" if position else "left")
        for row in rows:
            table.add_row(*(shown(value) for value in row.values()))
        console.print(f"\n{title}", soft_wrap=True)
        console.print(table)
    terminalreporter.write(console.file.getvalue())


def shown(value: object) -> str:
    """Numbers to three figures, thousands apart."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@pytest.fixture
def empty_caches() -> Callable[[], None]:
    """Forgets what cost models remember between calls, so that each table is priced anew."""

    def empty() -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("hwmpq.cost."):
                for value in vars(module).values():
                    if isinstance(value, functools._lru_cache_wrapper):
                        value.cache_clear()

    return empty


@pytest.fixture
def cpu_seconds() -> Callable[[], float]:
    """CPU time of this process and of its finished children."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    return used
