"""What is printed: the terminal's tables and the Markdown file."""

import io
import re

import pandas as pd
import pytest
from rich.console import Console, RenderableType

from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.interval import Interval
from hwmpq.codesign.folder import Run
from hwmpq.cost.table import CostTable
from hwmpq.precision import Precision
from hwmpq.report.grid import Column, make_grid, points, printed, whole
from hwmpq.report.html import run_report_page
from hwmpq.report.markdown import escape, markdown_grid, markdown_page
from hwmpq.report.text import evaluation_summary, interval_table, run_summary

EVIL = "<script>alert(1)</script>"


def _printed(*parts: RenderableType) -> str:
    shown = io.StringIO()
    console = Console(width=160, file=shown, highlight=False, color_system=None)
    for part in parts:
        console.print(part)
    return shown.getvalue()


def test_a_run_prints_bits_costs_budget_and_accuracy(run: Run) -> None:
    text = _printed(*run_summary(run))
    assert re.search(r"conv1 +│ 8 │ 8 │ +500 │ +1\.000x", text)
    assert EVIL in text
    assert re.search(r"latency +│ 0\.9x", text)
    assert "test accuracy: 96.25 %, −1.25 points against the float baseline (97.50 %)" in text
    assert f"{run.results.totals.latency_cycles:,}" in text


def test_names_are_never_taken_for_markup(costs: CostTable, accelerator: Accelerator) -> None:
    odd = CostTable(**{**vars(costs), "layers": ("[bold]a[/bold]", "[/]", "c", "d", "pool")})
    text = _printed(*evaluation_summary(odd, odd.uniform(Precision(8, 8)), accelerator))
    assert "[bold]a[/bold]" in text
    assert "[/]" in text


def test_an_evaluation_prints_totals_and_what_bounds_them(
    costs: CostTable, accelerator: Accelerator
) -> None:
    bits = costs.uniform(Precision(8, 8))
    text = _printed(*evaluation_summary(costs, bits, accelerator))
    assert "bits 8/8" in text
    assert f"{costs.total('latency_cycles', bits):,.0f} cycles" in text
    assert "times the lower bound" in text
    assert "memory" in text


def test_the_feasible_interval_names_the_least() -> None:
    interval = Interval(name="latency", unit="cycles", least=900, reference=1000, most=1200)
    feasible = _printed(interval_table([interval], {"latency": 950}))
    assert "900 cycles (0.900x)" in feasible
    assert "950 cycles (0.950x)" in feasible
    assert "yes" in feasible
    assert "NO" in _printed(interval_table([interval], {"latency": 800}))
    assert "asked" not in _printed(interval_table([interval]))


def test_markdown_holds_the_tables_and_escapes_names(run: Run) -> None:
    text = markdown_page(run_report_page([run]))
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "## What came out" in text
    assert "- **Test accuracy**: 96.25 %" in text


def test_markdown_columns_line_up() -> None:
    frame = pd.DataFrame({"name": ["a", "longer"], "value": [1.0, 12345.0]})
    grid = make_grid(frame, (Column("name", "name"), Column("value", "value", whole)))
    lines = markdown_grid(grid).splitlines()
    assert lines[1] == "| ------ | -----: |"
    assert len({len(line) for line in lines}) == 1
    assert escape("a|b\n[c](d)") == "a\\|b \\[c\\](d)"


def test_missing_values_are_a_dash_and_sort_first() -> None:
    grid = make_grid(pd.DataFrame({"v": [float("nan"), 2.0]}), (Column("v", "v", whole),))
    assert [row[0].text for row in grid.rows] == ["–", "2"]
    assert grid.rows[0][0].sort < grid.rows[1][0].sort


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12345.9, "cycles", "12,345 cycles"),
        (2e6, "pJ", "2 µJ"),
        (8192, "bits", "1 KiB"),
        (3e9, "operations", "3 Gops"),
        (12, "operations", "12 ops"),
    ],
)
def test_amounts_are_printed_in_their_unit(value: float, unit: str, text: str) -> None:
    assert printed(value, unit) == text


def test_no_change_is_neither_plus_nor_minus() -> None:
    assert points(0.0) == "±0.00 points"
