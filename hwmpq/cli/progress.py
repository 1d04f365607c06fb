"""Progress of the command line's long work: what budgets can ask for, then bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from hwmpq.allocate.interval import Interval
from hwmpq.cli.output import show
from hwmpq.codesign.bars import Bars
from hwmpq.precision import Precision
from hwmpq.report.text import interval_table


class ProgressBars:
    """One bar per phase of a run; obeys `hwmpq.codesign.progress.Listener`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bars = Bars(quiet=quiet)

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def budgets(
        self, intervals: Sequence[Interval], limits: Mapping[str, float], reference: Precision
    ) -> None:
        """Print what each budget can be limited to."""
        if not self._quiet:
            show(interval_table(intervals, limits, str(reference)))

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase of ``total`` steps begins, ``done`` of them finished earlier."""
        self._bars.start(phase, total, done)

    def advance(self, phase: str, remark: str = "") -> None:
        """One step of a phase is finished; an empty remark leaves the last one standing."""
        self._bars.advance(phase, remark)
