"""Running tasks on the workers of a Dask cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from hwmpq.errors import OutputError
from hwmpq.sweep.tasks import Done, Task, run_task

_LOOK_S: Final = 1.0
"""Between looks at which workers are there, while nothing finishes."""
_PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class DaskCluster:
    """The workers of a running ``dask.distributed`` scheduler.

    Every worker must see the sweep folder, and the files that the recipe names, under the same
    path.

    Attributes:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``.
        training: what a worker must offer for a task that trains, such as ``{"GPU": 1}``; other
            tasks run on any worker.
        retries: how often a task is handed out again when its worker dies.
        timeout_s: to wait for the scheduler, and for a worker that can run what is left.
    """

    address: str
    training: Mapping[str, float] = field(default_factory=dict)
    retries: int = 2
    timeout_s: float = 10.0

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        with self._client() as client:
            return max(1, int(sum(client.nthreads().values())))

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Run all tasks on the cluster.

        Raises:
            OutputError: the cluster lost tasks, or has no worker that can run what is left.
        """
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        with self._client() as client:
            futures: dict[Any, Task] = {}
            try:
                for trains in (True, False):
                    # training takes longest, so it is handed out first
                    futures |= self._submit(client, [t for t in tasks if t.trains is trains])
                yield from self._results(client, futures)
            except (CancelledError, KilledWorker, OSError) as error:
                msg = (
                    f"the cluster at {self.address} lost tasks ({type(error).__name__}: {error}); "
                    "finished points are kept: go on with --resume"
                )
                raise OutputError(msg) from error
            finally:
                client.cancel(list(futures))

    def _submit(self, client: Any, tasks: Sequence[Task]) -> dict[Any, Task]:
        if not tasks:
            return {}
        run = uuid4().hex
        made = client.map(
            run_task,
            list(tasks),
            key=[f"hwmpq-{task.name}-{run}" for task in tasks],
            pure=False,
            retries=self.retries,
            resources=(dict(self.training) or None) if tasks[0].trains else None,
        )
        return dict(zip(made, tasks, strict=True))

    def _results(self, client: Any, futures: Mapping[Any, Task]) -> Iterator[Done]:
        """What each task says as it finishes; stops where no worker could ever run the rest."""
        from distributed import as_completed

        finished = as_completed(futures, loop=client.loop)
        left = set(futures)
        able = looked = time.monotonic()
        while left:
            batch = finished.next_batch(block=False)
            now = time.monotonic()
            if batch:
                able = now
            elif now - looked > _LOOK_S:
                looked = now
                missing = self._missing(client, [futures[future] for future in left])
                if not missing:
                    able = now
                elif now - able > self.timeout_s:
                    raise OutputError(missing)
            else:
                time.sleep(_PAUSE_S)
            for future in batch:
                left.discard(future)
                yield future.result()

    def _missing(self, client: Any, tasks: Sequence[Task]) -> str:
        """Why the cluster can run none of some tasks; empty if it can run one."""
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            return (
                f"the cluster at {self.address} has no workers; start: dask worker "
                f"{self.address}. Finished points are kept: go on with --resume"
            )
        if not all(task.trains for task in tasks):
            return ""
        for worker in workers:
            offered = worker["resources"]
            if all(offered.get(name, 0) >= amount for name, amount in self.training.items()):
                return ""
        wanted = ",".join(f"{name}={amount:g}" for name, amount in self.training.items())
        return (
            f"{len(tasks)} points train on workers that offer {wanted}, and none of the "
            f"{len(workers)} workers at {self.address} does; start one: dask worker "
            f"{self.address} --resources {wanted}. Finished points are kept: go on with --resume"
        )

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
