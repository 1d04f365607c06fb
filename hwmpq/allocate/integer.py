"""Exact search among some of the choices, by OR-Tools CP-SAT on integers.

CP-SAT knows integers only and was seen to call an answer optimal that is 96 times worse than the
optimum when handed sensitivities near 1e-7. Here each layer's least sensitivity is taken off and
the rest stretched over 44 bits, rounded down, so the integer optimum is a lower bound that is
tight to within ``layers / 2**44`` of the range. Integer costs stay exact. Other costs are rounded
up on a grid of 40 bits and the limit is widened by what rounding adds at most, so no assignment
within the limit is lost; an answer that the exact sums then refuse is excluded and the search
goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ortools.sat.python import cp_model

from hwmpq.allocate.base import BoolArray, FloatArray, IntArray, Interaction
from hwmpq.allocate.compact import Compact, Row
from hwmpq.allocate.interaction import product_terms

_OBJECTIVE_BITS = 44
_COST_BITS = 40
_SAFE_BITS = 60
_MAX_EXCLUDED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search and how.

    Attributes:
        time_limit_s: wall time for everything.
        gap_limit: stop when objective less bound is at most this share of the objective.
        seed: of the solver.
        workers: threads; with more than one, equal optima may be told apart by chance.
    """

    time_limit_s: float = 60.0
    gap_limit: float = 0.0
    seed: int = 0
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What one search found among the choices it was given.

    Attributes:
        taken: one choice a merged layer, or None.
        bound: no assignment of these choices has less sensitivity; infinite if there is none.
        finished: whether the search ended by proof rather than by a limit.
    """

    taken: IntArray | None
    bound: float
    finished: bool


class _StopAt(cp_model.CpSolverSolutionCallback):
    """Ends the search once the objective is good enough."""

    def __init__(self, target: float) -> None:
        super().__init__()
        self.target = target

    def on_solution_callback(self) -> None:
        if self.objective_value <= self.target:
            self.stop_search()


def _power_of_two(value: float) -> float:
    """The largest power of two that is at most a positive value."""
    return 2.0 ** math.floor(math.log2(value))


def integer_row(row: Row, keep: IntArray, starts: IntArray) -> tuple[IntArray, int, int]:
    """A row in integers over the kept choices.

    Returns:
        costs, a limit that no feasible assignment exceeds, and a limit that is safe to obey.
    """
    costs = row.costs[keep]
    least = np.minimum.reduceat(costs, starts)
    sizes = np.diff(np.r_[starts, len(costs)])
    above = costs - np.repeat(least, sizes)
    reach = np.maximum.reduceat(above, starts)
    if np.issubdtype(costs.dtype, np.integer) and sum(reach.tolist()) < 2**_SAFE_BITS:
        rest = math.floor(row.limit) - sum(least.tolist())
        divisor = math.gcd(*above.tolist()) or 1
        # a limit above everything is no limit, and need not fit 64 bits
        limit = min(rest // divisor, sum(reach.tolist()) // divisor)
        return above // divisor, limit, limit
    spread = math.fsum(reach.tolist())
    size = spread + 2.0**-8 * (math.fsum(np.abs(least).tolist()) + row.magnitude)
    if size == 0:
        return np.zeros(len(costs), dtype=np.int64), 0, 0
    unit = _power_of_two(size) / 2.0**_COST_BITS
    rounded = np.ceil(above / unit).astype(np.int64)
    rest = math.floor(min(math.fsum((row.limit, *(-least).tolist())), spread * 2) / unit)
    return rounded, rest + len(starts) + 1, rest - 1


class _Model:
    """The integer program over the kept choices."""

    def __init__(
        self, problem: Compact, keep: BoolArray, interactions: tuple[Interaction, ...]
    ) -> None:
        self.kept: IntArray = np.flatnonzero(keep)
        layer = problem.layer[self.kept]
        self.starts: IntArray = np.flatnonzero(np.r_[True, layer[1:] != layer[:-1]])
        self.model = cp_model.CpModel()
        self.take = [self.model.new_bool_var("") for _ in self.kept]
        ends = np.r_[self.starts[1:], len(self.kept)]
        for start, end in zip(self.starts.tolist(), ends.tolist(), strict=True):
            self.model.add_exactly_one(self.take[start:end])
        position = np.full(len(problem.layer), -1, dtype=np.int64)
        position[self.kept] = np.arange(len(self.kept))
        for pair in problem.links:
            sides = [
                [self.take[index] for index in position[side].tolist() if index >= 0]
                for side in pair
            ]
            self.model.add(sum(sides[0]) == sum(sides[1]))
        self.rows = [integer_row(row, self.kept, self.starts) for row in problem.rows]
        self.widened = [
            self.model.add(cp_model.LinearExpr.weighted_sum(self.take, costs.tolist()) <= limit)
            for costs, limit, _ in self.rows
        ]
        self._aim(problem, interactions)

    def _aim(self, problem: Compact, interactions: tuple[Interaction, ...]) -> None:
        sensitivity = problem.sensitivity[self.kept]
        least = np.minimum.reduceat(sensitivity, self.starts)
        sizes = np.diff(np.r_[self.starts, len(sensitivity)])
        above: FloatArray = sensitivity - np.repeat(least, sizes)
        products = product_terms(
            self.model,
            self.take,
            problem.layer[self.kept],
            problem.column[self.kept],
            interactions,
        )
        values = np.r_[above, [product.value for product in products]]
        spread = math.fsum(np.maximum.reduceat(above, self.starts).tolist())
        spread += math.fsum(product.value for product in products)
        self.scale = 2.0**_OBJECTIVE_BITS / _power_of_two(spread) if spread > 0 else 1.0
        self.base = math.fsum((*least.tolist(), *_constants(interactions)))
        self.noise = 4 * math.ulp(float(np.abs(sensitivity).max(initial=0.0))) * len(values)
        weights = np.floor(values * self.scale).astype(np.int64)
        variables = [*self.take, *(product.variable for product in products)]
        self.model.minimize(cp_model.LinearExpr.weighted_sum(variables, weights.tolist()))

    def to_user(self, objective: float) -> float:
        """An integer lower bound in sensitivity."""
        return self.base + objective / self.scale - self.noise

    def exclude(self, taken: list[int]) -> None:
        """Rule one assignment out."""
        self.model.add_bool_or([self.take[index].negated() for index in taken])

    def tighten(self) -> None:
        """Obey the limits that are safe without a check."""
        for costs, _, safe in self.rows:
            self.model.add(cp_model.LinearExpr.weighted_sum(self.take, costs.tolist()) <= safe)


def _constants(interactions: tuple[Interaction, ...]) -> list[float]:
    return [float(pair.values.min()) for pair in interactions]


def search(
    problem: Compact,
    keep: BoolArray,
    effort: Effort,
    *,
    deadline: float,
    holds: Callable[[IntArray], bool],
    target: float = -math.inf,
    hint: IntArray | None = None,
    work: float = math.inf,
    interactions: tuple[Interaction, ...] = (),
) -> Outcome:
    """Find the best assignment among the kept choices.

    Args:
        problem: the shrunk problem.
        keep: ``[choices]``, which choices may be taken.
        effort: seed and threads.
        deadline: value of ``time.monotonic`` at which to stop.
        holds: whether taken choices meet every limit, by exact sums.
        target: sensitivity at which the search may stop.
        hint: an assignment to start from.
        work: most deterministic seconds, so that a stop by work repeats, unlike one by the clock.
        interactions: quadratic terms.
    """
    if len(np.unique(problem.layer[keep])) < len(problem.members):
        return Outcome(taken=None, bound=math.inf, finished=True)
    integer = _Model(problem, keep, interactions)
    if hint is not None and keep[hint].all():
        wanted = set(hint.tolist())
        for index, variable in zip(integer.kept.tolist(), integer.take, strict=True):
            integer.model.add_hint(variable, index in wanted)
    bound = -math.inf
    for attempt in range(_MAX_EXCLUDED + 1):
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = effort.workers
        solver.parameters.random_seed = effort.seed
        # its presolve calls wrong answers optimal on coefficients this large (OR-Tools 9.15,
        # tests/unit/allocate/test_ilp.py), and `compact` has done its work already
        solver.parameters.cp_model_presolve = False
        # knapsacks of many choices live on their linear relaxation
        solver.parameters.linearization_level = 2
        solver.parameters.max_time_in_seconds = max(deadline - time.monotonic(), 0.01)
        solver.parameters.max_deterministic_time = work
        status = solver.solve(integer.model, _StopAt((target - integer.base) * integer.scale))
        if status == cp_model.INFEASIBLE:
            # exclusions only remove what breaks a limit, and safe limits only follow a bound
            certain = attempt < _MAX_EXCLUDED
            return Outcome(taken=None, bound=math.inf if certain else bound, finished=certain)
        if attempt < _MAX_EXCLUDED:
            bound = max(bound, integer.to_user(solver.best_objective_bound))
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return Outcome(taken=None, bound=bound, finished=False)
        local = [index for index, value in enumerate(integer.take) if solver.value(value)]
        taken = integer.kept[local]
        if holds(taken):
            # an optimum under the safe limits alone proves nothing about the true ones
            proved = status == cp_model.OPTIMAL and attempt < _MAX_EXCLUDED
            return Outcome(taken=taken, bound=bound, finished=proved)
        if attempt + 1 < _MAX_EXCLUDED:
            integer.exclude(local)
        else:
            integer.tighten()
    return Outcome(taken=None, bound=bound, finished=False)
