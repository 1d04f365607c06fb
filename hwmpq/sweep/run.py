"""Running a sweep: plan, prepare what points share, answer chunk by chunk, merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from hwmpq.codesign.progress import Listener, Silent
from hwmpq.errors import Problem, SpecError
from hwmpq.sweep.check import check
from hwmpq.sweep.execute import Executor, LocalProcesses
from hwmpq.sweep.folder import open_sweep_folder
from hwmpq.sweep.graph_file import save_graph
from hwmpq.sweep.plan import Chunk, Plan, chunks, points_of
from hwmpq.sweep.points import Grid, Point
from hwmpq.sweep.recipe import Recipe, read_recipe
from hwmpq.sweep.result import Sweep
from hwmpq.sweep.rows import schema
from hwmpq.sweep.search import run_search
from hwmpq.sweep.shared import Shared, keeps_costs
from hwmpq.sweep.store import Store
from hwmpq.sweep.tasks import Answer, Done, Prepare, Task
from hwmpq.workload.graph import Workload

PREPARING: Final = "shared work"
ANSWERING: Final = "points"
MANY: Final = 100_000
"""Points beyond which a sweep must be meant."""


def run_sweep(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    executor: Executor | None = None,
    resume: bool = False,
    overwrite: bool = False,
    retries: int = 1,
    retry_failed: bool = False,
    many: bool = False,
    progress: Listener | None = None,
) -> Sweep:
    """Run every point of a recipe, or those that are missing.

    Rows depend on the recipe alone: not on the executor, nor on how often the run was stopped.

    Args:
        recipe: a recipe or its file.
        out: the sweep folder.
        executor: where tasks run; one process by default.
        resume: go on with a sweep of the same recipe.
        overwrite: replace a sweep that lies there.
        retries: of points that fail for no fault of their input.
        retry_failed: run chunks with failed rows again, too.
        many: allow more than `MANY` points.
        progress: is told of points as they finish.

    Raises:
        SpecError: the recipe breaks the schema, cannot run or has very many points; all problems
            at once.
        OutputError: the folder holds something else, or cannot be written.
    """
    plan, workloads = plan_sweep(recipe, many=many)
    return run_plan(
        plan,
        workloads,
        Path(out),
        executor=executor or LocalProcesses(),
        resume=resume,
        overwrite=overwrite,
        retries=retries,
        retry_failed=retry_failed,
        listener=progress or Silent(),
    )


def run_plan(
    plan: Plan,
    workloads: Mapping[str, Workload],
    out: Path,
    *,
    executor: Executor,
    resume: bool,
    overwrite: bool,
    retries: int,
    retry_failed: bool,
    listener: Listener,
) -> Sweep:
    """Run what `plan_sweep` made; arguments as those of `run_sweep`."""
    search = plan.recipe.search
    if search is not None and retry_failed:
        name, rule = "recipe", "cannot try single trials again: later ones build on them"
        raise SpecError(name, [Problem("search", rule, fix="Start it anew with --overwrite.")])
    folder = out.resolve()
    joins = search is not None and search.storage is not None
    open_sweep_folder(folder, plan, resume=resume or joins, overwrite=overwrite)
    keep_graphs(Shared(folder, plan), workloads)
    job = Job(folder, plan, executor, listener, retries)
    if not joins:
        # with a shared study, others may be writing into the same folder
        job.store.clean()
    if search is not None:
        run_search(job, search, overwrite=overwrite)
    else:
        job.prepare()
        job.answer(retry_failed=retry_failed)
    return Sweep.load(folder)


def plan_sweep(
    recipe: Recipe | str | Path, *, many: bool = False
) -> tuple[Plan, dict[str, Workload]]:
    """Read and check a recipe without running a point.

    Args:
        recipe: a recipe or its file.
        many: allow more than `MANY` points.

    Returns:
        the plan, and the graphs by name.

    Raises:
        SpecError: it breaks the schema, cannot run, or has very many points.
    """
    file = "recipe"
    if not isinstance(recipe, Recipe):
        file = str(recipe)
        recipe = read_recipe(Path(recipe))
    points = count_points(recipe)
    if points > MANY and not many:
        rule = f"asks for {points:,} points, more than {MANY:,}"
        fix = "Estimate the time with --dry-run; if it is meant, say --yes (many=True)."
        raise SpecError(file, [Problem("recipe", rule, fix=fix)])
    return check(recipe, file)


def count_points(recipe: Recipe) -> int:
    """Points of the product, or trials of the search."""
    return len(Grid(recipe)) if recipe.search is None else recipe.search.trials


def keep_graphs(shared: Shared, workloads: Mapping[str, Workload]) -> None:
    """Write graphs where workers find them."""
    for name, workload in workloads.items():
        file = shared.graph_file(name)
        if not file.is_file():
            save_graph(workload, file)


class Job:
    """One run of a plan.

    Attributes:
        folder: the sweep folder.
        plan: what is run.
        executor: where.
        listener: who is told.
        retries: of points.
        store: the rows.
    """

    def __init__(
        self, folder: Path, plan: Plan, executor: Executor, listener: Listener, retries: int
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.executor = executor
        self.listener = listener
        self.retries = retries
        self.store = Store(folder, plan.recipe_hash)
        self._failed = 0
        self._infeasible = 0

    def begin(self, total: int, done: int = 0) -> None:
        """Tell how many points there are."""
        self.listener.start(ANSWERING, total, done)

    def prepare(self) -> None:
        """Make scores, and cost tables that several chunks share, once each."""
        tasks = list(_preparations(self.folder, self.plan))
        if not tasks:
            return
        self.listener.start(PREPARING, len(tasks))
        for done in self.executor.run(tasks):
            self.listener.advance(PREPARING, done.name)

    def answer(self, *, retry_failed: bool = False) -> None:
        """Run the chunks of the product that are missing, and merge."""
        finished = self.store.finished()
        if retry_failed:
            for number in self.store.failed(list(finished)):
                del finished[number]
        left = [chunk for chunk in chunks(self.plan) if chunk.number not in finished]
        self.begin(len(self.plan.grid), sum(finished.values()))
        self.run_tasks([self.task(chunk) for chunk in left])
        self.merge()

    def task(self, chunk: Chunk, points: tuple[Point, ...] | None = None) -> Answer:
        """The task of a chunk; points outright where they are no product's."""
        asked = points_of(self.plan, chunk) if points is None else points
        return Answer(
            folder=str(self.folder),
            recipe_hash=self.plan.recipe_hash,
            chunk=chunk,
            points=points,
            retries=self.retries,
            trains=self.plan.trains and any(point.kind == "method" for point in asked),
        )

    def run_tasks(self, tasks: Sequence[Task]) -> None:
        """Run tasks that answer points, and tell of each point."""
        for done in self.executor.run(tasks):
            self.count(done)
            self.tell_points(done.points)

    def count(self, done: Done) -> None:
        """Note what came out of a task."""
        self._failed += done.failed
        self._infeasible += done.infeasible

    def tell_points(self, points: int) -> None:
        """Tell of finished points."""
        remarks = [f"{self._infeasible} infeasible"] if self._infeasible else []
        remarks += [f"{self._failed} failed"] if self._failed else []
        for _ in range(points):
            self.listener.advance(ANSWERING, ", ".join(remarks))

    def merge(self) -> None:
        """Join the chunks."""
        self.store.merge(sorted(self.store.finished()), schema(self.plan))


def _preparations(folder: Path, plan: Plan) -> Iterator[Prepare]:
    """One task for each thing that several chunks share."""
    shared, grid = Shared(folder, plan), plan.grid
    seen: set[str] = set()
    _, machines, widths, scores, seeds, budgets = grid.shape
    if not plan.recipe.sensitivity:
        return
    stride = {"costs": scores * seeds * budgets, "scores": budgets}
    for start in range(0, len(grid), machines * widths * stride["costs"]):
        for index in range(start, start + stride["costs"], budgets):
            point = grid.at(index)
            wanted = point.kind == "sensitivity" and point.score not in plan.places
            key = str(shared.scores_file(point)) if wanted else ""
            if wanted and key not in seen and not Path(key).is_file():
                seen.add(key)
                yield Prepare(
                    folder=str(folder), recipe_hash=plan.recipe_hash, point=point, what="scores"
                )
    if keeps_costs(plan):
        for index in range(0, len(grid), stride["costs"]):
            yield Prepare(
                folder=str(folder),
                recipe_hash=plan.recipe_hash,
                point=grid.at(index),
                what="costs",
            )
