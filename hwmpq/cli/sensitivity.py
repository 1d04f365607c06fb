"""Finding sensitivities for a command: a file of them, or a metric to measure."""

from __future__ import annotations

from pathlib import Path

from hwmpq import registry
from hwmpq.allocate.question import Question
from hwmpq.cli.progress import progress_bars
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.measure import measure_metric, require_weights, table_file


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
    quiet: bool,
) -> SensitivityTable:
    """Read a table, or build the network, load its weights and measure a metric.

    Raises:
        SpecError: the file is no sensitivity table.
        NotFoundError: no such metric.
        TrainingError: no weights were given and random ones were not asked for.
    """
    file = table_file(Path(name_or_file))
    if file is not None:
        return SensitivityTable.load(file)
    registry.resolve("metric", name_or_file)
    require_weights(name_or_file, weights, random_weights=random_weights)
    pins = question.fixed.values()
    with progress_bars(quiet=quiet) as bars:
        return measure_metric(
            name_or_file,
            question.workload,
            workload,
            tuple(dict.fromkeys((*question.candidates, *pins))),
            weights=weights,
            data=data,
            seed=seed,
            threads=threads,
            progress=bars,
        )
