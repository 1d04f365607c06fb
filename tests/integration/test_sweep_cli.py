"""``hwmpq sweep``: refusals, estimates, results, reports."""

import json
from pathlib import Path

import pandas as pd
import pytest

from hwmpq.sweep.result import Sweep


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sensitivty": "x"}, "Did you mean 'sensitivity'?"),
        ({"set": {"compute.rows": []}}, "compute.rows: an axis needs at least one value"),
        ({"workload": []}, "an axis needs at least one value"),
        ({"budget": {"latency": []}}, "latency: an axis needs at least one value"),
        ({"budget": {"latncy": "0.5x"}}, "no budget is called latncy"),
        ({"budget": {"latency": ["0.5x", "0.5x"]}}, "'0.5x' stands there twice"),
        ({"budget": {"latency": {"from": "0.5x", "to": "1ms", "steps": 3}}}, "the same unit"),
        ({"set": {"compute.rows": [8, 0]}}, "greater than 0"),
        ({"set": {"compute.rowz": 8}}, "Did you mean 'rows'?"),
        (
            {"accelerator": "systolic-psma", "set": {"compute.rows": [16, 32]}},
            "set.compute.rows = 32 on systolic-psma: accelerator 'systolic-psma': memory",
        ),
        ({"precisions": {"weight_bits": [64], "activation_bits": [8]}}, "no mode for 64/8"),
        ({"precisions": {"weight_bits": [16], "activation_bits": [8]}}, "has no entry for layer"),
        ({"accelerator": "bitfusion-egde"}, "Did you mean 'bitfusion-edge'?"),
        ({"sensitivity": "no-such-metric"}, "no sensitivity metric called 'no-such-metric'"),
        ({"sensitivity": "bit-gradient"}, "untrained weights"),
        ({"sensitivity": None}, "name what allocation minimises"),
        ({"method": "bmpq", "settings": {"scor": "enbg"}}, "there is no such setting"),
        ({"budget": {"latency": {"from": "0.1x", "to": "1x", "steps": 1_000_000}}}, "--yes"),
        ({"search": {"goals": ["latency", "energy"]}}, "a search varies only 'set'"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(
    sweep_files, tmp_path: Path, cli, changes, reason: str
) -> None:
    out = tmp_path / "out"
    done = cli("sweep", sweep_files.recipe(**changes), "-o", out)
    assert done.code == 2
    assert reason in done.err.replace("\n", " ")
    assert not out.exists()


def test_all_problems_come_at_once(sweep_files, tmp_path: Path, cli) -> None:
    recipe = sweep_files.recipe(set={"compute.rows": [8, 0], "compute.cols": [-1, 4]})
    done = cli("sweep", recipe, "-o", tmp_path / "out")
    assert "set.compute.rows = 0" in done.err
    assert "set.compute.cols = -1" in done.err
    assert "set.compute.rows = 8" not in done.err


def test_a_dry_run_counts_and_writes_nothing(sweep_files, tmp_path: Path, cli) -> None:
    recipe = sweep_files.recipe(set={"compute.rows": [4, 8, 16]})
    before = set(tmp_path.iterdir())
    done = cli("sweep", recipe, "--dry-run", "--json", "-j", 2)
    found = json.loads(done.out)
    assert (found["points"], found["variants"], found["tried"]) == (12, 3, 3)
    assert found["seconds"] == pytest.approx(
        (12 * found["seconds_per_point"] + 3 * found["seconds_per_variant"]) / 2, rel=0.5
    )
    assert set(tmp_path.iterdir()) == before


def test_rows_fronts_and_report(sweep_files, tmp_path: Path, cli) -> None:
    out = tmp_path / "out"
    recipe = sweep_files.recipe(
        accelerator=["bitfusion-edge", "stripes"],
        budget={"latency": ["0.01x", "0.9x", "0.95x", "1x"]},
        answers={
            "fronts": [["sensitivity", "latency"], ["sensitivity", "energy", "weight_memory"]],
            "transfer": True,
            "energy_samples": 40,
        },
    )
    done = cli("sweep", recipe, "-o", out, "-j", 1, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["points"] == 8
    assert found["statuses"] == {"optimal": 6, "infeasible": 2}
    assert len(found["fronts"]) == 2
    frame = Sweep.load(out).to_pandas()
    csv = pd.read_csv(out / "results.csv")
    assert list(csv.columns) == list(frame.columns)
    assert csv["key"].tolist() == frame["key"].tolist()
    assert pd.read_csv(out / "transfer.csv").shape[0] == 4
    survival = pd.read_csv(out / "energy.csv")
    assert survival["on_front"].between(0, 1).all()
    assert (survival["energy_p05_pj"] <= survival["energy_p95_pj"]).all()
    fronts = pd.read_csv(out / "fronts.csv")
    assert fronts.groupby("front")["knee"].sum().tolist() == [1, 1]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "data-opening=" in page
    assert "plotly_click" in page
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert "Points without an answer" in markdown


def test_a_second_run_needs_to_be_told(sweep_files, tmp_path: Path, cli) -> None:
    recipe, out = sweep_files.recipe(), tmp_path / "out"
    assert cli("sweep", recipe, "-o", out, "-j", 1).code == 0
    assert "--resume" in cli("sweep", recipe, "-o", out, "-j", 1).err
    again = cli("sweep", recipe, "-o", out, "-j", 1, "--resume")
    assert again.code == 0
    assert "4 points: 4 optimal" in again.out
