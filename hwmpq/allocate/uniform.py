"""The widest uniform precision that meets the budgets; pinned layers keep their pins."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from hwmpq.allocate.base import Allocation, AllocationProblem, IntArray, Status
from hwmpq.allocate.certify import certified
from hwmpq.allocate.explain import infeasible, is_feasible
from hwmpq.errors import InfeasibleError


@dataclass(frozen=True, slots=True)
class Uniform:
    """What a user would do without an allocator: one precision for all.

    Of the uniform precisions within all budgets, the one with least sensitivity.
    """

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Choose one precision for all layers that have a choice.

        Raises:
            InfeasibleError: no uniform precision meets the budgets.
        """
        started = time.perf_counter()
        best: IntArray | None = None
        for column in range(len(problem.precisions)):
            choices = _uniform(problem, column)
            if choices is None or problem.exceeded(choices) or not problem.ties_hold(choices):
                continue
            if best is None or problem.objective(choices) < problem.objective(best):
                best = choices
        if best is None:
            if not is_feasible(problem):
                raise infeasible(problem)
            msg = (
                "no uniform precision meets the budgets and the layers' allowed precisions, but "
                "mixed ones do; use the exact allocator"
            )
            raise InfeasibleError(msg)
        return certified(
            problem, best, status=Status.FEASIBLE, bound=None, solver="uniform", started=started
        )


def _uniform(problem: AllocationProblem, column: int) -> IntArray | None:
    """A column wherever it is allowed, and the pin where a layer has only one choice."""
    only = problem.allowed.sum(axis=1) == 1
    if not (problem.allowed[:, column] | only).all():
        return None
    pinned = problem.allowed.argmax(axis=1)
    return np.where(problem.allowed[:, column], column, pinned).astype(np.int64)


ALLOCATOR = Uniform()
