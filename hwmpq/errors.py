"""Every error that hwmpq raises on purpose.

    HwmpqError                  exit code 2 unless said otherwise
    ├── SpecError               a file (YAML, CSV, policy, ONNX) breaks its schema; carries all
    problems
    ├── NotFoundError           a name or a path that does not exist; suggests near misses
    ├── UnsupportedError        an operator, precision or architecture that has no price or no
    quantiser
    ├── BudgetError             a budget that cannot be read or makes no sense
    │   └── InfeasibleError     a budget that no assignment meets (exit code 3)
    ├── TrainingError           training diverged or was given unusable data
    └── OutputError             a result cannot be written

A message says where, the rule, the value and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

_LONGEST_VALUE = 120


class HwmpqError(Exception):
    """Base of all errors raised on purpose; the command line prints it without a traceback."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file.

    Attributes:
        path: where inside the file, such as ``memories[0].size_bits``.
        rule: what should hold there.
        value: what was found, as text; empty when nothing was found.
        fix: what to do about it.
        line: line number in the file, when known.
    """

    path: str
    rule: str
    value: str = ""
    fix: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.path} (line {self.line})" if self.line else self.path
        text = f"{where}: {self.rule}"
        if self.value:
            text += f" (got {_shortened(self.value)})"
        if self.fix:
            text += f". {self.fix}"
        return text


def _shortened(value: str) -> str:
    """The start of a long value."""
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."


class SpecError(HwmpqError):
    """A file that breaks its schema, with every problem found in it."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        lines = "\n".join(f"{file}: {problem}" for problem in self.problems)
        super().__init__(lines)


class NotFoundError(HwmpqError):
    """A name that is not known, with the names that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        near = difflib.get_close_matches(name, self.known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        super().__init__(f"no {kind} called '{name}'.{hint} Known: {', '.join(self.known)}")


class UnsupportedError(HwmpqError):
    """Something that cannot be priced, quantised or traced."""


class BudgetError(HwmpqError):
    """A budget that cannot be read or makes no sense."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How far one budget is out of reach.

    Attributes:
        name: the budgeted quantity.
        limit: what was asked for, in canonical units.
        least: the least achievable value, in canonical units.
        unit: the canonical unit.
    """

    name: str
    limit: float
    least: float
    unit: str


class InfeasibleError(BudgetError):
    """A budget that no assignment meets; says the least that is achievable."""

    exit_code = 3

    def __init__(self, message: str, shortfalls: Iterable[Shortfall] = ()) -> None:
        self.shortfalls = tuple(shortfalls)
        super().__init__(message)


class TrainingError(HwmpqError):
    """Training that diverged or was given unusable data."""


class OutputError(HwmpqError):
    """A result that cannot be written."""


@dataclass(frozen=True, slots=True)
class ProblemList:
    """Collects problems so that a file is reported whole."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(
        self, path: str, rule: str, *, value: object = "", fix: str = "", line: int | None = None
    ) -> None:
        """Record one problem."""
        text = value if isinstance(value, str) else repr(value)
        self.problems.append(Problem(path, rule, text, fix, line))

    def raise_if_any(self) -> None:
        """Raise all recorded problems as one error.

        Raises:
            SpecError: at least one problem was recorded.
        """
        if self.problems:
            raise SpecError(self.file, self.problems)
