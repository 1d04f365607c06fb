"""The linear relaxation: a proven bound, prices of the rows, and reduced costs.

For row prices ``p >= 0`` and link prices ``m`` of any sign, every assignment ``x`` within the
limits obeys

    sensitivity(x) >= sum_l min_j r_lj - p . limit + sum of (r_lj - min_j r_lj) over what x takes,
    r = sensitivity + p . costs + m . links

(Lagrangian duality; A. M. Geoffrion, "Lagrangean relaxation for integer programming",
Mathematical Programming Study 2, 1974). The inequality holds whatever the prices are, so the bound
needs no trust in the solver's tolerances: OR-Tools GLOP only proposes the prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ortools.linear_solver.python import model_builder_helper as linear
from scipy import sparse

from hwmpq.allocate.base import FloatArray, IntArray
from hwmpq.allocate.compact import Compact


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relaxation:
    """What the linear relaxation proves.

    Attributes:
        bound: no assignment within the limits has less sensitivity.
        prices: ``[rows]``, sensitivity saved per unit of limit.
        excess: ``[choices]``, by how much taking a choice lifts the bound.
        noise: how far rounding may have moved bound and excess; the bound allows for it.
        solved: whether the solver found an optimum; if not, prices are zero and the bound weak.
    """

    bound: float
    prices: FloatArray
    excess: FloatArray
    noise: float
    solved: bool


def _natural_scale(sensitivity: FloatArray, starts: IntArray, layer: IntArray) -> float:
    """A typical difference between choices of a layer; outliers do not move it."""
    above = sensitivity - np.minimum.reduceat(sensitivity, starts)[layer]
    positive = above[above > 0]
    return float(np.median(positive)) if len(positive) else 1.0


def _link_matrix(problem: Compact) -> sparse.csr_matrix:
    rows, columns, values = [], [], []
    pairs = problem.links
    for index, (first, second) in enumerate(pairs):
        rows += [index] * (len(first) + len(second))
        columns += [*first.tolist(), *second.tolist()]
        values += [1.0] * len(first) + [-1.0] * len(second)
    shape = (len(pairs), len(problem.layer))
    return sparse.csr_matrix((values, (rows, columns)), shape=shape)


def relax(problem: Compact) -> Relaxation:
    """Solve the linear relaxation and turn its prices into a bound."""
    count, layers, rows = len(problem.layer), len(problem.members), len(problem.rows)
    starts = problem.starts
    scale = _natural_scale(problem.sensitivity, starts, problem.layer)
    base = np.minimum.reduceat(problem.sensitivity, starts)[problem.layer]
    limits = np.array([row.limit for row in problem.rows], dtype=np.float64)
    costs = np.array([row.costs for row in problem.rows], dtype=np.float64).reshape(rows, count)
    largest = costs.max(axis=1, initial=0.0)
    units = np.maximum(np.abs(limits), np.where(largest > 0, largest, 1.0))
    links = _link_matrix(problem)
    matrix = sparse.vstack(
        [
            sparse.csr_matrix(
                (np.ones(count), (problem.layer, np.arange(count))), shape=(layers, count)
            ),
            sparse.csr_matrix(costs / units[:, None]),
            links,
        ]
    ).tocsr()
    below: Any = np.r_[np.ones(layers), np.full(rows, -np.inf), np.zeros(links.shape[0])]
    above: Any = np.r_[np.ones(layers), limits / units, np.zeros(links.shape[0])]
    model = linear.ModelBuilderHelper()
    least: Any = np.zeros(count)
    most: Any = np.full(count, np.inf)
    goal: Any = (problem.sensitivity - base) / scale
    model.fill_model_from_sparse_data(least, most, goal, below, above, matrix)
    solver = linear.ModelSolverHelper("glop")
    solver.solve(model)
    solved = solver.has_solution() and solver.status() == linear.SolveStatus.OPTIMAL
    duals = np.array(solver.dual_values()) if solved else np.zeros(layers + rows + links.shape[0])
    prices = np.maximum(-duals[layers : layers + rows], 0.0) * scale / units
    tension = duals[layers + rows :] * scale
    return price(problem, prices, tension, links, solved)


def price(
    problem: Compact,
    prices: FloatArray,
    tension: FloatArray,
    links: sparse.csr_matrix,
    solved: bool,
) -> Relaxation:
    """Bound and reduced costs at given prices, less what rounding could have added."""
    reduced = problem.sensitivity - links.T @ tension
    size = np.abs(problem.sensitivity) + np.abs(links.T) @ np.abs(tension)
    spent = 0.0
    for each, row in zip(prices.tolist(), problem.rows, strict=True):
        reduced = reduced + each * row.costs
        size = size + each * np.abs(row.costs)
        spent += each * row.limit
    starts = problem.starts
    least = np.minimum.reduceat(reduced, starts)
    bound = float(least.sum()) - spent
    terms = len(starts) + len(problem.rows) + links.shape[0] + 4
    largest = np.maximum.reduceat(size, starts)
    noise = float(np.finfo(np.float64).eps * terms * (largest.sum() + abs(spent)))
    excess = np.maximum(reduced - least[problem.layer], 0.0)
    return Relaxation(
        bound=bound - noise,
        prices=prices,
        excess=excess,
        noise=noise,
        solved=solved,
    )
