"""Progress of long work as bars with time left, on standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hwmpq.allocate.interval import Interval
from hwmpq.cli.output import show
from hwmpq.precision import Precision
from hwmpq.report.text import interval_table


class ProgressBars:
    """One bar per phase of a run; obeys `hwmpq.codesign.progress.Listener`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[remark]}"),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def budgets(
        self, intervals: Sequence[Interval], limits: Mapping[str, float], reference: Precision
    ) -> None:
        """Print what each budget can be limited to."""
        if not self._quiet:
            show(interval_table(intervals, limits, str(reference)))

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase of ``total`` steps begins, ``done`` of them finished earlier."""
        self._tasks[phase] = self._bars.add_task(phase, total=total, completed=done, remark="")

    def advance(self, phase: str, remark: str = "") -> None:
        """One step of a phase is finished; an empty remark leaves the last one standing."""
        task = self._tasks[phase]
        if remark:
            self._bars.update(task, advance=1, remark=remark)
        else:
            self._bars.update(task, advance=1)
