"""Shrink a problem without losing its optimum.

Layers that share all their bits become one, choices that another choice beats in every respect
go, and rows that cannot be broken go. Flat arrays of the remaining choices are what the
relaxation and the search work on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hwmpq.allocate.base import AllocationProblem, BoolArray, FloatArray, IntArray, Resource
from hwmpq.allocate.ties import Tie, activation_classes, weight_classes


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
class Sharing:
    """Which layers share which bits.

    Attributes:
        members: rows of the problem that each merged layer stands for.
        by_weights: for each row, the first row that has the same weight bits.
        by_activations: for each row, the first row that has the same activation bits.
        weights: ``[merged layers]``, whether weight bits are shared with another merged layer.
        activations: ``[merged layers]``, whether activation bits are.
    """

    members: tuple[tuple[int, ...], ...]
    by_weights: tuple[int, ...]
    by_activations: tuple[int, ...]
    weights: BoolArray
    activations: BoolArray

    @property
    def crosswise(self) -> bool:
        """Whether a layer shares its weight bits with one, its activation bits with another."""
        return bool((self.weights & self.activations).any())

    def sets(self) -> dict[tuple[bool, int], list[int]]:
        """Merged layers that share a kind of bits, where none shares both kinds."""
        found: dict[tuple[bool, int], list[int]] = {}
        for merged, group in enumerate(self.members):
            by_weights = bool(self.weights[merged])
            classes = self.by_weights if by_weights else self.by_activations
            found.setdefault((by_weights, classes[group[0]]), []).append(merged)
        return found


@lru_cache(maxsize=64)
def _sharing(layers: tuple[str, ...], ties: tuple[Tie, ...], merge: bool) -> Sharing:
    by_weights, by_activations = weight_classes(layers, ties), activation_classes(layers, ties)
    groups: dict[object, list[int]] = {}
    for row, key in enumerate(zip(by_weights, by_activations, strict=True)):
        groups.setdefault(key if merge else row, []).append(row)
    members = tuple(tuple(group) for group in groups.values())
    return Sharing(
        members=members,
        by_weights=by_weights,
        by_activations=by_activations,
        weights=_shared(by_weights, members),
        activations=_shared(by_activations, members),
    )


def _shared(classes: Sequence[int], members: Sequence[Sequence[int]]) -> BoolArray:
    """Whether a merged layer shares this kind of bits with another merged layer."""
    count = Counter(classes[group[0]] for group in members)
    return np.array([count[classes[group[0]]] > 1 for group in members], dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compact:
    """A smaller problem with the same optimum.

    Attributes:
        layer: ``[choices]``, merged layer of each choice, ascending.
        column: ``[choices]``, precision index of each choice.
        sensitivity: ``[choices]``.
        rows: hard rows.
        widths: ``[2, choices]``, weight and activation bits.
        sharing: which layers share which bits.
    """

    layer: IntArray
    column: IntArray
    sensitivity: FloatArray
    rows: tuple[Row, ...]
    widths: IntArray
    sharing: Sharing

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """Rows of the problem that each merged layer stands for."""
        return self.sharing.members

    @property
    def links(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """Pairs of index arrays, of layers that share one kind of bits only.

        Of each pair, as many choices of the first are taken as of the second.
        """
        kinds = (self.sharing.by_weights, self.sharing.by_activations)
        return tuple(
            link
            for classes, widths in zip(kinds, self.widths, strict=True)
            for link in _links(classes, widths, self.members, self.layer)
        )

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


def _summed(values: npt.NDArray[np.generic], members: Sequence[Sequence[int]]) -> FloatArray:
    return np.stack([values[list(group)].sum(axis=0) for group in members]).astype(values.dtype)


def _beaten(
    sensitivity: FloatArray,
    costs: Sequence[IntArray | FloatArray],
    keys: IntArray,
    allowed: BoolArray,
) -> BoolArray:
    """Choices that another of the same layer and key beats or equals, ``[layers, choices]``.

    Among equals the first stays.
    """
    better: BoolArray = sensitivity[:, :, None] <= sensitivity[:, None]
    strictly: BoolArray = sensitivity[:, :, None] < sensitivity[:, None]
    for row in costs:
        better &= row[:, :, None] <= row[:, None]
        strictly |= row[:, :, None] < row[:, None]
    order = np.arange(keys.shape[1])
    first = order[:, None] < order
    better = better & (strictly | first) & (keys[:, :, None] == keys[:, None])
    better &= allowed[:, :, None]
    beaten: BoolArray = np.asarray(better.any(axis=1))
    return beaten


def _links(
    classes: Sequence[int], widths: IntArray, members: Sequence[Sequence[int]], layer: IntArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Chain the merged layers of each class: equal counts at every width."""
    previous: dict[int, int] = {}
    for merged, group in enumerate(members):
        key = classes[group[0]]
        if key in previous:
            first = np.flatnonzero(layer == previous[key])
            second = np.flatnonzero(layer == merged)
            for width in np.unique(widths[np.r_[first, second]]).tolist():
                yield first[widths[first] == width], second[widths[second] == width]
        previous[key] = merged


def compact(problem: AllocationProblem) -> Compact:
    """Shrink a problem; with interactions, layers and choices stay as they are."""
    plain = not problem.interactions
    sharing = _sharing(problem.layers, problem.ties, plain)
    columns = problem.precisions
    widths = np.array(
        [[p.weight_bits for p in columns], [p.activation_bits for p in columns]], dtype=np.int64
    )
    allowed = np.stack([problem.allowed[list(group)].all(axis=0) for group in sharing.members])
    sensitivity = _summed(problem.sensitivity, sharing.members)
    sums = [_summed(resource.costs, sharing.members) for resource in problem.resources]
    tight = [
        index
        for index, (resource, costs) in enumerate(zip(problem.resources, sums, strict=True))
        if _most(costs, allowed) > resource.limit - resource.constant
    ]
    kept = allowed
    if plain:
        keys = widths[0] * 1000 * sharing.weights[:, None]
        keys = keys + widths[1] * sharing.activations[:, None]
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
        layer=layer,
        column=column,
        sensitivity=sensitivity[layer, column],
        rows=rows,
        widths=widths[:, column],
        sharing=sharing,
    )


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
