"""Sensitivities by what users name: a saved table, a run directory, or a metric to measure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwmpq import registry
from hwmpq.errors import Problem, SpecError, TrainingError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityMetric, SensitivityTable
from hwmpq.workload.graph import Workload

if TYPE_CHECKING:
    from hwmpq.sensitivity.probe import Progress


def table_file(path: Path) -> Path | None:
    """The table's file: the path itself, or that of a run's last round; None for neither.

    Raises:
        SpecError: a run directory that names no table.
    """
    if path.is_file():
        return path
    history = path / "history.json"
    if not history.is_file():
        return None
    try:
        rounds = json.loads(history.read_text(encoding="utf-8"))["rounds"]
        return path / str(rounds[-1]["sensitivity_file"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        problem = Problem("rounds", "must name the sensitivity table of a round")
        raise SpecError(str(history), [problem]) from error


def require_weights(metric: str, weights: Path | None, *, random_weights: bool) -> None:
    """Refuse to measure an untrained network unless that is meant.

    Raises:
        TrainingError: no weights were given and random ones were not asked for.
    """
    if weights is None and not random_weights:
        msg = (
            f"'{metric}' measured on untrained weights says nothing about the trained network; "
            "give --weights FILE_OR_RUN (weights: in a recipe), or --random-weights "
            "(random_weights: true) if that is meant"
        )
        raise TrainingError(msg)


def measure_metric(
    name: str,
    workload: Workload,
    workload_name: str,
    columns: Sequence[Precision],
    *,
    weights: Path | None,
    data: str | None,
    seed: int,
    threads: int,
    progress: Progress | None = None,
) -> SensitivityTable:
    """Build the network that a workload file names, load its weights and measure a metric.

    Args:
        name: the metric's registry name.
        workload: the network's graph.
        workload_name: name or path of its file.
        columns: precisions to measure.
        weights: trained weights; None measures the network as its seed makes it.
        data: a data set; None is the one that the workload names.
        seed: of weights, data and the metric's own draws.
        threads: CPU threads.
        progress: is told of steps, by metrics that take long.

    Raises:
        NotFoundError: no such metric or data set.
        TrainingError: no data set is named.
    """
    metric: SensitivityMetric = registry.resolve("metric", name)
    import torch

    from hwmpq.data.base import load_data
    from hwmpq.models.build import build_model
    from hwmpq.models.weights import load_weights
    from hwmpq.workload.loader import read_workload_file

    torch.set_num_threads(threads)
    model = build_model(workload_name, seed=seed)
    if weights is not None:
        load_weights(model, weights)
    named = data or read_workload_file(workload_name).spec.data
    if not named:
        msg = f"workload '{workload_name}' names no data set; give --data NAME (data: NAME)"
        raise TrainingError(msg)
    told = _told(metric, {"seed": seed, "progress": progress})
    return told.measure(model, workload, load_data(named, seed=seed), columns)


def _told(metric: SensitivityMetric, settings: Mapping[str, object]) -> SensitivityMetric:
    """The metric with those of the settings that it has as fields, where they are given."""
    if not dataclasses.is_dataclass(metric) or isinstance(metric, type):
        return metric
    names = {field.name for field in dataclasses.fields(metric)}
    given = {name: value for name, value in settings.items() if name in names}
    kept = {name: value for name, value in given.items() if value is not None}
    changed: SensitivityMetric = dataclasses.replace(metric, **kept)
    return changed
