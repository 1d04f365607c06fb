"""Allocating weights at one activation width, as methods do that mix weights only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwmpq.allocate.base import Allocation, AllocationProblem, BoolArray
from hwmpq.allocate.ilp import ILP
from hwmpq.errors import InfeasibleError


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedActivations:
    """The exact solver, with activations at a width wherever a layer may take it.

    Where the budgets cannot be met that way, activations are chosen after all.

    Attributes:
        bits: of activations.
        solver: who solves.
        products: layers whose weight bits are those of an activation too.
    """

    bits: int
    solver: ILP
    products: frozenset[str] = frozenset()

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Choose weight bits, and activation bits only if need be.

        Raises:
            InfeasibleError: no assignment meets the budgets.
            BudgetError: none was found in the time allowed.
        """
        at_width = np.array([p.activation_bits == self.bits for p in problem.precisions])
        fixed = replace(problem, allowed=_where_possible(problem.allowed, at_width))
        both = at_width & [p.weight_bits == self.bits for p in problem.precisions]
        product = np.array([[name in self.products] for name in problem.layers])
        fixed = replace(fixed, allowed=_where_possible(fixed.allowed, both | ~product))
        try:
            found = self.solver.solve(fixed)
        except InfeasibleError:
            found = self.solver.solve(problem)
            note = f"the budgets cannot be met with activations at {self.bits} bits"
        else:
            note = f"activations are fixed at {self.bits} bits, the bound holds for that choice"
        return replace(found, notes=(*found.notes, note))


def _where_possible(allowed: BoolArray, wanted: BoolArray) -> BoolArray:
    """Only wanted choices, but for a layer that has none, such as a pinned one."""
    can = (allowed & wanted).any(axis=1, keepdims=True)
    kept: BoolArray = allowed & (wanted | ~can)
    return kept
