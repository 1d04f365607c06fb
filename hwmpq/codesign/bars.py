"""Progress of long work as bars with time left, or as lines where bars cannot move.

Everything goes to standard error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Final, Self, TextIO, TypeAlias

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
from hwmpq.codesign.progress import Listener, Silent
from hwmpq.precision import Precision

_LINES: Final = 10
"""Lines printed of each phase where bars cannot move."""


BudgetListener: TypeAlias = Callable[[Sequence[Interval], Mapping[str, float], Precision], None]
"""Is told what budgets could ask for and what they ask."""


class Bars:
    """One bar per phase of a run; obeys `hwmpq.codesign.progress.Listener`.

    Args:
        quiet: draw nothing.
        on_budgets: who is told of the budgets; nobody, since who asks in Python has stated them.
    """

    def __init__(self, *, quiet: bool = False, on_budgets: BudgetListener | None = None) -> None:
        self._on_budgets = on_budgets
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
        """Pass them on."""
        if self._on_budgets is not None:
            self._on_budgets(intervals, limits, reference)

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


class Lines(Silent):
    """A line at each tenth of a phase, for logs and for notebooks without widgets."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._done: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._begun: dict[str, float] = {}

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase of ``total`` steps begins, ``done`` of them finished earlier."""
        self._done[phase] = self._first[phase] = done
        self._total[phase] = max(1, total)
        self._begun[phase] = time.monotonic()

    def advance(self, phase: str, remark: str = "") -> None:
        """One step of a phase is finished."""
        self._done[phase] += 1
        done, total = self._done[phase], self._total[phase]
        if done * _LINES // total == (done - 1) * _LINES // total:
            return
        passed = time.monotonic() - self._begun[phase]
        left = passed / (done - self._first[phase]) * (total - done)
        text = f"{phase}: {done} of {total}, {passed:.0f} s, {left:.0f} s left"
        self._stream.write(f"{text}  {remark}".rstrip() + "\n")
        self._stream.flush()


def _in_notebook() -> bool:
    """Whether IPython runs us in a notebook, told without importing it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def listening(progress: Listener | bool | None) -> Iterator[Listener]:
    """Who is told of the progress of a run.

    Args:
        progress: a listener; True for bars, or lines where standard error is no terminal; False
            for silence; None for bars or lines where somebody is looking on, which is a terminal
            or a notebook.
    """
    if progress is not None and not isinstance(progress, bool):
        yield progress
        return
    notebook, terminal = _in_notebook(), sys.stderr.isatty()
    if progress is False or not (progress or notebook or terminal):
        yield Silent()
    elif terminal or (notebook and find_spec("ipywidgets")):
        with Bars() as bars:
            yield bars
    else:
        yield Lines()
