"""Search by several processes on one study in a storage that they share.

The study is named by the hash of the recipe, so that every ``hwmpq sweep`` of the same recipe
joins it, on this machine or on another. Rows lie in the study beside their trials; each process
writes the finished sweep into its own folder, all of them the same.

A proposal follows from the seed, the number of proposals before it and the trials that were
finished by then. With one process that tries one variant at a time this repeats, also if it is
stopped and resumed; with several the order in which trials finish decides what later ones build
on. Every row is exact whoever made it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from hwmpq.errors import OutputError
from hwmpq.sweep.claims import Claims, Heart
from hwmpq.sweep.plan import Chunk
from hwmpq.sweep.recipe import SearchSpec
from hwmpq.sweep.rows import schema
from hwmpq.sweep.tasks import Done
from hwmpq.sweep.trials import directions, optuna_module, propose, sampler, tell, trial_point

if TYPE_CHECKING:
    from hwmpq.sweep.run import Job

_ROW: Final = "row"
_WAIT_S: Final = 0.3
"""Between looks at a study whose last trials others are working on."""
_TRIES: Final = 10
_LOCKED_S: Final = 60
"""To wait for SQLite, which lets one process write at a time."""


def run_shared_search(job: Job, search: SearchSpec, storage: str, *, overwrite: bool) -> None:
    """Claim, answer and tell trials until all processes together have made them.

    Args:
        job: the sweep.
        search: what is asked.
        storage: URL of a data base, or a journal file.
        overwrite: begin the study anew.

    Raises:
        OutputError: Optuna is not installed, or the storage cannot be used.
    """
    optuna = optuna_module()
    with _reachable(search) as errors:
        study = _open(optuna, job.plan.recipe_hash, search, storage, overwrite=overwrite)
        claims = Claims(study, search.trials, tries=job.retries + 1)
        told = len(claims.finished())
    job.begin(search.trials, told)
    job.prepare()
    with Heart(claims, errors) as heart:
        try:
            while told < search.trials:
                heart.check()
                with _reachable(search):
                    claims.collect_lost()
                    trials = claims.take(job.executor.workers)
                _answer(job, study, claims, search, trials)
                if not trials:
                    time.sleep(_WAIT_S)
                with _reachable(search):
                    now = len(claims.finished())
                job.tell_points(now - told)
                told = now
        finally:
            with _reachable(search):
                claims.give_back()
    with _reachable(search):
        finished = claims.finished()
    _write(job, finished)


def _open(optuna: Any, name: str, search: SearchSpec, storage: str, *, overwrite: bool) -> Any:
    place = _storage(storage)
    if overwrite and name in optuna.get_all_study_names(storage=place):
        optuna.delete_study(study_name=name, storage=place)
    return optuna.create_study(
        directions=directions(search), storage=place, study_name=name, load_if_exists=True
    )


def _storage(storage: str) -> Any:
    """A data base by its URL, or a journal file."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import IntegrityError, OperationalError

    if "://" not in storage:
        return JournalStorage(JournalFileBackend(storage))
    patient = {"connect_args": {"timeout": _LOCKED_S}} if storage.startswith("sqlite") else None
    for _ in range(_TRIES):
        try:
            return RDBStorage(storage, engine_kwargs=patient)
        except (IntegrityError, OperationalError):
            # others that start on an empty data base may be making the same tables
            time.sleep(_WAIT_S)
    return RDBStorage(storage, engine_kwargs=patient)


@contextmanager
def _reachable(search: SearchSpec) -> Iterator[tuple[type[Exception], ...]]:
    """Say that the storage cannot be used; yields the errors that mean it.

    Around calls to the study alone: the same errors mean something else where rows are made.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    errors: tuple[type[Exception], ...] = (
        StorageInternalError,
        SQLAlchemyError,
        ImportError,
        OSError,
    )
    try:
        yield errors
    except OutputError:
        raise
    except errors as error:
        first = str(error).partition("\n")[0]
        msg = f"the storage '{search.storage}' of the search cannot be used ({first}); finished "
        msg += "trials are kept: go on with --resume"
        raise OutputError(msg) from error


def _answer(job: Job, study: Any, claims: Claims, search: SearchSpec, trials: list[Any]) -> None:
    """Answer claimed trials side by side, and tell each as it finishes."""
    optuna = optuna_module()
    base = job.plan.grid.at(0)
    tasks = []
    for trial in trials:
        with _reachable(search):
            # Optuna draws nothing before the first look at a value, here
            study.sampler = sampler(optuna, search, claims.place(trial.number))
            # values that were put back belong to a generation, too, which is noted with these
            _ = trial.relative_params
            values = propose(trial, job.plan.recipe.set)
        point = trial_point(base, trial.number, values)
        chunk = Chunk(trial.number, trial.number, trial.number + 1)
        tasks.append(job.task(chunk, (point,)))
    by_name = {task.name: trial for task, trial in zip(tasks, trials, strict=True)}
    for done in job.executor.run(tasks):
        _tell(job, study, claims, search, by_name[done.name], done)


def _tell(
    job: Job, study: Any, claims: Claims, search: SearchSpec, trial: Any, done: Done
) -> None:
    (row,) = job.store.read(trial.number)
    # if it was taken for lost and put back, whoever makes it then tells the same row
    with _reachable(search), claims.unless_lost(trial.number):
        trial.set_user_attr(_ROW, row)
        tell(study, trial, row, search, job.plan.area_limit_mm2)
        job.count(done)
    claims.done(trial)


def _write(job: Job, finished: list[Any]) -> None:
    """Write the rows of all processes' trials into this folder.

    All of them: what lies there may come from a study of the same recipe in another storage.
    """
    columns = schema(job.plan)
    for trial in finished:
        job.store.write(trial.number, [trial.user_attrs[_ROW]], columns)
    job.store.merge([trial.number for trial in finished], columns)
