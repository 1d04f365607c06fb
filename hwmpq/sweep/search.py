"""Search over accelerator parameters with Optuna, bits allocated exactly inside each trial.

A generation is proposed at once, answered side by side as a chunk, and told back. Proposals follow
from the seed and from what was told before, so a search that was stopped is resumed by replaying
the generations whose chunks are stored; nothing depends on how many workers there are. A search
with a storage is shared between processes instead, see `hwmpq.sweep.study`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwmpq.sweep.plan import Chunk
from hwmpq.sweep.recipe import SearchSpec
from hwmpq.sweep.study import run_shared_search
from hwmpq.sweep.trials import directions, optuna_module, propose, sampler, tell, trial_point

if TYPE_CHECKING:
    from hwmpq.sweep.run import Job


def run_search(job: Job, search: SearchSpec, *, overwrite: bool) -> None:
    """Propose, answer and tell until all trials are made.

    Args:
        job: the sweep.
        search: what is asked.
        overwrite: whether a study in a shared storage is begun anew.

    Raises:
        OutputError: Optuna is not installed, or a storage cannot be used.
    """
    if search.storage is not None:
        run_shared_search(job, search, search.storage, overwrite=overwrite)
        return
    optuna = optuna_module()
    study = optuna.create_study(directions=directions(search))
    base = job.plan.grid.at(0)
    stored = job.store.finished()
    job.begin(search.trials, sum(stored.values()))
    job.prepare()
    for generation, start in enumerate(range(0, search.trials, search.population)):
        stop = min(start + search.population, search.trials)
        study.sampler = sampler(optuna, search, generation)
        trials = [study.ask() for _ in range(start, stop)]
        chunk = Chunk(generation, start, stop)
        proposed = [propose(trial, job.plan.recipe.set) for trial in trials]
        if generation not in stored:
            points = tuple(
                trial_point(base, start + number, changes)
                for number, changes in enumerate(proposed)
            )
            job.run_tasks([job.task(chunk, points)])
        for trial, row in zip(trials, job.store.read(generation), strict=True):
            tell(study, trial, row, search, job.plan.area_limit_mm2)
    job.merge()
