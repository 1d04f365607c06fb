"""A checked recipe, everything that it names found and hashed: ``sweep.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from hwmpq.errors import Problem, SpecError
from hwmpq.files import write_text
from hwmpq.sweep.points import Grid, Point, digest
from hwmpq.sweep.recipe import Recipe
from hwmpq.version import __version__

PLAN: Final = "sweep.json"
_LEAVE_ANSWER: Final = {"name", "answers", "threads", "device"}
"""Parts of a recipe that decide no row."""
_MOST_CHUNKS: Final = 500
_SMALL_CHUNK: Final = 25


class Network(BaseModel):
    """A workload as it was found.

    Attributes:
        sha256: of its graph.
        layers: layers with bits to choose, in the order in which rows give their bits.
        columns: precisions that scores are needed at, as text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    layers: tuple[str, ...]
    columns: tuple[str, ...]


class Plan(BaseModel):
    """What a sweep runs.

    Attributes:
        hwmpq_version: that planned it.
        recipe: what is asked.
        recipe_hash: of what is asked and of the content of everything it names.
        inputs: content hash by what is named.
        places: absolute path by what is named, where it is no shipped name.
        networks: workloads by name.
        area_limit_mm2: no variant may be larger.
        bandwidth_bits_per_second: DRAM bandwidth of every variant; None leaves each its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hwmpq_version: str = __version__
    recipe: Recipe
    recipe_hash: str = ""
    inputs: Mapping[str, str]
    places: Mapping[str, str]
    networks: Mapping[str, Network]
    area_limit_mm2: float | None = None
    bandwidth_bits_per_second: float | None = None

    @property
    def grid(self) -> Grid:
        """The product of the recipe."""
        return Grid(self.recipe)

    @property
    def trains(self) -> bool:
        """Whether any point trains a network."""
        return bool(self.recipe.method)

    def place(self, name: str) -> str:
        """A name as a worker in another folder must give it."""
        return self.places.get(name, name)

    def hashed(self) -> Plan:
        """The plan with its hash filled in."""
        asked = _asked(self.recipe)
        value = {"recipe": asked, "inputs": dict(self.inputs), "version": self.hwmpq_version}
        return self.model_copy(update={"recipe_hash": digest(value)})

    def save(self, folder: Path) -> None:
        """Write it into the sweep folder.

        Raises:
            OutputError: it cannot be written.
        """
        recipe = self.recipe.model_dump(mode="json", exclude_defaults=True)
        data = self.model_dump(mode="json") | {"recipe": recipe}
        write_text(folder / PLAN, json.dumps(data, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read what `save` wrote.

        Raises:
            SpecError: missing, or not a plan.
        """
        try:
            return cls.model_validate_json((folder / PLAN).read_bytes())
        except (OSError, ValidationError) as error:
            rule = f"is not the plan of a sweep ({type(error).__name__})"
            fix = "Check the path; on a cluster, every worker must see the sweep folder."
            raise SpecError(str(folder / PLAN), [Problem("file", rule, fix=fix)]) from error


def _asked(recipe: Recipe) -> dict[str, Any]:
    """What decides rows; of a storage, that there is one, but not where."""
    asked: dict[str, Any] = recipe.model_dump(mode="json", exclude=_LEAVE_ANSWER)
    if recipe.search is not None:
        asked["search"]["storage"] = recipe.search.storage is not None
    return asked


@lru_cache(maxsize=4)
def plan_of(folder: str, recipe_hash: str) -> Plan:
    """The plan in a folder, read once a process.

    Raises:
        SpecError: the folder holds another plan, or none.
    """
    plan = Plan.load(Path(folder))
    if plan.recipe_hash != recipe_hash:
        rule = f"holds the plan {plan.recipe_hash}, not {recipe_hash}"
        fix = "Was the sweep started anew meanwhile? Stop this run."
        raise SpecError(str(Path(folder) / PLAN), [Problem("recipe_hash", rule, fix=fix)])
    return plan


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring points that are run in one go and stored in one file.

    Attributes:
        number: of the chunk.
        start: first point.
        stop: the point after the last.
    """

    number: int
    start: int
    stop: int


def chunk_size(plan: Plan) -> int:
    """Points of a chunk: few, so that progress shows, but not too many files.

    Depends on the plan alone, so that every run of it cuts alike. Training runs go one by one.
    """
    if plan.trains:
        return 1
    return max(_SMALL_CHUNK, -(-len(plan.grid) // _MOST_CHUNKS))


def chunks(plan: Plan) -> Iterator[Chunk]:
    """The product in pieces."""
    total, size = len(plan.grid), chunk_size(plan)
    for number, start in enumerate(range(0, total, size)):
        yield Chunk(number, start, min(start + size, total))


def points_of(plan: Plan, chunk: Chunk) -> Iterator[Point]:
    """The points of a chunk."""
    grid = plan.grid
    return (grid.at(index) for index in range(chunk.start, chunk.stop))


def changed(before: Plan, now: Plan) -> tuple[str, ...]:
    """What differs between two plans, for people."""
    old, new = _asked(before.recipe), _asked(now.recipe)
    found = [name for name in new if old.get(name) != new[name]]
    found += [
        f"content of {name}" for name in now.inputs if before.inputs.get(name) != now.inputs[name]
    ]
    if before.hwmpq_version != now.hwmpq_version:
        found.append(f"hwmpq {before.hwmpq_version} (now {now.hwmpq_version})")
    return tuple(found)
