"""Search over accelerator parameters, with the allocation solved inside each trial."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hwmpq
from hwmpq.errors import OutputError
from hwmpq.sweep.answers import find_fronts
from hwmpq.sweep.claims import Claims
from hwmpq.sweep.execute import LocalProcesses
from hwmpq.sweep.run import run_sweep
from hwmpq.sweep.store import CHUNKS, RESULTS

optuna = pytest.importorskip("optuna")

AXES = {
    "compute.rows": [2, 4, 8, 16],
    "compute.cols": [2, 4, 8],
    "dram.bandwidth_bits_per_cycle": [32, 64],
}


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_stopped_search_ends_with_the_rows_of_an_undisturbed_one(
    sweep_files, tmp_path: Path, sampler: str
) -> None:
    recipe = sweep_files.recipe(
        set=AXES,
        budget={"latency": "0.6x"},
        area_of="bitfusion-edge",
        area_tolerance=1.0,
        search={
            "sampler": sampler,
            "trials": 15,
            "population": 5,
            "goals": ["sensitivity", "latency", "area"],
        },
    )
    out = tmp_path / "out"
    sweep = run_sweep(recipe, out)
    before = sweep.to_pandas()
    assert len(before) == 15
    assert before["key"].is_unique
    (out / CHUNKS / "0000001.parquet").unlink()
    (out / CHUNKS / "0000002.parquet").unlink()
    after = run_sweep(recipe, out, resume=True)
    pd.testing.assert_frame_equal(before, after.to_pandas())
    excluded = before[before["status"] == "excluded"]
    assert np.all(excluded["area_mm2"] > sweep.plan.area_limit_mm2)
    (front,) = find_fronts(sweep)
    assert front.quantities == ("sensitivity", "latency", "area")
    assert set(front.rows["status"]) == {"optimal"}
    row = dict(before.iloc[3])
    assert sweep.point(row).variant == row["variant"]


def test_a_search_finds_the_grid_s_best(sweep_files, tmp_path: Path) -> None:
    changes = {"set": AXES, "budget": {"weight_memory": "0.95x"}}
    grid = run_sweep(sweep_files.recipe("grid", **changes), tmp_path / "grid").to_pandas()
    search = sweep_files.recipe(
        "search",
        **changes,
        search={"sampler": "tpe", "trials": 24, "population": 6, "goals": "latency"},
    )
    found = run_sweep(search, tmp_path / "search", executor=LocalProcesses(jobs=1)).to_pandas()
    assert len(grid) == 24
    assert found["latency_s"].min() <= grid["latency_s"].quantile(0.2)


def shared_recipe(sweep_files, storage: str, trials: int = 16) -> Path:
    search = {
        "sampler": "nsga2", "trials": trials, "population": 6,
        "goals": ["latency", "area"], "storage": storage,
    }  # fmt: skip
    return sweep_files.recipe("shared", set=AXES, budget={"latency": "0.6x"}, search=search)


def start(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    code = f"from hwmpq.sweep.run import run_sweep\nrun_sweep({str(recipe)!r}, {str(out)!r})"
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite:///", ""])
def test_two_processes_share_a_study_and_one_is_killed(
    sweep_files, tmp_path: Path, kind: str
) -> None:
    recipe = shared_recipe(sweep_files, f"{kind}{tmp_path}/trials")
    first, second = tmp_path / "first", tmp_path / "second"
    both = [start(recipe, first), start(recipe, second)]
    deadline = time.monotonic() + 120
    while len(list((first / CHUNKS).glob("0*"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    both[0].kill()
    both[0].wait()
    made_by_killed = {file.name for file in (first / CHUNKS).glob("0*")}
    assert 0 < len(made_by_killed) < 16
    assert both[1].wait(timeout=120) == 0
    frame = hwmpq.Sweep.load(second).to_pandas()
    assert len(frame) == 16
    assert frame["point"].is_unique
    assert frame["key"].is_unique
    # those of the killed process count, and those it left half done were made again
    assert len(made_by_killed & {f"{point:07d}.parquet" for point in frame["point"]}) >= 3
    resumed = run_sweep(recipe, first, resume=True)
    pd.testing.assert_frame_equal(resumed.to_pandas(), frame)
    assert (first / RESULTS).read_bytes() == (second / RESULTS).read_bytes()


def test_rows_of_a_shared_search_are_exact_and_keep_its_constraints(
    sweep_files, tmp_path: Path
) -> None:
    sweep = run_sweep(
        shared_recipe(sweep_files, f"sqlite:///{tmp_path}/trials.db", trials=8), tmp_path / "out"
    )
    frame = sweep.to_pandas()
    assert frame["point"].tolist() == list(range(8))
    for _, row in frame.iterrows():
        point = sweep.point(dict(row))
        grid = sweep_files.recipe("one", set=dict(point.set), budget={"latency": "0.6x"})
        again = run_sweep(grid, tmp_path / f"one-{row['point']}").to_pandas().iloc[0]
        assert again["status"] == row["status"]
        assert again["status"] == "infeasible" or again["bits"] == row["bits"]
    study = optuna.load_study(
        study_name=sweep.plan.recipe_hash, storage=f"sqlite:///{tmp_path}/trials.db"
    )
    missed = {trial.number: trial.constraints["fits"] for trial in study.trials}
    answered = set(frame.loc[frame["status"] == "optimal", "point"])
    assert {number for number, by in missed.items() if by <= 0} == answered


def test_one_process_repeats_a_shared_search(sweep_files, tmp_path: Path) -> None:
    frames = [
        run_sweep(
            shared_recipe(sweep_files, str(tmp_path / f"journal-{number}"), trials=14),
            tmp_path / f"out-{number}",
        ).to_pandas()
        for number in range(2)
    ]
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_stopped_shared_search_ends_with_the_rows_of_an_undisturbed_one(
    sweep_files, tmp_path: Path, sampler: str
) -> None:
    class StopsAt(LocalProcesses):
        def run(self, tasks):
            if any(task.name == "chunk-5" for task in tasks):
                raise KeyboardInterrupt
            yield from super().run(tasks)

    def recipe(storage: str) -> Path:
        search = {
            "sampler": sampler, "trials": 18, "population": 4,
            "goals": ["latency", "area"], "storage": str(tmp_path / storage),
        }  # fmt: skip
        return sweep_files.recipe(storage, set=AXES, budget={"latency": "0.6x"}, search=search)

    before = run_sweep(recipe("undisturbed"), tmp_path / "a").to_pandas()
    with pytest.raises(KeyboardInterrupt):
        run_sweep(recipe("stopped"), tmp_path / "b", executor=StopsAt())
    after = run_sweep(recipe("stopped"), tmp_path / "b", resume=True).to_pandas()
    # trial 5 was put back as 6
    assert after["point"].tolist() == [*range(5), *range(6, 19)]
    of_place = ["recipe", "point", "key"]
    pd.testing.assert_frame_equal(before.drop(columns=of_place), after.drop(columns=of_place))


def test_a_folder_gets_the_rows_of_the_storage_that_it_is_given_last(
    sweep_files, tmp_path: Path
) -> None:
    def recipe(storage: str) -> Path:
        return shared_recipe(sweep_files, str(tmp_path / storage), trials=4)

    first, second = tmp_path / "first", tmp_path / "second"
    ours = run_sweep(recipe("a"), first).to_pandas()
    # another study of the same recipe, with other trials
    plan_hash = hwmpq.Sweep.load(first).plan.recipe_hash
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "b"))
    study = optuna.create_study(
        directions=["minimize", "minimize"],
        storage=optuna.storages.JournalStorage(backend),
        study_name=plan_hash,
    )
    for rows in (16, 16, 2, 8):
        study.enqueue_trial(
            {"compute.rows": rows, "compute.cols": 2, "dram.bandwidth_bits_per_cycle": 32}
        )
    theirs = run_sweep(recipe("b"), second).to_pandas()
    assert not theirs["variant"].equals(ours["variant"])
    again = run_sweep(recipe("b"), first).to_pandas()
    pd.testing.assert_frame_equal(again, theirs)
    assert (first / RESULTS).read_bytes() == (second / RESULTS).read_bytes()


def test_an_error_of_a_task_is_not_blamed_on_the_storage(sweep_files, tmp_path: Path) -> None:
    class Breaks(LocalProcesses):
        def run(self, tasks):
            if any(task.name.startswith("chunk") for task in tasks):
                raise OSError("no space left")
            yield from super().run(tasks)

    recipe = shared_recipe(sweep_files, str(tmp_path / "journal"), trials=2)
    with pytest.raises(OSError, match="no space left"):
        run_sweep(recipe, tmp_path / "out", executor=Breaks())


def test_a_study_of_another_folder_is_joined_or_begun_anew(sweep_files, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    recipe = shared_recipe(sweep_files, str(journal), trials=5)
    before = run_sweep(recipe, tmp_path / "a").to_pandas()
    joined = run_sweep(recipe, tmp_path / "b").to_pandas()
    pd.testing.assert_frame_equal(before, joined)
    assert len(list((tmp_path / "b" / CHUNKS).glob("0*"))) == 5
    size = journal.stat().st_size
    run_sweep(recipe, tmp_path / "b", overwrite=True)
    assert journal.stat().st_size > 1.5 * size


def test_trials_are_claimed_once_and_put_back_when_their_owner_is_gone(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/trials.db"

    def member(process: int) -> Claims:
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
        claims = Claims(study, wanted=3, tries=1)
        claims.owner = claims.owner | {"process": process}
        return claims

    here, there = member(os.getpid()), member(2**22 + 1)
    mine, theirs = here.take(2), there.take(2)
    assert [trial.number for trial in (*mine, *theirs)] == [0, 1, 2]
    assert here.take(1) == []
    (lost,) = theirs
    lost.suggest_categorical("rows", [4, 8])
    # the process that claimed it does not exist, so it is put back with its values
    here.collect_lost()
    (again,) = here.take(1)
    assert again.number == 3
    assert again.suggest_categorical("rows", [4, 8]) == lost.params["rows"]
    with pytest.raises(here.lost_error):
        there.study.tell(lost.number, 1.0)
    for trial in (*mine, again):
        here.study.tell(trial.number, 1.0)
        here.done(trial)
    assert [trial.number for trial in here.finished()] == [0, 1, 3]
    assert here.take(1) == there.take(1) == []


@pytest.mark.parametrize("elsewhere", ["another boot pid:[1]", None])
def test_a_process_that_cannot_be_seen_from_here_is_not_dead(tmp_path: Path, elsewhere) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/trials.db", study_name="s")
    far, here = Claims(study, wanted=1, tries=1), Claims(study, wanted=1, tries=1)
    far.owner = far.owner | {"process": 2**22 + 1, "processes": elsewhere}
    if elsewhere is None:
        here.owner = here.owner | {"processes": None}
    assert len(far.take(1)) == 1
    here.collect_lost()
    assert here.take(1) == []
    assert [str(trial.state) for trial in study.trials] == ["TrialState.RUNNING"]


def test_an_error_about_a_trial_that_is_still_at_work_is_raised(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/trials.db", study_name="s")
    claims = Claims(study, wanted=1, tries=1)
    (trial,) = claims.take(1)
    with pytest.raises(ValueError, match="a value"), claims.unless_lost(trial.number):
        raise ValueError("a value")
    assert claims.mine
    study.tell(trial.number, 1.0)
    with claims.unless_lost(trial.number):
        study.tell(trial.number, 1.0)
    assert not claims.mine


def test_what_takes_the_place_of_a_lost_trial_is_counted_once(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/trials.db", study_name="s")
    claims = Claims(study, wanted=4, tries=1)
    places = []
    for gives_back in (False, True, True, False):
        (trial,) = claims.take(1)
        trial.suggest_categorical("rows", [4, 8])
        places.append(claims.place(trial.number))
        if gives_back:
            claims.give_back()
        else:
            study.tell(trial.number, 1.0)
            claims.done(trial)
    # trial 1 was put back as 2, which was given up: 3 is another proposal
    assert places == [0, 1, 1, 2]


def test_a_claim_too_many_is_given_up(tmp_path: Path, monkeypatch) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/trials.db", study_name="s")
    first, second = Claims(study, wanted=1, tries=1), Claims(study, wanted=1, tries=1)
    assert len(first.take(1)) == 1
    # the second looked before the first had claimed
    looks = iter([True, False])
    monkeypatch.setattr(second, "_is_room", lambda: next(looks))
    assert second.take(1) == []
    assert [str(trial.state) for trial in study.trials] == [
        "TrialState.RUNNING",
        "TrialState.FAIL",
    ]


def test_a_trial_whose_beat_stands_still_is_lost(tmp_path: Path, monkeypatch) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/trials.db", study_name="s")
    far, here = Claims(study, wanted=1, tries=1), Claims(study, wanted=1, tries=1)
    far.owner = {"host": "another machine", "process": os.getpid()}
    (trial,) = far.take(1)
    clock = iter([0.0, 50.0, 100.0, 170.0])
    monkeypatch.setattr("hwmpq.sweep.claims.time.monotonic", lambda: next(clock))
    here.collect_lost()
    far.beat(1)
    here.collect_lost()
    here.collect_lost()
    assert here.take(1) == []
    here.collect_lost()
    assert [each.number for each in here.take(1)] == [trial.number + 1]


def test_what_a_stopped_process_claimed_is_given_back(sweep_files, tmp_path: Path) -> None:
    class Stops(LocalProcesses):
        def run(self, tasks):
            yield from super().run(tasks[:1])
            raise KeyboardInterrupt

    recipe = shared_recipe(sweep_files, str(tmp_path / "journal"), trials=6)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(recipe, tmp_path / "out", executor=Stops(jobs=4))
    frame = run_sweep(recipe, tmp_path / "out", resume=True).to_pandas()
    # trial 0 was made, 1 to 3 were put back as 4 to 6
    assert frame["point"].tolist() == [0, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("storage", ["nosuchdb://x/y", "sqlite:////no/such/folder/trials.db"])
def test_a_storage_that_cannot_be_used_is_said(sweep_files, tmp_path: Path, storage: str) -> None:
    with pytest.raises(OutputError, match=r"the storage '.*' of the search cannot be used"):
        run_sweep(shared_recipe(sweep_files, storage), tmp_path / "out")
