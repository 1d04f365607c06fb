"""Sweeps: exact rows, the same however they are run, stopped and resumed."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import hwmpq
from hwmpq.accelerator.area import area_mm2
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.question import ask
from hwmpq.errors import OutputError, SpecError
from hwmpq.precision import precisions
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sweep.execute import LocalProcesses
from hwmpq.sweep.run import plan_sweep, run_sweep
from hwmpq.sweep.store import CHUNKS, RESULTS
from hwmpq.sweep.tasks import Answer, Task

MANY_BUDGETS = {"latency": {"from": "0.3x", "to": "1x", "steps": 60}}


class Spy(LocalProcesses):
    """Notes which tasks are run."""

    seen: ClassVar[list[str]] = []

    def run(self, tasks: Sequence[Task]):
        Spy.seen = [task.name for task in tasks if isinstance(task, Answer)]
        yield from super().run(tasks)


def test_every_row_equals_a_direct_allocation(sweep_files, tmp_path: Path) -> None:
    recipe = sweep_files.recipe(
        accelerator=["bitfusion-edge", "stripes"],
        budget=[
            {"latency": ["0.5x", "0.8x"]},
            {"energy": "0.7x", "weight_memory": ["0.5x", "2KiB"]},
        ],
    )
    frame = run_sweep(recipe, tmp_path / "out").to_pandas()
    assert len(frame) == 8
    workload = hwmpq.load_workload(sweep_files.network)
    scores = SensitivityTable.load(sweep_files.scores)
    for _, row in frame.iterrows():
        limits = {
            name.removeprefix("budget."): row[name]
            for name in frame.columns
            if name.startswith("budget.") and isinstance(row[name], str)
        }
        question = ask(
            workload,
            hwmpq.load_accelerator(row["accelerator"]),
            Budget(**limits),
            candidates=precisions([2, 4, 8], [2, 4, 8]),
        )
        if row["status"] == "infeasible":
            with pytest.raises(hwmpq.InfeasibleError):
                question.require_feasible()
            continue
        direct = hwmpq.allocate(
            question.costs,
            scores,
            question.budget,
            fixed=question.rules.fixed,
            groups=question.rules.groups,
            candidates=question.rules.candidates,
        )
        assert row["sensitivity"] == direct.objective
        assert row["bits"] == " ".join(str(p) for p in direct.assignment.values())
        assert row["latency_cycles"] == question.costs.total("latency_cycles", direct.assignment)


def test_fronts_fall_with_the_budget(sweep_files, tmp_path: Path) -> None:
    frame = run_sweep(sweep_files.recipe(budget=MANY_BUDGETS), tmp_path / "out").to_pandas()
    answered = frame[frame["status"] == "optimal"]
    assert len(answered) > 20
    assert np.all(np.diff(answered["sensitivity"]) <= 0)
    assert np.all(answered["achieved.latency"] <= answered["limit.latency"])


def test_an_infeasible_point_is_a_row_with_what_is_achievable(sweep_files, tmp_path: Path) -> None:
    recipe = sweep_files.recipe(budget={"latency": ["0.01x", "1x"]})
    row = run_sweep(recipe, tmp_path / "out").to_pandas().iloc[0]
    assert row["status"] == "infeasible"
    assert "least achievable" in row["error"]
    question = ask(
        hwmpq.load_workload(sweep_files.network),
        hwmpq.load_accelerator("bitfusion-edge"),
        Budget(latency="1x"),
        candidates=precisions([2, 4, 8], [2, 4, 8]),
    )
    assert row["least.latency"] == question.intervals()[0].least
    assert row["limit.latency"] == pytest.approx(0.01 * question.intervals()[0].reference)


def test_two_processes_give_the_rows_of_one(sweep_files, tmp_path: Path) -> None:
    recipe = sweep_files.recipe(budget=MANY_BUDGETS, set={"compute.rows": [4, 8]})
    alone = run_sweep(recipe, tmp_path / "one")
    both = run_sweep(recipe, tmp_path / "two", executor=LocalProcesses(jobs=2))
    pd.testing.assert_frame_equal(alone.to_pandas(), both.to_pandas())
    assert (tmp_path / "one" / RESULTS).read_bytes() == (tmp_path / "two" / RESULTS).read_bytes()


def test_resume_runs_only_what_is_missing(sweep_files, tmp_path: Path) -> None:
    recipe, out = sweep_files.recipe(budget=MANY_BUDGETS), tmp_path / "out"
    before = run_sweep(recipe, out).to_pandas()
    (out / CHUNKS / "0000001.parquet").unlink()
    (out / CHUNKS / "0000002.parquet").write_bytes(b"torn")
    (out / CHUNKS / ".0000001.parquet.x.part").write_bytes(b"half")
    after = run_sweep(recipe, out, resume=True, executor=Spy())
    assert Spy.seen == ["chunk-1", "chunk-2"]
    pd.testing.assert_frame_equal(before, after.to_pandas())
    assert not list((out / CHUNKS).glob(".*"))
    run_sweep(recipe, out, resume=True, executor=Spy())
    assert Spy.seen == []


def test_rows_of_another_recipe_do_not_count(sweep_files, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    run_sweep(sweep_files.recipe(), out)
    run_sweep(sweep_files.recipe(reference="4/4"), other)
    (other / CHUNKS / "0000000.parquet").rename(out / CHUNKS / "0000000.parquet")
    run_sweep(sweep_files.recipe(), out, resume=True, executor=Spy())
    assert Spy.seen == ["chunk-0"]


def test_a_folder_belongs_to_one_recipe(sweep_files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sweep(sweep_files.recipe(), out)
    with pytest.raises(OutputError, match="--resume"):
        run_sweep(sweep_files.recipe(), out)
    changed = sweep_files.recipe(reference="4/4")
    with pytest.raises(OutputError, match="changed: reference"):
        run_sweep(changed, out, resume=True)
    run_sweep(changed, out, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        run_sweep(changed, tmp_path / "mine")


def test_changed_scores_are_another_recipe(sweep_files, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", sweep_files.recipe()
    run_sweep(recipe, out)
    table = SensitivityTable.load(sweep_files.scores)
    dataclasses.replace(table, values=table.values * 2).save(sweep_files.scores)
    with pytest.raises(OutputError, match=r"content of .*scores\.parquet"):
        run_sweep(recipe, out, resume=True)


def test_a_killed_client_resumes_to_the_rows_of_an_undisturbed_run(
    sweep_files, tmp_path: Path
) -> None:
    budget = {"latency": {"from": "0.3x", "to": "1x", "steps": 125}}
    recipe, out = sweep_files.recipe(budget=budget), tmp_path / "killed"
    code = (
        "from hwmpq.sweep.run import run_sweep\n"
        "from hwmpq.sweep.execute import LocalProcesses\n"
        f"run_sweep({str(recipe)!r}, {str(out)!r}, executor=LocalProcesses(jobs=2))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((out / CHUNKS).glob("0*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list((out / CHUNKS).glob("0*.parquet")))
    assert 0 < done < 5
    assert not (out / RESULTS).exists()
    with pytest.raises(SpecError, match="not finished"):
        hwmpq.Sweep.load(out)
    resumed = run_sweep(recipe, out, resume=True, executor=Spy()).to_pandas()
    assert len(Spy.seen) == 5 - done
    pd.testing.assert_frame_equal(resumed, run_sweep(recipe, tmp_path / "calm").to_pandas())
    assert resumed["key"].is_unique


class _Dies:
    """A task whose process is killed the first time."""

    name = "dies"
    trains = False

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def run(self):
        from hwmpq.sweep.tasks import Done

        if not self.mark.exists():
            self.mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return Done(name=self.name)


class _Lives:
    trains = False

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self):
        from hwmpq.sweep.tasks import Done

        return Done(name=self.name)


@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_a_killed_process_loses_no_task(tmp_path: Path) -> None:
    tasks = [_Dies(tmp_path / "mark"), *(_Lives(str(number)) for number in range(4))]
    done = [task.name for task in LocalProcesses(jobs=2).run(tasks)]
    assert sorted(done) == ["0", "1", "2", "3", "dies"]


def test_a_failing_point_is_recorded_and_the_others_run(
    sweep_files, tmp_path: Path, monkeypatch
) -> None:
    solve = ILP.solve

    def stumbling(self, problem):
        if problem.resources[0].limit < 0.5 * problem.resources[0].reference:
            raise RuntimeError("the solver stumbled")
        return solve(self, problem)

    monkeypatch.setattr(ILP, "solve", stumbling)
    frame = run_sweep(sweep_files.recipe(), tmp_path / "out").to_pandas()
    assert frame["status"].tolist() == ["failed", "optimal", "optimal", "optimal"]
    assert frame["error"][0] == "RuntimeError: the solver stumbled"
    assert np.isnan(frame["sensitivity"][0])


def test_faults_that_pass_are_tried_again(sweep_files, tmp_path: Path, monkeypatch) -> None:
    solve, calls = ILP.solve, []

    def flaky(self, problem):
        calls.append(problem)
        if len(calls) == 1:
            raise OSError("the disk was busy")
        return solve(self, problem)

    monkeypatch.setattr(ILP, "solve", flaky)
    recipe = sweep_files.recipe()
    once = run_sweep(recipe, tmp_path / "once", retries=0).to_pandas()
    assert once["status"].tolist() == ["failed", "optimal", "optimal", "optimal"]
    assert once["error"][0] == "OSError: the disk was busy"
    healed = run_sweep(recipe, tmp_path / "once", resume=True, retry_failed=True).to_pandas()
    assert set(healed["status"]) == {"optimal"}
    calls.clear()
    again = run_sweep(recipe, tmp_path / "again", retries=1).to_pandas()
    pd.testing.assert_frame_equal(again, healed)


def test_equal_bandwidth_and_equal_area(sweep_files, tmp_path: Path) -> None:
    recipe = sweep_files.recipe(
        set={"clock_hz": ["250MHz", "500MHz", "1GHz"], "compute.rows": [4, 64]},
        bandwidth_of="bitfusion-edge",
        area_of="bitfusion-edge",
        area_tolerance=0.1,
        budget={"latency": "1x"},
    )
    sweep = run_sweep(recipe, tmp_path / "out")
    frame = sweep.to_pandas()
    edge = hwmpq.load_accelerator("bitfusion-edge")
    limit = 1.1 * area_mm2(edge).total_mm2
    assert sweep.plan.area_limit_mm2 == pytest.approx(limit)
    assert (frame["area_mm2"] > limit).tolist() == (frame["status"] == "excluded").tolist()
    assert set(frame["status"]) == {"optimal", "excluded"}
    bits_per_second = edge.dram.bandwidth_bits_per_cycle * edge.clock_hz
    assert sweep.plan.bandwidth_bits_per_second == bits_per_second
    from hwmpq.sweep.machines import make_variant

    fast = make_variant(
        "bitfusion-edge", {"clock_hz": "1GHz"}, bandwidth_bits_per_second=bits_per_second
    )
    assert fast.dram.bandwidth_bits_per_cycle * fast.clock_hz == bits_per_second


def test_shared_work_is_done_once(sweep_files, tmp_path: Path, monkeypatch) -> None:
    import hwmpq.sweep.shared as module

    priced = []

    def counted(*arguments):
        priced.append(arguments)
        return module_cost_table(*arguments)

    module_cost_table = module.cost_table
    monkeypatch.setattr(module, "cost_table", counted)
    recipe = sweep_files.recipe(budget=MANY_BUDGETS, seeds=[0, 1])
    run_sweep(recipe, tmp_path / "out")
    assert len(priced) == 1
    assert len(list((tmp_path / "out" / "cache").glob("costs-*.parquet"))) == 1
    assert len(list((tmp_path / "out" / "cache").glob("graph-*.json"))) == 1


def test_relative_paths_are_found_by_workers_elsewhere(
    sweep_files, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = sweep_files.recipe(workload="network.yaml", sensitivity="scores.parquet")
    plan, _ = plan_sweep(recipe)
    assert plan.place("scores.parquet") == str(tmp_path / "scores.parquet")
    sweep = run_sweep(recipe, "out")
    monkeypatch.chdir("/")
    row = dict(sweep.to_pandas().iloc[0])
    assert list(sweep.assignment(row)) == ["stem", "body0", "body1", "body2", "body3", "fc"]
    assert sweep.point(row).budget == {"latency": "0.4x"}


@pytest.mark.slow
def test_methods_train_and_metrics_measure(tmp_path: Path) -> None:
    recipe = tmp_path / "train.yaml"
    recipe.write_text(
        "workload: resnet8-digits\naccelerator: bitfusion-edge\nbudget: {latency: 0.5x}\n"
        "method: uniform\nsensitivity: bit-gradient\nrandom_weights: true\nepochs: 1\n",
        encoding="utf-8",
    )
    frame = run_sweep(recipe, tmp_path / "out").to_pandas()
    assert frame["status"].isin(["optimal", "feasible"]).all()
    trained = frame[frame["kind"] == "method"].iloc[0]
    assert 0 < trained["accuracy"] <= 1
    run = hwmpq.Run.load(tmp_path / "out" / trained["run"])
    assert run.results.test_accuracy == trained["accuracy"]
    assert len(list((tmp_path / "out" / "cache").glob("scores-*.parquet"))) == 1
