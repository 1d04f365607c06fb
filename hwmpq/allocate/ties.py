"""Layers that must share a bit-width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hwmpq.errors import BudgetError
from hwmpq.workload.groups import QuantizationGroups

Shared: TypeAlias = Literal["weights", "activations", "both"]


@dataclass(frozen=True, slots=True)
class Tie:
    """Layers that share their weight bits, their activation bits, or both.

    Attributes:
        layers: names, at least two.
        shared: what is equal between them.
    """

    layers: tuple[str, ...]
    shared: Shared = "both"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if len(set(self.layers)) < 2 or len(set(self.layers)) != len(self.layers):
            msg = f"a tie joins at least two different layers, but got {self.layers}"
            raise BudgetError(msg)
        if self.shared not in ("weights", "activations", "both"):
            msg = f"a tie shares weights, activations or both, but got '{self.shared}'"
            raise BudgetError(msg)


Groups: TypeAlias = QuantizationGroups | Sequence[Tie | Sequence[str]]
"""Layers that share bits: a workload's, or stated outright."""


def as_ties(groups: Groups) -> tuple[Tie, ...]:
    """Read groups; plain names share the width of the activations that they read.

    A group of one layer ties nothing and is left out.

    >>> as_ties([("conv1", "downsample"), ("fc",)])
    (Tie(layers=('conv1', 'downsample'), shared='activations'),)
    """
    if isinstance(groups, QuantizationGroups):
        return (
            *(Tie(group, "activations") for group in groups.activations),
            *(Tie(group, "weights") for group in groups.weights),
            *(Tie(group, "both") for group in groups.repeated),
        )
    ties = []
    for group in groups:
        if isinstance(group, Tie):
            ties.append(group)
        elif len(tuple(dict.fromkeys(group))) > 1:
            ties.append(Tie(tuple(dict.fromkeys(group)), "activations"))
    return tuple(ties)


def _classes(layers: Sequence[str], groups: Iterable[Sequence[str]]) -> tuple[int, ...]:
    """Number of each layer's class after joining the groups, by first member."""
    parent = list(range(len(layers)))
    index = {layer: position for position, layer in enumerate(layers)}

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for group in groups:
        first = root(index[group[0]])
        for name in group[1:]:
            other = root(index[name])
            first, other = min(first, other), max(first, other)
            parent[other] = first
    return tuple(root(node) for node in range(len(layers)))


def weight_classes(layers: Sequence[str], ties: Iterable[Tie]) -> tuple[int, ...]:
    """For each layer, the first layer that has the same weight bits.

    >>> weight_classes(["a", "b", "c"], [Tie(("a", "c"), "both")])
    (0, 1, 0)
    """
    return _classes(layers, [tie.layers for tie in ties if tie.shared != "activations"])


def activation_classes(layers: Sequence[str], ties: Iterable[Tie]) -> tuple[int, ...]:
    """For each layer, the first layer that has the same activation bits."""
    return _classes(layers, [tie.layers for tie in ties if tie.shared != "weights"])


def same_activation_bits(layers: Sequence[str], groups: Groups) -> dict[str, str]:
    """For each layer, the first layer that has the same activation bits.

    >>> same_activation_bits(["a", "b", "c"], [("a", "c")])
    {'a': 'a', 'b': 'b', 'c': 'a'}
    """
    classes = activation_classes(layers, as_ties(groups))
    return {layer: layers[first] for layer, first in zip(layers, classes, strict=True)}
