"""What a long run tells those who watch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hwmpq.allocate.interval import Interval
from hwmpq.precision import Precision


class Listener(Protocol):
    """Is told of phases and of their steps as they finish."""

    def budgets(
        self, intervals: Sequence[Interval], limits: Mapping[str, float], reference: Precision
    ) -> None:
        """What each budget could ask for and what it asks, before anything is trained.

        Args:
            intervals: least, reference and most of each budgeted quantity.
            limits: what is asked, by name, in the interval's unit.
            reference: what the reference values are of.
        """
        ...

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """A phase of ``total`` steps begins, ``done`` of them finished earlier."""
        ...

    def advance(self, phase: str, remark: str = "") -> None:
        """One step of a phase is finished; an empty remark leaves the last one standing."""
        ...


class Silent:
    """Ignores everything."""

    def budgets(
        self, intervals: Sequence[Interval], limits: Mapping[str, float], reference: Precision
    ) -> None:
        """Nothing."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Nothing."""

    def advance(self, phase: str, remark: str = "") -> None:
        """Nothing."""
