"""The same rows through a Dask scheduler, whatever dies in between."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from hwmpq.errors import OutputError
from hwmpq.sweep.execute import DaskCluster, LocalProcesses
from hwmpq.sweep.run import run_sweep
from hwmpq.sweep.store import CHUNKS

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
