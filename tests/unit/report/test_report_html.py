"""The page: self-contained, harmless, complete, and written whole or not at all."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.codesign.folder import Run
from hwmpq.cost.table import CSV_COLUMNS, cost_table
from hwmpq.errors import OutputError, UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.report.evaluation_page import Evaluation, side_by_side_frame
from hwmpq.report.html import script_json, write_evaluation_report, write_run_report
from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.layer import Conv2d, Linear, VectorOp

EVIL = "<script>alert(1)</script>"
_LOADING = {"src", "href", "srcset", "action", "data", "poster", "background", "xlink:href"}


class _Tags(HTMLParser):
    """Collects tags, what they would load, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self.charts: dict[str, str] = {}
        self._chart = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [str(values[name]) for name in _LOADING & set(values)]
        if "id" in values:
            self.ids.append(str(values["id"]))
        self._chart = str(values.get("data-chart") or "") if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self._chart:
            self.charts[self._chart] = self.charts.get(self._chart, "") + data
        else:
            self.text.append(data)


def _parse(page: Path) -> _Tags:
    tags = _Tags()
    tags.feed(_without_library(page))
    return tags


def _without_library(page: Path) -> str:
    return page.read_text(encoding="utf-8").replace(get_plotlyjs(), "")


@pytest.fixture
def page(run: Run, tmp_path: Path) -> Path:
    return write_run_report([run], tmp_path / "report")


def test_nothing_is_loaded_from_anywhere(page: Path) -> None:
    tags = _parse(page)
    assert [load for load in tags.loads if not load.startswith("#")] == []
    own = _without_library(page)
    assert re.findall(r"https?://|url\(|@import", own) == []
    assert "link" not in tags.tags
    assert "iframe" not in tags.tags
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', own)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert "connect-src" not in policy[1]


def test_the_library_is_inlined_once(page: Path) -> None:
    assert page.read_text(encoding="utf-8").count(get_plotlyjs()[:2000]) == 1


def test_names_of_layers_are_text_not_code(page: Path) -> None:
    assert "alert(1)" in _without_library(page)
    assert "<script>alert" not in _without_library(page)
    tags = _parse(page)
    assert EVIL in "".join(tags.text)
    assert all("<script" not in chart for chart in tags.charts.values())


def test_every_chart_has_its_place_and_is_json(page: Path) -> None:
    tags = _parse(page)
    assert len(tags.charts) == 5
    assert set(tags.charts) <= set(tags.ids)
    assert len(set(tags.ids)) == len(tags.ids)
    for text in tags.charts.values():
        assert json.loads(text)["data"]


def test_the_page_says_what_people_ask_for(page: Path) -> None:
    text = " ".join("".join(_parse(page).text).split())
    for wanted in (
        "Every budget holds",
        "96.25 %",
        "1.25 points below the float baseline",
        "optimal",
        "slack",
        "shadow price",
        "assumed: one a column",
        "table 2 of the paper",
        "Every operator of the network is priced",
        "hwmpq optimize toy-net",
        "2.13.0",
    ):
        assert wanted in text


def test_unpriced_operators_are_listed(build_run: Callable[..., Run], tmp_path: Path) -> None:
    run = build_run(unpriced=("odd.operator",))
    page = write_run_report([run], tmp_path / "r")
    text = "".join(_parse(page).text)
    assert "1 operators without a price" in text
    assert "odd.operator" in text


def test_a_broken_budget_is_not_hidden(build_run: Callable[..., Run], tmp_path: Path) -> None:
    run = build_run()
    report = run.results.allocation.budgets[0]
    tight = type(report)(**{**_fields(report), "limit": report.achieved - 1})
    allocation = type(run.results.allocation)(
        **{**_fields(run.results.allocation), "budgets": (tight,)}
    )
    results = run.results.model_copy(update={"allocation": allocation})
    broken = Run(**{**_fields(run), "results": results})
    text = "".join(_parse(write_run_report([broken], tmp_path / "r")).text)
    assert "Over budget: latency." in text
    assert "Every budget holds" not in text


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}  # type: ignore[attr-defined]


def test_csv_files_lie_beside_the_page(page: Path, run: Run) -> None:
    layers = pd.read_csv(page.with_name("layers.csv"))
    assert tuple(layers.columns[: len(CSV_COLUMNS)]) == CSV_COLUMNS
    assert layers["latency_cycles"].sum() == run.results.totals.latency_cycles
    assert layers["layer"].tolist()[1] == EVIL
    budgets = pd.read_csv(page.with_name("budgets.csv"))
    assert budgets["budget"].tolist() == ["latency"]
    assert len(pd.read_csv(page.with_name("rounds.csv"))) == 3


def test_a_path_to_a_page_is_taken_as_it_is(run: Run, tmp_path: Path) -> None:
    page = write_run_report([run], tmp_path / "deep" / "mine.html")
    assert page == tmp_path / "deep" / "mine.html"
    assert (tmp_path / "deep" / "mine.md").is_file()


def test_several_runs_are_compared(build_run: Callable[..., Run], tmp_path: Path) -> None:
    runs = [build_run("a"), build_run("b", seed=1, accuracy=0.9), build_run("c", method="dq")]
    page = write_run_report(runs, tmp_path / "r")
    tags = _parse(page)
    text = "".join(tags.text)
    assert "Spread over seeds" in text
    assert {"comparison", "run-1", "run-2-layers", "run-3-sources"} <= set(tags.ids)
    assert len(set(tags.ids)) == len(tags.ids)
    assert pd.read_csv(page.with_name("runs.csv"))["run"].tolist() == ["a", "b", "c"]
    layers = pd.read_csv(page.with_name("layers.csv"))
    assert layers.groupby("run").size().tolist() == [5, 5, 5]


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="at least one run"):
        write_run_report([], tmp_path)


def test_an_unusable_folder_is_one_clear_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_run_report([run], tmp_path / "file" / "report")


def test_the_same_run_gives_the_same_page(run: Run, tmp_path: Path) -> None:
    first = write_run_report([run], tmp_path / "a").read_bytes()
    assert write_run_report([run], tmp_path / "b").read_bytes() == first


def test_evaluations_of_two_accelerators_stand_side_by_side(tmp_path: Path) -> None:
    builder = WorkloadBuilder("small")
    entry = builder.add_input("input", (1, 16, 8, 8))
    conv = builder.add(
        Conv2d(name=EVIL, in_channels=16, in_height=8, in_width=8, out_channels=32, kernel_size=3),
        [entry],
    )
    pool = builder.add(
        VectorOp(
            name="pool", op="avg_pool2d", input_sizes=(1152,), output_elements=32, operations=1152
        ),
        [conv],
    )
    builder.add(Linear(name="fc", in_features=32, out_features=10), [pool])
    workload = builder.build()
    machines = [
        load_accelerator("systolic-32x32"),
        load_accelerator("systolic-32x32", {"name": "other", "compute.rows": 16}),
    ]
    tables = [cost_table(workload, m, precisions((4, 8), (8,))) for m in machines]
    bits = [table.uniform(Precision(8, 8)) for table in tables]
    page = write_evaluation_report(tables, machines, workload, bits, tmp_path)
    tags = _parse(page)
    text = "".join(tags.text)
    assert "systolic-32x32, other" in text
    assert EVIL in text
    assert "<script>alert" not in _without_library(page)
    sections = {"totals", "layers", "layers-1", "layers-2", "sources-1", "sources-2"}
    assert sections <= set(tags.ids)
    assert "other: latency, " in text
    beside = side_by_side_frame(
        [Evaluation(t, m, b) for t, m, b in zip(tables, machines, bits, strict=True)]
    )
    assert beside["latency_s.1"].sum() == pytest.approx(
        tables[1].total("latency_cycles", bits[1]) / machines[1].clock_hz
    )
    assert beside["energy_pj.0"].sum() == pytest.approx(tables[0].total("energy_pj", bits[0]))
    totals = pd.read_csv(page.with_name("totals.csv"))
    assert totals["latency_cycles"].tolist() == [
        table.total("latency_cycles", chosen) for table, chosen in zip(tables, bits, strict=True)
    ]
    assert totals["bound_ratio"].ge(1).all()
    assert totals["peak_activation_memory_bits"].gt(0).all()


def test_reports_do_not_load_torch() -> None:
    code = (
        "import sys, hwmpq.report.html, hwmpq.report.text; "
        "sys.exit(any(name == 'torch' or name.startswith('torch.') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(st.text(max_size=60))
def test_any_text_survives_inside_a_script_element(text: str) -> None:
    written = script_json(json.dumps(text))
    assert json.loads(written) == text
    assert not {"<", ">", "&", "\u2028", "\u2029"} & set(written)
