"""Better assignments by exact search in neighbourhoods, before the proof is tried.

All layers keep their choices but for a few, among which the best is found exactly (large
neighbourhood search, P. Shaw, "Using constraint programming and local search methods to solve
vehicle routing problems", CP 1998). The distance to the relaxation's bound is the excess that the
taken choices pay plus the price of unspent budget, so the layers that pay most are always freed,
with others drawn at random to fill what is unspent. At last all layers are freed at once, among
the choices that pay little.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from hwmpq.allocate.base import IntArray
from hwmpq.allocate.compact import Compact
from hwmpq.allocate.integer import Effort, search
from hwmpq.allocate.relaxation import Relaxation

_FREED = 60
_PAYING = 14
_ROUNDS = 60
_PATIENCE = 4
_WORK = 0.3
"""Deterministic seconds that CP-SAT may work on one neighbourhood."""
_NEAR = 0.3
_NEAR_WORK = 1.0


def components(problem: Compact) -> IntArray:
    """Number of the tied set that each merged layer belongs to."""
    count = len(problem.members)
    pairs = [
        (int(problem.layer[first[0]]), int(problem.layer[second[0]]))
        for first, second in problem.links
        if len(first) and len(second)
    ]
    rows = [first for first, _ in pairs]
    columns = [second for _, second in pairs]
    graph = sparse.coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(count, count))
    numbers: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def improve(
    problem: Compact,
    relaxation: Relaxation,
    effort: Effort,
    *,
    deadline: float,
    best: Callable[[], tuple[IntArray, float]],
    holds: Callable[[IntArray], bool],
    good_enough: Callable[[], bool],
) -> None:
    """Search neighbourhoods of the best assignment until several in a row give nothing.

    Args:
        problem: the shrunk problem.
        relaxation: its bound and excesses.
        effort: seed and threads.
        deadline: value of ``time.monotonic`` at which to stop.
        best: the best taken choices and their sensitivity.
        holds: checks an assignment and keeps it if it is the best.
        good_enough: whether to stop at the first neighbourhood that gives nothing.
    """
    generator = np.random.default_rng(effort.seed)
    component = components(problem)
    count = int(component.max()) + 1
    idle = 0
    for _ in range(_ROUNDS):
        if time.monotonic() >= deadline or (idle and good_enough()):
            return
        if idle >= _PATIENCE:
            break
        taken, before = best()
        paid = np.bincount(
            component[problem.layer[taken]], weights=relaxation.excess[taken], minlength=count
        )
        freed = np.union1d(
            np.argsort(-paid, kind="stable")[:_PAYING],
            generator.choice(count, size=min(_FREED, count), replace=False),
        )
        reach = before - relaxation.bound + relaxation.noise
        keep = np.isin(component[problem.layer], freed) & (relaxation.excess <= reach)
        keep[taken] = True
        search(problem, keep, effort, deadline=deadline, holds=holds, hint=taken, work=_WORK)
        idle = 0 if best()[1] < before - 1e-12 * math.fabs(before) else idle + 1
    taken, value = best()
    keep = relaxation.excess <= _NEAR * (value - relaxation.bound)
    keep[taken] = True
    search(problem, keep, effort, deadline=deadline, holds=holds, hint=taken, work=_NEAR_WORK)
