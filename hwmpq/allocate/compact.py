"""Shrink a problem without losing its optimum.

Layers that share all their bits become one, choices that another choice beats in every respect
go, and rows that cannot be broken go. Flat arrays of the remaining choices are what the
relaxation and the search work on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmpq.allocate.base import AllocationProblem, BoolArray, FloatArray, IntArray, Resource
from hwmpq.allocate.ties import activation_classes, weight_classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One hard row over the flat choices.

    Attributes:
        source: index of the problem's resource.
        costs: ``[choices]``, integer or float.
        limit: what is left for them after constants.
        magnitude: size of the numbers that the limit came from, for how far rounding reaches.
    """

    source: int
    costs: IntArray | FloatArray
    limit: float
    magnitude: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compact:
    """A smaller problem with the same optimum.

    Attributes:
        members: rows of the problem that each merged layer stands for.
        layer: ``[choices]``, merged layer of each choice, ascending.
        column: ``[choices]``, precision index of each choice.
        sensitivity: ``[choices]``.
        rows: hard rows.
        links: pairs of index arrays; of each pair, as many choices of the first are taken as of
            the second (layers that share one kind of bits only).
        tied: ``[merged layers]``, number of the set of linked layers that each belongs to; None
            where some layer shares its weight bits with one and its activation bits with another.
        shared_width: ``[choices]``, the width that linked layers share, zero where there is none.
    """

    members: tuple[tuple[int, ...], ...]
    layer: IntArray
    column: IntArray
    sensitivity: FloatArray
    rows: tuple[Row, ...]
    links: tuple[tuple[IntArray, IntArray], ...]
    tied: IntArray | None
    shared_width: IntArray

    @property
    def starts(self) -> IntArray:
        """First choice of each merged layer."""
        found: IntArray = np.flatnonzero(np.r_[True, self.layer[1:] != self.layer[:-1]])
        return found

    def expand(self, taken: IntArray, layers: int) -> IntArray:
        """Column of each original layer from the taken choices, one a merged layer."""
        choices = np.zeros(layers, dtype=np.int64)
        for choice in taken.tolist():
            choices[list(self.members[self.layer[choice]])] = self.column[choice]
        return choices


def _merged(problem: AllocationProblem, merge: bool) -> tuple[tuple[int, ...], ...]:
    if not merge:
        return tuple((row,) for row in range(len(problem.layers)))
    pairs = zip(
        weight_classes(problem.layers, problem.ties),
        activation_classes(problem.layers, problem.ties),
        strict=True,
    )
    groups: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(pairs):
        groups.setdefault(key, []).append(row)
    return tuple(tuple(group) for group in groups.values())


def _summed(values: npt.NDArray[np.generic], members: Sequence[Sequence[int]]) -> FloatArray:
    return np.stack([values[list(group)].sum(axis=0) for group in members]).astype(values.dtype)


def _beaten(
    sensitivity: FloatArray,
    costs: Sequence[IntArray | FloatArray],
    keys: IntArray,
    allowed: BoolArray,
) -> BoolArray:
    """Choices that another choice of the same layer and key beats or equals, ``[layers, choices]``.

    Among equals the first stays.
    """
    better = sensitivity[:, :, None] <= sensitivity[:, None]
    strictly = sensitivity[:, :, None] < sensitivity[:, None]
    for row in costs:
        better &= row[:, :, None] <= row[:, None]
        strictly |= row[:, :, None] < row[:, None]
    order = np.arange(keys.shape[1])
    strictly |= order[:, None] < order
    better &= strictly
    better &= keys[:, :, None] == keys[:, None]
    better &= allowed[:, :, None]
    beaten: BoolArray = better.any(axis=1)
    return beaten


def _links(
    classes: Sequence[int],
    widths: IntArray,
    members: Sequence[Sequence[int]],
    layer: IntArray,
    column: IntArray,
) -> list[tuple[IntArray, IntArray]]:
    """Chain the merged layers of each class: equal counts at every width."""
    links = []
    previous: dict[int, int] = {}
    for merged, group in enumerate(members):
        key = classes[group[0]]
        if key in previous:
            first = np.flatnonzero(layer == previous[key])
            second = np.flatnonzero(layer == merged)
            for width in np.unique(widths[column[np.r_[first, second]]]).tolist():
                links.append(
                    (
                        first[widths[column[first]] == width],
                        second[widths[column[second]] == width],
                    )
                )
        previous[key] = merged
    return links


def _keys(classes: Sequence[int], members: Sequence[Sequence[int]]) -> BoolArray:
    """Whether a merged layer shares this kind of bits with another merged layer."""
    count: dict[int, int] = {}
    for group in members:
        count[classes[group[0]]] = count.get(classes[group[0]], 0) + 1
    return np.array([count[classes[group[0]]] > 1 for group in members], dtype=np.bool_)


def compact(problem: AllocationProblem) -> Compact:
    """Shrink a problem; with interactions, layers and choices stay as they are."""
    plain = not problem.interactions
    members = _merged(problem, plain)
    weights = np.array([p.weight_bits for p in problem.precisions], dtype=np.int64)
    activations = np.array([p.activation_bits for p in problem.precisions], dtype=np.int64)
    by_weights = weight_classes(problem.layers, problem.ties)
    by_activations = activation_classes(problem.layers, problem.ties)
    shares_weights = _keys(by_weights, members)
    shares_activations = _keys(by_activations, members)
    allowed = np.stack([problem.allowed[list(group)].all(axis=0) for group in members])
    sensitivity = _summed(problem.sensitivity, members)
    sums = [_summed(resource.costs, members) for resource in problem.resources]
    tight = [
        index
        for index, (resource, costs) in enumerate(zip(problem.resources, sums, strict=True))
        if _most(costs, allowed) > resource.limit - resource.constant
    ]
    kept = allowed
    if plain:
        keys = weights * 1000 * shares_weights[:, None] + activations * shares_activations[:, None]
        kept = allowed & ~_beaten(sensitivity, [sums[row] for row in tight], keys, allowed)
    layer, column = (found.astype(np.int64) for found in np.nonzero(kept))
    rows = tuple(
        Row(
            source=index,
            costs=sums[index][layer, column],
            limit=_rest(problem.resources[index]),
            magnitude=abs(problem.resources[index].limit) + abs(problem.resources[index].constant),
        )
        for index in tight
    )
    return Compact(
        members=members,
        layer=layer,
        column=column,
        sensitivity=sensitivity[layer, column],
        rows=rows,
        links=(
            *_links(by_weights, weights, members, layer, column),
            *_links(by_activations, activations, members, layer, column),
        ),
        tied=None if (shares_weights & shares_activations).any() else _tied(
            members, by_weights, by_activations, shares_weights
        ),
        shared_width=(
            weights[column] * shares_weights[layer]
            + activations[column] * shares_activations[layer]
        ),
    )


def _tied(
    members: Sequence[Sequence[int]],
    by_weights: Sequence[int],
    by_activations: Sequence[int],
    shares_weights: BoolArray,
) -> IntArray:
    """Number of each merged layer's set, where every layer shares one kind of bits at most."""
    keys = [
        (True, by_weights[group[0]]) if shares else (False, by_activations[group[0]])
        for group, shares in zip(members, shares_weights.tolist(), strict=True)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def _rest(resource: Resource) -> float:
    """What a limit leaves after constants, whole where all costs are whole."""
    if resource.exact and isinstance(resource.constant, int) and math.isfinite(resource.limit):
        return math.floor(resource.limit) - resource.constant
    return resource.limit - resource.constant


def _most(costs: IntArray | FloatArray, allowed: BoolArray) -> float:
    """The most that a row can spend; where sums are rounded, a little more."""
    if np.issubdtype(costs.dtype, np.integer):
        least = np.iinfo(np.int64).min
        return int(np.where(allowed, costs, least).max(axis=1).sum())
    return math.fsum(np.where(allowed, costs, -math.inf).max(axis=1).tolist()) * (1 + 1e-9)
