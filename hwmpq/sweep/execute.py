"""Running tasks side by side: joblib processes here, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from hwmpq.errors import OutputError
from hwmpq.sweep.tasks import Done, Task, run_task


class Executor(Protocol):
    """Runs tasks in any order."""

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Run all tasks; yields each as it finishes.

        Raises:
            OutputError: workers keep dying, or cannot be reached.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProcesses:
    """Processes on this machine, one task each at a time.

    Attributes:
        jobs: processes; with one, tasks run in this process.
        threads: of numeric libraries inside each.
        retries: how often tasks of a process that died are handed out again.
    """

    jobs: int = 1
    threads: int = 1
    retries: int = 2

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        return self.jobs

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Run all tasks; tasks lost with a process are run again."""
        if min(self.jobs, len(tasks)) <= 1:
            yield from map(run_task, tasks)
            return
        left = {task.name: task for task in tasks}
        for attempt in range(self.retries + 1):
            try:
                for done in self._parallel(list(left.values())):
                    del left[done.name]
                    yield done
            except TerminatedWorkerError as error:
                if attempt == self.retries:
                    msg = (
                        f"worker processes died {attempt + 1} times, {len(left)} tasks are left; "
                        "is memory short? Finished points are kept: go on with --resume, and "
                        "fewer --jobs"
                    )
                    raise OutputError(msg) from error
            if not left:
                return

    def _parallel(self, tasks: Sequence[Task]) -> Iterator[Done]:
        with parallel_config(backend="loky", inner_max_num_threads=self.threads):
            made = Parallel(
                n_jobs=self.jobs, return_as="generator_unordered", batch_size=1, timeout=None
            )(delayed(run_task)(task) for task in tasks)
        yield from made


@dataclass(frozen=True, slots=True, kw_only=True)
class DaskCluster:
    """The workers of a running ``dask.distributed`` scheduler.

    Every worker must see the sweep folder, and the files that the recipe names, under the same
    path.

    Attributes:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``.
        resources: what a worker must offer, such as ``{"GPU": 1}``.
        retries: how often a task is handed out again when its worker dies.
        timeout_s: to wait for the scheduler.
    """

    address: str
    resources: tuple[tuple[str, float], ...] = ()
    retries: int = 2
    timeout_s: float = 10.0

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        with self._client() as client:
            return max(1, int(sum(client.nthreads().values())))

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Run all tasks on the cluster."""
        from distributed import CancelledError, as_completed
        from distributed.scheduler import KilledWorker

        run = uuid4().hex
        with self._client() as client:
            futures = client.map(
                run_task,
                list(tasks),
                key=[f"hwmpq-{task.name}-{run}" for task in tasks],
                pure=False,
                retries=self.retries,
                resources=dict(self.resources) or None,
            )
            try:
                for future in as_completed(futures, loop=client.loop):
                    yield future.result()
            except (CancelledError, KilledWorker, OSError) as error:
                msg = (
                    f"the cluster at {self.address} lost tasks ({type(error).__name__}: {error}); "
                    "finished points are kept: go on with --resume"
                )
                raise OutputError(msg) from error
            finally:
                client.cancel(futures)

    def _client(self) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            msg = "a cluster needs dask.distributed; install it with: pip install 'hwmpq[cluster]'"
            raise OutputError(msg) from error
        try:
            return Client(self.address, timeout=self.timeout_s, set_as_default=False)
        except (OSError, ValueError) as error:
            msg = f"no scheduler answers at '{self.address}' ({error}); start: dask scheduler"
            raise OutputError(msg) from error
