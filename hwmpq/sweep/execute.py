"""Running tasks side by side in joblib processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

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
