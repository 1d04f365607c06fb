"""Random assignments within the budgets: what no knowledge of sensitivity gives."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from hwmpq.allocate.base import Allocation, AllocationProblem, IntArray, Status
from hwmpq.allocate.certify import certified
from hwmpq.allocate.engine import minimise
from hwmpq.allocate.explain import infeasible
from hwmpq.allocate.integer import Effort
from hwmpq.allocate.moves import Neighbourhood
from hwmpq.errors import BudgetError

_SWEEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFeasible:
    """A control: an assignment drawn without looking at sensitivities.

    Starts from the optimum of random sensitivities, then walks at random within the budgets.

    Attributes:
        seed: another seed gives another assignment.
    """

    seed: int = 0

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Choose a precision for each layer.

        Raises:
            InfeasibleError: no assignment meets the budgets.
            BudgetError: none was found in time.
        """
        started = time.perf_counter()
        generator = np.random.default_rng(self.seed)
        noise = generator.random(problem.allowed.shape)
        drawn = replace(problem, sensitivity=noise, interactions=())
        found = minimise(drawn, Effort(time_limit_s=20.0, gap_limit=0.5, seed=self.seed))
        if found.infeasible:
            raise infeasible(problem)
        if found.choices is None:
            msg = "no assignment within the budgets was found in 20 s; loosen one"
            raise BudgetError(msg)
        return certified(
            problem,
            _walk(problem, found.choices, generator),
            status=Status.FEASIBLE,
            bound=None,
            solver=f"random (seed {self.seed})",
            started=started,
        )


def _walk(
    problem: AllocationProblem, choices: IntArray, generator: np.random.Generator
) -> IntArray:
    """Take random steps that keep all budgets."""
    nearby = Neighbourhood(problem)
    current = choices.copy()
    for _ in range(_SWEEPS * len(nearby.leaders)):
        row = int(generator.choice(nearby.leaders))
        column = int(generator.integers(len(problem.precisions)))
        changes = nearby.changes(current, row, column)
        if not changes:
            continue
        proposed = current.copy()
        proposed[list(changes)] = list(changes.values())
        if not problem.exceeded(proposed):
            current = proposed
    return current


ALLOCATOR = RandomFeasible()
