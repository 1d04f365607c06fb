"""Greedy allocation: narrow where the least sensitivity is lost per cost saved."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from hwmpq.allocate.base import Allocation, AllocationProblem, IntArray, Status
from hwmpq.allocate.certify import certified
from hwmpq.allocate.engine import minimise
from hwmpq.allocate.explain import infeasible, is_feasible
from hwmpq.allocate.integer import Effort
from hwmpq.allocate.moves import Neighbourhood
from hwmpq.errors import BudgetError, InfeasibleError


@dataclass(frozen=True, slots=True)
class Greedy:
    """The usual heuristic, to see what exactness buys.

    Starts from the least sensitivity of all and, while a budget is broken, takes the step that
    loses least sensitivity per share of the excess that it removes. Then takes back what still
    fits.
    """

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Choose a precision for each layer.

        Raises:
            InfeasibleError: no assignment meets the budgets, or the heuristic found none.
        """
        started = time.perf_counter()
        if not is_feasible(problem):
            raise infeasible(problem)
        walk = _Walk(problem)
        if not walk.descend():
            msg = "the greedy heuristic found no assignment; the exact allocator does"
            raise InfeasibleError(msg)
        walk.take_back()
        return certified(
            problem,
            walk.choices,
            status=Status.FEASIBLE,
            bound=None,
            solver="greedy",
            started=started,
        )


class _Walk:
    """An assignment, and what every step from it would change."""

    def __init__(self, problem: AllocationProblem) -> None:
        self.problem = problem
        self.nearby = Neighbourhood(problem)
        self.choices = self._start()
        self.limits = np.array([row.limit for row in problem.resources])
        self.units = np.where(self.limits > 0, self.limits, 1.0)
        self.costs = np.array([row.costs for row in problem.resources], dtype=np.float64).reshape(
            len(problem.resources), *problem.allowed.shape
        )
        leaders, columns = len(self.nearby.leaders), len(problem.precisions)
        self.position = {row: index for index, row in enumerate(self.nearby.leaders)}
        self.loss = np.full((leaders, columns), math.inf)
        self.saving = np.zeros((leaders, columns, len(problem.resources)))
        self._measure(range(leaders))

    def _start(self) -> IntArray:
        free = replace(self.problem, resources=(), interactions=())
        found = minimise(free, Effort(time_limit_s=20.0))
        if found.choices is None:
            msg = "pins, ties and minimum bits contradict each other; no assignment respects them"
            raise BudgetError(msg)
        return found.choices

    def _measure(self, leaders: range | list[int]) -> None:
        """Work out the steps of some leaders afresh."""
        sensitivity = self.problem.sensitivity
        for index in leaders:
            row = self.nearby.leaders[index]
            for column in range(len(self.problem.precisions)):
                changes = self.nearby.changes(self.choices, row, column)
                if not changes:
                    self.loss[index, column] = math.inf
                    continue
                rows, after = list(changes), list(changes.values())
                before = self.choices[rows]
                self.loss[index, column] = float(
                    (sensitivity[rows, after] - sensitivity[rows, before]).sum()
                )
                self.saving[index, column] = (
                    self.costs[:, rows, before] - self.costs[:, rows, after]
                ).sum(axis=1)

    def _take(self, index: int, column: int) -> None:
        row = self.nearby.leaders[index]
        changes = self.nearby.changes(self.choices, row, column) or {}
        touched: set[int] = set()
        for other, chosen in changes.items():
            self.choices[other] = chosen
            touched.update(self.nearby.touched(other))
        self._measure([self.position[other] for other in touched if other in self.position])

    def _spent(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([row.total(self.choices) for row in self.problem.resources])

    def descend(self) -> bool:
        """Narrow until all budgets hold; returns whether they do."""
        while self.problem.exceeded(self.choices):
            over = np.maximum(self._spent() - self.limits, 0.0)
            after = np.maximum(over - self.saving, np.where(over > 0, 0.0, -math.inf))
            worse = np.maximum(self._spent() - self.saving - self.limits, 0.0)
            removed = ((over - np.where(over > 0, after, worse)) / self.units).sum(axis=-1)
            useful = (removed > 0) & np.isfinite(self.loss)
            if not useful.any():
                return False
            rate = np.where(useful, self.loss / np.where(useful, removed, 1.0), math.inf)
            self._take(*divmod(int(rate.argmin()), rate.shape[1]))
        return True

    def take_back(self) -> None:
        """Spend what is left of the budgets on the best steps that fit."""
        while True:
            fits = (self._spent() - self.saving <= self.limits).all(axis=-1)
            gain = np.where(fits & np.isfinite(self.loss), -self.loss, -math.inf)
            best = int(gain.argmax())
            before = self.choices.copy()
            if gain.flat[best] <= 0:
                return
            self._take(*divmod(best, gain.shape[1]))
            if self.problem.exceeded(self.choices) or self.problem.objective(
                self.choices
            ) >= self.problem.objective(before):
                self.choices = before
                return


ALLOCATOR = Greedy()
