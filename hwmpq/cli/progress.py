"""Progress of the command line's long work: what budgets can ask for, then bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwmpq.allocate.interval import Interval
from hwmpq.cli.output import show
from hwmpq.codesign.bars import Bars
from hwmpq.precision import Precision
from hwmpq.report.text import interval_table


def progress_bars(*, quiet: bool) -> Bars:
    """Bars that come after a table of the budgets; a quiet one prints neither."""
    return Bars(quiet=quiet, on_budgets=None if quiet else _show_budgets)


def _show_budgets(
    intervals: Sequence[Interval], limits: Mapping[str, float], reference: Precision
) -> None:
    show(interval_table(intervals, limits, str(reference)))
