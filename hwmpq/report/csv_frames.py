"""The frames behind the CSV files of a report; several runs are told apart by a column ``run``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from hwmpq.codesign.folder import Run
from hwmpq.report.outcome import reference_of
from hwmpq.report.run_tables import budget_frame, round_frame, run_names
from hwmpq.report.tables import layer_frame


def _per_run(runs: Sequence[Run], make: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    frames = [make(run).assign(run=name) for name, run in zip(run_names(runs), runs, strict=True)]
    return pd.concat(frames, ignore_index=True)


def layers_csv(runs: Sequence[Run]) -> pd.DataFrame:
    """Final bits and costs of each priced operator; the cost CSV's columns come first."""
    return _per_run(
        runs, lambda run: layer_frame(run.costs, run.results.assignment, reference_of(run))
    )


def budgets_csv(runs: Sequence[Run]) -> pd.DataFrame:
    """Budgets of the final allocation."""
    return _per_run(runs, lambda run: budget_frame(run.results.allocation, run.manifest.budgets))


def rounds_csv(runs: Sequence[Run]) -> pd.DataFrame:
    """Rounds in order."""
    return _per_run(runs, lambda run: round_frame(run.history, run.results.reference_totals))
