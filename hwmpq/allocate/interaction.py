"""Quadratic sensitivity: pairs of layers, linearised for the integer search.

An additive objective ignores that two layers' errors meet; CLADO (arXiv:2307.05657) minimises
``sum_i s_i(p_i) + sum_{i<j} q_ij(p_i, p_j)`` instead. Each product of two choices becomes a
variable ``z`` with

    sum_q z_pq = x_ip for each p,    sum_p z_pq = x_jq for each q,

the tightest linear description of a pair of multiple choices (W. P. Adams and H. D. Sherali, "A
tight linearization and an algorithm for zero-one quadratic programming problems", Management
Science 32, 1986). With integer ``x`` the ``z`` are the products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from hwmpq.allocate.base import FloatArray, IntArray, Interaction
from hwmpq.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Product:
    """The variable of two choices taken together, and the sensitivity it adds.

    Attributes:
        variable: true when both choices are taken.
        value: sensitivity above the least of the pair's table.
    """

    variable: Any
    value: float


def pairwise(
    layers: Sequence[str], terms: Mapping[tuple[str, str], FloatArray]
) -> tuple[Interaction, ...]:
    """Quadratic terms by layer names.

    Args:
        layers: the problem's layers, which give the rows.
        terms: ``(first, second) -> [precisions of first, precisions of second]``.

    Raises:
        UnsupportedError: a name is no layer, a layer meets itself, or a value is no number.
    """
    row = {name: index for index, name in enumerate(layers)}
    pairs = []
    for (first, second), values in terms.items():
        if first not in row or second not in row or first == second:
            msg = f"an interaction needs two different layers, but got '{first}' and '{second}'"
            raise UnsupportedError(msg)
        if not np.all(np.isfinite(values)):
            msg = f"the interaction of '{first}' and '{second}' must be finite"
            raise UnsupportedError(msg)
        pairs.append(Interaction(row[first], row[second], np.asarray(values, dtype=np.float64)))
    return tuple(pairs)


def product_terms(
    model: cp_model.CpModel,
    take: Sequence[Any],
    layer: IntArray,
    column: IntArray,
    interactions: Sequence[Interaction],
) -> list[Product]:
    """Add the product variables of all pairs and say what each is worth."""
    products: list[Product] = []
    for pair in interactions:
        rows = np.flatnonzero(layer == pair.first).tolist()
        columns = np.flatnonzero(layer == pair.second).tolist()
        least = float(pair.values.min())
        grid = [[model.new_bool_var("") for _ in columns] for _ in rows]
        for index, variables in zip(rows, grid, strict=True):
            model.add(sum(variables) == take[index])
        for position, index in enumerate(columns):
            model.add(sum(variables[position] for variables in grid) == take[index])
        for index, variables in zip(rows, grid, strict=True):
            products += [
                Product(variable, float(pair.values[column[index], column[other]]) - least)
                for other, variable in zip(columns, variables, strict=True)
            ]
    return products
