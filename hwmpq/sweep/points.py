"""The points of a sweep: a product that is counted and indexed, never listed.

Budgets vary fastest, then seeds, scores, precisions and accelerator variants, and workloads
slowest, so that points which share costs and scores are neighbours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from hwmpq.sweep.axes import Value
from hwmpq.sweep.recipe import Recipe, Widen


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One combination.

    Attributes:
        index: its place in the product, or the number of the trial of a search.
        workload: name or path.
        accelerator: name or path.
        set: changed values of the accelerator by path.
        precisions: candidates; None leaves them to the accelerator.
        kind: whether bits are allocated by given scores, or a network is trained.
        score: metric, table or run that gives scores, or the method.
        seed: of metric or training.
        budget: limits as stated.
    """

    index: int
    workload: str
    accelerator: str
    set: Mapping[str, Value] = field(default_factory=dict)
    precisions: Widen | None = None
    kind: Literal["sensitivity", "method"] = "sensitivity"
    score: str = ""
    seed: int = 0
    budget: Mapping[str, Value] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """The accelerator with its changes, as people write it."""
        changes = ", ".join(f"{path}={value}" for path, value in self.set.items())
        return f"{self.accelerator} [{changes}]" if changes else self.accelerator

    def key(self, recipe_hash: str, *, trial: bool = False) -> str:
        """Hash of what is asked at this point, its place left out.

        Args:
            recipe_hash: of the sweep.
            trial: tell points apart by their place too, for a search, which may ask twice.
        """
        asked: dict[str, Any] = {
            "recipe": recipe_hash,
            "workload": self.workload,
            "accelerator": self.accelerator,
            "set": dict(self.set),
            "precisions": None if self.precisions is None else self.precisions.label,
            "kind": self.kind,
            "score": self.score,
            "seed": self.seed,
            "budget": dict(self.budget),
        }
        return digest(asked | {"trial": self.index} if trial else asked)


def digest(value: Any) -> str:
    """Hash of plain values; 32 hexadecimal digits, so that a million never meet by chance."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Choices:
    """A concatenation of products of named axes, by index."""

    blocks: tuple[Mapping[str, Sequence[Value]], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(prod(len(values) for values in block.values()) for block in self.blocks)

    def __len__(self) -> int:
        return sum(self.sizes)

    def at(self, index: int) -> tuple[int, dict[str, Value]]:
        """The block an index falls into, and its values there."""
        for number, (block, size) in enumerate(zip(self.blocks, self.sizes, strict=True)):
            if index < size:
                return number, _decode(block, index)
            index -= size
        msg = f"index {index} is out of range"
        raise IndexError(msg)


def _decode(axes: Mapping[str, Sequence[Value]], index: int) -> dict[str, Value]:
    """Values of a product's element; the last axis varies fastest."""
    found: dict[str, Value] = {}
    for name, values in reversed(tuple(axes.items())):
        index, place = divmod(index, len(values))
        found[name] = values[place]
    return {name: found[name] for name in axes}


class Grid:
    """Every point of a recipe's product, by index.

    >>> recipe = Recipe.model_validate({"workload": "w", "accelerator": "a", "sensitivity": "s",
    ...     "set": {"compute.rows": [8, 16]}, "budget": {"latency": ["0.5x", "1x"]}})
    >>> len(Grid(recipe)), Grid(recipe).at(2).variant, Grid(recipe).at(2).budget["latency"]
    (4, 'a [compute.rows=16]', '0.5x')
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.machines = _Choices(
            tuple({**recipe.set, **machine.set} for machine in recipe.accelerator)
        )
        self.budgets = _Choices(tuple(recipe.budget))
        kinds: list[tuple[Literal["sensitivity", "method"], str]] = []
        kinds += [("sensitivity", name) for name in recipe.sensitivity]
        kinds += [("method", name) for name in recipe.method]
        self.scores = tuple(kinds)
        self.shape = (
            len(recipe.workload),
            len(self.machines),
            len(recipe.precisions),
            len(self.scores),
            len(recipe.seeds),
            len(self.budgets),
        )

    @property
    def budget_names(self) -> tuple[str, ...]:
        """Quantities that any point limits."""
        return tuple(dict.fromkeys(name for block in self.budgets.blocks for name in block))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Paths that any accelerator varies."""
        return tuple(dict.fromkeys(path for block in self.machines.blocks for path in block))

    def __len__(self) -> int:
        return prod(self.shape)

    def at(self, index: int) -> Point:
        """One point."""
        places: list[int] = []
        rest = index
        for size in reversed(self.shape):
            rest, place = divmod(rest, size)
            places.append(place)
        budget, seed, score, widths, machine, workload = places
        number, changes = self.machines.at(machine)
        kind, name = self.scores[score]
        return Point(
            index=index,
            workload=self.recipe.workload[workload],
            accelerator=self.recipe.accelerator[number].name,
            set=changes,
            precisions=self.recipe.precisions[widths],
            kind=kind,
            score=name,
            seed=self.recipe.seeds[seed],
            budget=self.budgets.at(budget)[1],
        )
