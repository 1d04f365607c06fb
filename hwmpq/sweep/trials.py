"""Trials of a search: what Optuna proposes, the point it means, and what the study is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from hwmpq.errors import OutputError
from hwmpq.sweep.axes import Value
from hwmpq.sweep.points import Point
from hwmpq.sweep.quantities import COLUMNS, LARGER_IS_BETTER
from hwmpq.sweep.recipe import SearchSpec
from hwmpq.sweep.rows import FEASIBLE, Row

_CONSTRAINT: Final = "fits"
_NO_VALUE: Final = 1e300
"""Stands for a goal that was not reached; a violated constraint keeps it out of every front."""


def optuna_module() -> Any:
    """Optuna, which is an extra.

    Raises:
        OutputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        msg = "a search needs Optuna; install it with: pip install 'hwmpq[search]'"
        raise OutputError(msg) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def directions(search: SearchSpec) -> list[str]:
    """Which way each goal is better."""
    return ["maximize" if g in LARGER_IS_BETTER else "minimize" for g in search.goals]


def sampler(optuna: Any, search: SearchSpec, number: int) -> Any:
    """A sampler whose random state depends on seed and number alone."""
    seed = search.seed * 1_000_003 + number
    if search.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=search.population, seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def propose(trial: Any, axes: Mapping[str, Sequence[Value]]) -> dict[str, Value]:
    """A value for each parameter, out of those that the recipe lists."""
    return {path: trial.suggest_categorical(path, list(values)) for path, values in axes.items()}


def trial_point(base: Point, number: int, changes: Mapping[str, Value]) -> Point:
    """The point of a trial."""
    return replace(base, index=number, set=changes)


def tell(
    study: Any, trial: Any, row: Row, search: SearchSpec, area_limit_mm2: float | None
) -> None:
    """Tell a study what came out of a trial; a goal without a number is one that was missed."""
    missed = violation(row, area_limit_mm2)
    values = [row[COLUMNS[goal]] for goal in search.goals]
    if missed == 0 and any(value is None or math.isnan(value) for value in values):
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
