"""What is handed to a worker: a small value that names the sweep folder and what to do in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from hwmpq.sweep.answer import answer
from hwmpq.sweep.plan import Chunk, points_of
from hwmpq.sweep.points import Point
from hwmpq.sweep.shared import shared_of
from hwmpq.sweep.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a worker says of a finished task; the rows are on disk.

    Attributes:
        name: of the task.
        points: answered.
        failed: of them, those that failed.
        infeasible: of them, those whose budgets nothing meets.
        seconds: it took.
    """

    name: str
    points: int = 0
    failed: int = 0
    infeasible: int = 0
    seconds: float = 0.0


class Task(Protocol):
    """Something a worker does; it can be sent, and done twice without harm."""

    @property
    def name(self) -> str:
        """Unique in its sweep."""
        ...

    @property
    def trains(self) -> bool:
        """Whether it trains a network, which a cluster may have special workers for."""
        ...

    def run(self) -> Done:
        """Do it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Make what many points share: scores, or a cost table.

    Attributes:
        folder: the sweep folder.
        recipe_hash: of its plan.
        point: one of those points.
        what: which part.
        trains: never; scores are measured on the CPU.
    """

    folder: str
    recipe_hash: str
    point: Point
    what: str
    trains: bool = False

    @property
    def name(self) -> str:
        """Unique in its sweep."""
        return f"{self.what}-{self.point.index}"

    def run(self) -> Done:
        """Make it, if it is not there."""
        started = time.perf_counter()
        shared = shared_of(self.folder, self.recipe_hash)
        if self.what == "scores":
            shared.scores(self.point)
        else:
            shared.question(self.point)
        return Done(name=self.name, seconds=time.perf_counter() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer the points of a chunk and store their rows.

    Attributes:
        folder: the sweep folder.
        recipe_hash: of its plan.
        chunk: which points of the product.
        points: points outright, for a search.
        retries: of a point that fails for no fault of the input.
        trains: whether any of the points trains a network.
    """

    folder: str
    recipe_hash: str
    chunk: Chunk
    points: tuple[Point, ...] | None = None
    retries: int = 0
    trains: bool = False

    @property
    def name(self) -> str:
        """Unique in its sweep."""
        return f"chunk-{self.chunk.number}"

    def run(self) -> Done:
        """Answer and store."""
        started = time.perf_counter()
        shared = shared_of(self.folder, self.recipe_hash)
        points = points_of(shared.plan, self.chunk) if self.points is None else self.points
        rows = [answer(shared, point, retries=self.retries) for point in points]
        Store(shared.folder, self.recipe_hash).write(self.chunk.number, rows, shared.columns)
        statuses = [row["status"] for row in rows]
        return Done(
            name=self.name,
            points=len(rows),
            failed=statuses.count("failed"),
            infeasible=statuses.count("infeasible"),
            seconds=time.perf_counter() - started,
        )


def run_task(task: Task) -> Done:
    """What executors call on a worker."""
    return task.run()
