"""Finding sensitivities for a command: a file of them, or a metric to measure."""

from __future__ import annotations

import json
from pathlib import Path

from hwmpq import registry
from hwmpq.allocate.question import Question
from hwmpq.errors import Problem, SpecError, TrainingError
from hwmpq.sensitivity.base import SensitivityMetric, SensitivityTable


def find_sensitivity(
    name_or_file: str,
    question: Question,
    workload: str,
    *,
    weights: Path | None,
    random_weights: bool,
    data: str | None,
    seed: int,
    threads: int,
) -> SensitivityTable:
    """Read a table, or build the network, load its weights and measure a metric.

    Raises:
        SpecError: the file is no sensitivity table.
        NotFoundError: no such metric.
        TrainingError: no weights were given and random ones were not asked for.
    """
    file = _table_file(Path(name_or_file))
    if file is not None:
        return SensitivityTable.load(file)
    metric: SensitivityMetric = registry.resolve("metric", name_or_file)
    if weights is None and not random_weights:
        msg = (
            f"'{name_or_file}' measured on untrained weights says nothing about the trained "
            "network; give --weights FILE_OR_RUN, or --random-weights if that is meant"
        )
        raise TrainingError(msg)
    import torch

    from hwmpq.data.base import load_data
    from hwmpq.models.build import build_model
    from hwmpq.models.weights import load_weights
    from hwmpq.workload.loader import read_workload_file

    torch.set_num_threads(threads)
    model = build_model(workload, seed=seed)
    if weights is not None:
        load_weights(model, weights)
    named = data or read_workload_file(workload).spec.data
    if named is None:
        msg = f"workload '{workload}' names no data set; give --data NAME"
        raise TrainingError(msg)
    pins = question.fixed.values()
    columns = tuple(dict.fromkeys((*question.candidates, *pins)))
    return metric.measure(model, question.workload, load_data(named, seed=seed), columns)


def _table_file(path: Path) -> Path | None:
    """The table's file: the path itself, or that of a run's last round."""
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
