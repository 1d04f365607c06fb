"""``hwmpq report`` on sweeps: written again, elsewhere, and several compared."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hwmpq.sweep.answers as answers
from hwmpq.errors import UnsupportedError
from hwmpq.sweep.run import run_sweep


def test_a_report_is_written_again_and_elsewhere(sweep_files, tmp_path: Path, cli) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    asked = {"transfer": True, "energy_samples": 20}
    recipe = sweep_files.recipe(accelerator=["bitfusion-edge", "stripes"], answers=asked)
    assert cli("sweep", recipe, "-o", out, "-j", 1).code == 0
    names = ("report.html", "report.md", "results.csv", "fronts.csv", "transfer.csv", "energy.csv")
    before = {name: (out / name).read_bytes() for name in names}
    for name in names:
        (out / name).unlink()
    assert cli("report", out).code == 0
    done = cli("report", out, "-o", other, "--json")
    assert json.loads(done.out)["sweeps"] == [str(out.resolve())]
    for name in names:
        assert (out / name).read_bytes() == before[name]
        assert (other / name).read_bytes() == before[name]


def test_fronts_of_several_sweeps_are_compared(sweep_files, tmp_path: Path, cli) -> None:
    small = sweep_files.recipe("small", set={"compute.rows": 4})
    large = sweep_files.recipe("large", set={"compute.rows": 16})
    for recipe in (small, large):
        assert cli("sweep", recipe, "-o", tmp_path / recipe.stem, "-j", 1).code == 0
    out = tmp_path / "both"
    done = cli("report", tmp_path / "small", tmp_path / "large", "-o", out)
    assert done.code == 0
    csv = pd.read_csv(out / "fronts.csv")
    assert csv["sweep"].unique().tolist() == ["small", "large"]
    values = csv[["sensitivity", "latency_s"]].to_numpy()
    beaten = [any((v <= w).all() and (v < w).any() for v in values) for w in values]
    assert csv["on_joint_front"].tolist() == np.logical_not(beaten).tolist()
    rows = pd.concat(pd.read_csv(tmp_path / name / "results.csv") for name in ("small", "large"))[
        ["sensitivity", "latency_s"]
    ].dropna()
    low, high = rows.min().to_numpy(), rows.max().to_numpy()
    grid = (np.arange(200) + 0.5) / 200
    cells = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    for _, mine in csv.groupby("sweep"):
        unit = (mine[["sensitivity", "latency_s"]].to_numpy() - low) / (high - low)
        covered = np.any([np.all(point <= cells, axis=1) for point in unit], axis=0)
        assert mine["hypervolume"].iloc[0] == pytest.approx(covered.mean(), abs=0.02)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "data-opening=" in page
    assert "on the joint front" in page


def test_other_scores_are_another_contest(sweep_files, tmp_path: Path, cli) -> None:
    first = sweep_files.recipe("first")
    run_sweep(first, tmp_path / "first")
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(sweep_files.scores.read_bytes())
    run_sweep(sweep_files.recipe("same", sensitivity=str(copy)), tmp_path / "same")
    from hwmpq.sensitivity.base import SensitivityTable

    table = SensitivityTable.load(sweep_files.scores)
    other = tmp_path / "other.parquet"
    SensitivityTable(
        layers=table.layers, precisions=table.precisions, values=table.values * 3, metric="made up"
    ).save(other)
    run_sweep(sweep_files.recipe("other", sensitivity=str(other)), tmp_path / "other")
    folders = [tmp_path / name for name in ("first", "same", "other")]
    assert cli("report", *folders, "-o", tmp_path / "all").code == 0
    csv = pd.read_csv(tmp_path / "all" / "fronts.csv")
    together = csv.groupby("group")["sweep"].unique().map(list).tolist()
    assert sorted(together) == [["first", "same"], ["other"]]
    assert csv["on_joint_front"].all()


def test_runs_and_sweeps_are_not_mixed(sweep_files, tmp_path: Path, cli) -> None:
    run_sweep(sweep_files.recipe(), tmp_path / "out")
    (tmp_path / "run").mkdir()
    done = cli("report", tmp_path / "out", tmp_path / "run")
    assert done.code == 2
    assert "report them one by one" in done.err
    (tmp_path / "out" / "results.parquet").unlink()
    done = cli("report", tmp_path / "out")
    assert done.code == 2
    assert "has not finished" in done.err


def test_what_cannot_be_worked_out_leaves_the_rest(
    sweep_files, tmp_path: Path, cli, monkeypatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise UnsupportedError("two mappings tie")

    monkeypatch.setattr(answers, "find_survival", fails)
    recipe = sweep_files.recipe(answers={"energy_samples": 10})
    done = cli("sweep", recipe, "-o", tmp_path / "out", "-j", 1, "--json")
    assert done.code == 0
    assert json.loads(done.out)["missing"] == ["energy_samples: two mappings tie"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Could not be worked out: energy_samples: two mappings tie." in page


def test_limits_and_what_was_reached_have_names_of_their_own(
    sweep_files, tmp_path: Path, cli
) -> None:
    recipe = sweep_files.recipe(budget={"latency": {"from": "0.4x", "to": "1x", "steps": 8}})
    assert cli("sweep", recipe, "-o", tmp_path / "out", "-j", 1).code == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    header = next(line for line in text.splitlines() if "latency limit" in line)
    titles = [cell.strip() for cell in header.strip("|").split("|")]
    assert titles[:4] == ["point", "accelerator", "latency limit", "sensitivity"]
    assert titles[4].startswith("latency, ")  # with the unit of the column
    assert "0.4857x" in text
    assert "0.485714" not in text
