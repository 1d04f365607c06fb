"""Search over accelerator parameters with Optuna, bits allocated exactly inside each trial.

A generation is proposed at once, answered side by side as a chunk, and told back. Proposals follow
from the seed and from what was told before, so a search that was stopped is resumed by replaying
the generations whose chunks are stored; nothing depends on how many workers there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hwmpq.errors import OutputError
from hwmpq.sweep.axes import Value
from hwmpq.sweep.plan import Chunk
from hwmpq.sweep.points import Point
from hwmpq.sweep.quantities import COLUMNS, LARGER_IS_BETTER
from hwmpq.sweep.recipe import SearchSpec
from hwmpq.sweep.rows import FEASIBLE, Row

if TYPE_CHECKING:
    from hwmpq.sweep.run import Job

_CONSTRAINT: Final = "fits"
_NO_VALUE: Final = 1e300
"""Stands for a goal that was not reached; a violated constraint keeps it out of every front."""


def run_search(job: Job, search: SearchSpec) -> None:
    """Propose, answer and tell until all trials are made.

    Raises:
        OutputError: Optuna is not installed.
    """
    optuna = _optuna()
    study = optuna.create_study(
        directions=["maximize" if g in LARGER_IS_BETTER else "minimize" for g in search.goals],
        storage=_fresh_storage(optuna, job, search),
        study_name=job.plan.recipe_hash,
    )
    base = job.plan.grid.at(0)
    axes = {**job.plan.recipe.set, **job.plan.recipe.accelerator[0].set}
    stored = job.store.finished()
    job.begin(search.trials, sum(stored.values()))
    job.prepare()
    for generation, start in enumerate(range(0, search.trials, search.population)):
        stop = min(start + search.population, search.trials)
        study.sampler = _sampler(optuna, search, generation)
        trials = [study.ask() for _ in range(start, stop)]
        chunk = Chunk(generation, start, stop)
        if generation not in stored:
            points = tuple(
                _point(base, start + number, _propose(trial, axes))
                for number, trial in enumerate(trials)
            )
            job.run_tasks([job.task(chunk, points)])
        else:
            for trial in trials:
                _propose(trial, axes)
        for trial, row in zip(trials, job.store.read(generation), strict=True):
            _tell(study, trial, row, search, job.plan.area_limit_mm2)
    job.merge()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        msg = "a search needs Optuna; install it with: pip install 'hwmpq[search]'"
        raise OutputError(msg) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _fresh_storage(optuna: Any, job: Job, search: SearchSpec) -> Any:
    """The storage to record in; a study of the same recipe there is replayed from its start."""
    if search.storage is None:
        return None
    names = optuna.get_all_study_names(storage=search.storage)
    if job.plan.recipe_hash in names:
        optuna.delete_study(study_name=job.plan.recipe_hash, storage=search.storage)
    return search.storage


def _sampler(optuna: Any, search: SearchSpec, generation: int) -> Any:
    """A sampler whose random state depends on seed and generation alone."""
    seed = search.seed * 1_000_003 + generation
    if search.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=search.population, seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def _propose(trial: Any, axes: Mapping[str, Sequence[Value]]) -> dict[str, Value]:
    """A value for each parameter, out of those that the recipe lists."""
    return {path: trial.suggest_categorical(path, list(values)) for path, values in axes.items()}


def _point(base: Point, number: int, changes: Mapping[str, Value]) -> Point:
    return Point(
        index=number,
        workload=base.workload,
        accelerator=base.accelerator,
        set=changes,
        precisions=base.precisions,
        kind=base.kind,
        score=base.score,
        seed=base.seed,
        budget=base.budget,
    )


def _tell(study: Any, trial: Any, row: Row, search: SearchSpec, area_limit: float | None) -> None:
    missed = violation(row, area_limit)
    values = [row[COLUMNS[goal]] for goal in search.goals]
    if missed == 0 and None in values:
        missed = 1.0
    trial.set_constraint(_CONSTRAINT, missed)
    if missed == 0:
        study.tell(trial, [float(value) for value in values])
    else:
        worst = [-_NO_VALUE if goal in LARGER_IS_BETTER else _NO_VALUE for goal in search.goals]
        study.tell(trial, worst)


def violation(row: Row, area_limit_mm2: float | None) -> float:
    """By what share a variant misses its limits; zero if it has an answer.

    >>> violation({"status": "infeasible", "limit.latency": 8.0, "least.latency": 10.0}, None)
    0.25
    """
    if row["status"] in FEASIBLE:
        return 0.0
    missed = [1e-9]
    if row["status"] == "excluded" and area_limit_mm2 is not None:
        missed.append((row["area_mm2"] or 2 * area_limit_mm2) / area_limit_mm2 - 1)
    for name, limit in row.items():
        least = row.get(f"least.{name.removeprefix('limit.')}")
        if name.startswith("limit.") and limit and least is not None:
            missed.append(least / limit - 1)
    return max(missed) if row["status"] != "failed" else 1.0
