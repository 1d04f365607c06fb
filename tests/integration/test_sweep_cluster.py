"""The same rows through a Dask scheduler, whatever dies in between."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from hwmpq.codesign.progress import Silent
from hwmpq.errors import OutputError
from hwmpq.sweep.cluster import DaskCluster
from hwmpq.sweep.execute import LocalProcesses
from hwmpq.sweep.plan import chunks
from hwmpq.sweep.run import Job, plan_sweep, run_sweep
from hwmpq.sweep.store import CHUNKS
from hwmpq.sweep.tasks import Done

distributed = pytest.importorskip("distributed")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster() -> Iterator[object]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


class _Disturb:
    """Does something once the first chunk is stored."""

    def __init__(self, action) -> None:
        self.action = action

    def start(self, phase: str, total: int, done: int = 0) -> None:
        pass

    def budgets(self, intervals, limits, reference) -> None:
        pass

    def advance(self, phase: str, remark: str = "") -> None:
        del remark
        if phase == "points" and self.action is not None:
            action, self.action = self.action, None
            action()


def test_two_workers_give_the_rows_of_joblib_and_survive(
    sweep_files, tmp_path: Path, cluster
) -> None:
    budget = {"latency": {"from": "0.3x", "to": "1x", "steps": 100}}
    recipe = sweep_files.recipe(budget=budget)
    executor = DaskCluster(address=cluster.scheduler_address)
    assert executor.workers == 2
    local = run_sweep(recipe, tmp_path / "local", executor=LocalProcesses(jobs=2)).to_pandas()

    remote = run_sweep(recipe, tmp_path / "remote", executor=executor).to_pandas()
    pd.testing.assert_frame_equal(local, remote)

    victim = next(iter(cluster.workers.values())).pid
    killed = run_sweep(
        recipe,
        tmp_path / "killed",
        executor=executor,
        progress=_Disturb(lambda: os.kill(victim, signal.SIGKILL)),
    ).to_pandas()
    pd.testing.assert_frame_equal(local, killed)

    cut = tmp_path / "cut"
    with pytest.raises(OutputError, match="--resume"):
        run_sweep(recipe, cut, executor=executor, progress=_Disturb(cluster.close))
    assert len(list((cut / CHUNKS).glob("0*.parquet"))) < 4
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as fresh:
        again = DaskCluster(address=fresh.scheduler_address)
        resumed = run_sweep(recipe, cut, executor=again, resume=True).to_pandas()
    pd.testing.assert_frame_equal(local, resumed)
    assert resumed["key"].is_unique


def test_no_scheduler_is_said_before_anything_runs(sweep_files, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(OutputError, match="no scheduler answers"):
        _ = DaskCluster(address="tcp://127.0.0.1:9", timeout_s=1).workers
    assert time.monotonic() - started < 30


class _Where:
    """A task that says which worker ran it."""

    def __init__(self, name: str, *, trains: bool) -> None:
        self.name = name
        self.trains = trains

    def run(self) -> Done:
        time.sleep(0.05)
        return Done(name=f"{self.name}@{distributed.get_worker().name}")


@pytest.fixture
def mixed() -> Iterator[object]:
    """One worker with a GPU's resource and one without, in this process."""
    plain: dict[str, object] = {"nthreads": 1, "dashboard": False}
    workers = {
        "plain": {"cls": distributed.Worker, "options": plain},
        "gpu": {"cls": distributed.Worker, "options": plain | {"resources": {"GPU": 1}}},
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "port": 0}}
    with distributed.SpecCluster(workers=workers, scheduler=scheduler) as found:
        yield found


def test_training_goes_to_workers_with_a_gpu_and_the_rest_anywhere(mixed) -> None:
    executor = DaskCluster(address=mixed.scheduler_address, training={"GPU": 1.0})
    tasks = [_Where(f"{n}-{'train' if n < 8 else 'allocate'}", trains=n < 8) for n in range(40)]
    done = [found.name for found in executor.run(tasks)]
    assert len(done) == 40
    assert {name.partition("@")[2] for name in done if "train" in name} == {"gpu"}
    assert {name.partition("@")[2] for name in done if "allocate" in name} == {"gpu", "plain"}


def test_without_such_a_worker_it_says_so_once_the_rest_is_done(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "workload: resnet8-digits\naccelerator: bitfusion-edge\nbudget: {latency: [0.8x, 1x]}\n"
        "sensitivity: weight-mse\nrandom_weights: true\nmethod: uniform\nepochs: 1\n"
        "device: cuda\n",
        encoding="utf-8",
    )
    out = tmp_path / "out"
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as plain:
        executor = DaskCluster(
            address=plain.scheduler_address, training={"GPU": 1.0}, timeout_s=3.0
        )
        with pytest.raises(
            OutputError, match="2 points train on workers that offer GPU=1"
        ) as said:
            run_sweep(recipe, out, executor=executor)
    assert "none of the 1 workers" in str(said.value)
    assert "--resources GPU=1" in str(said.value)
    assert len(list((out / CHUNKS).glob("0*.parquet"))) == 2
    plan, _ = plan_sweep(recipe)
    job = Job(out, plan, LocalProcesses(), Silent(), retries=0)
    assert [job.task(chunk).trains for chunk in chunks(plan)] == [False, False, True, True]


def test_a_cluster_without_workers_is_said() -> None:
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty:
        executor = DaskCluster(address=empty.scheduler_address, timeout_s=3.0)
        with pytest.raises(OutputError, match="has no workers; start: dask worker"):
            list(executor.run([_Where("a", trains=False)]))
