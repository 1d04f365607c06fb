"""What a sweep is asked: the schema of ``hwmpq sweep RECIPE.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)

from hwmpq.allocate.budget import Budget
from hwmpq.errors import BudgetError
from hwmpq.precision import Precision
from hwmpq.strict_yaml import read_yaml, validate
from hwmpq.sweep.axes import Value, axis_ends, axis_values, is_range, require_distinct

Quantity = Literal[
    "sensitivity", "accuracy", "latency", "energy", "area", "weight_memory", "activation_memory"
]
"""What fronts are drawn of and searches aim at."""
Items = TypeVar("Items")


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _several(value: object) -> object:
    """One item or a list of them, as a tuple."""
    return _tuple(value) if isinstance(value, list | tuple) else (value,)


def _distinct(items: tuple[Items, ...]) -> tuple[Items, ...]:
    require_distinct(items)
    return items


def _axes(value: object) -> object:
    """Values by path."""
    if not isinstance(value, Mapping):
        return value
    found: dict[str, tuple[Value, ...]] = {}
    for path, values in value.items():
        try:
            found[path] = axis_values(values)
        except ValueError as error:
            msg = f"{path}: {error}"
            raise ValueError(msg) from error
    return found


def _budgets(value: object) -> object:
    """Limits by quantity, checked one by one; products of them are made point by point."""
    found: list[Mapping[str, tuple[Value, ...]]] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(item, Mapping) or is_range(item) or not item:
            msg = "a budget names what it limits, such as {latency: [0.5x, 1x]}"
            raise ValueError(msg)
        axes: Any = _axes(item)
        for name, values in item.items():
            for limit in axis_ends(values):
                try:
                    Budget.from_mapping({name: limit})
                except BudgetError as error:
                    raise ValueError(str(error)) from error
        found.append(axes)
    require_distinct(found)
    return tuple(found)


def _machines(value: object) -> object:
    items = value if isinstance(value, list | tuple) else [value]
    return tuple({"name": item} if isinstance(item, str) else item for item in items)


Axes = Annotated[Mapping[str, tuple[Value, ...]], BeforeValidator(_axes)]
Budgets = Annotated[tuple[Mapping[str, tuple[Value, ...]], ...], BeforeValidator(_budgets)]
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_tuple), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(_several), AfterValidator(_distinct)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(axis_values)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Machine(_Part):
    """An accelerator and the parameters that are varied on it alone.

    Attributes:
        name: a shipped name or a path.
        set: values by path.
    """

    name: str
    set: Axes = Field(default_factory=dict)


class Widen(_Part):
    """Precisions to choose from: every pair of the widths.

    Attributes:
        weight_bits: of weights.
        activation_bits: of activations.
    """

    weight_bits: Widths
    activation_bits: Widths

    @property
    def label(self) -> str:
        """Short text for rows.

        >>> Widen(weight_bits=(2, 4), activation_bits=(8,)).label
        'w2,4/a8'
        """
        weights = ",".join(str(bits) for bits in self.weight_bits)
        return f"w{weights}/a{','.join(str(bits) for bits in self.activation_bits)}"


class SearchSpec(_Part):
    """Search over accelerator parameters instead of their product.

    Attributes:
        sampler: ``nsga2`` or ``tpe``.
        trials: accelerator variants to try.
        population: variants proposed at once; they are priced side by side.
        goals: what is minimised (accuracy: maximised).
        seed: of the sampler.
        storage: shares the search between processes through Optuna: the URL of a data base, such
            as ``sqlite:///trials.db``, or the path of a journal file. None searches alone and
            repeatably.
    """

    sampler: Literal["nsga2", "tpe"] = "nsga2"
    trials: PositiveInt = 100
    population: Annotated[int, Field(ge=2)] = 20
    goals: Annotated[tuple[Quantity, ...], BeforeValidator(_several), AfterValidator(_distinct)]
    seed: int = Field(default=0, ge=0)
    storage: str | None = None


Goals = Annotated[
    tuple[Quantity, ...],
    BeforeValidator(_tuple),
    AfterValidator(_distinct),
    Field(min_length=2, max_length=3),
]


class Answers(_Part):
    """What is worked out of the rows at the end.

    Attributes:
        fronts: pairs or triples of quantities; by default sensitivity (accuracy, where networks
            are trained) against what is budgeted.
        transfer: whether to fill the policy-transfer matrix between accelerators.
        energy_samples: draws of uncertain energy constants; 0 for none.
    """

    fronts: Annotated[tuple[Goals, ...], BeforeValidator(_tuple)] = ()
    transfer: bool = False
    energy_samples: int = Field(default=0, ge=0, le=100_000)


class Recipe(_Part):
    """The product of everything that is varied; each point is an allocation or a training run.

    Attributes:
        name: what reports call it.
        workload: names or paths.
        accelerator: names, paths, or mappings of ``name`` and its own ``set``.
        set: parameters varied on every accelerator, by path.
        budget: limits, or a list of them.
        precisions: candidates; by default what the accelerator runs from two to eight bits.
        sensitivity: metrics, table files or run directories.
        method: methods; each of their points trains a network.
        seeds: of metrics and training.
        reference: what relative limits refer to.
        fix: pins by layer or pattern.
        weights: trained weights, for metrics; with several workloads, by workload.
        random_weights: whether metrics may measure untrained networks.
        data: a data set; None is the one that each workload names.
        epochs: passes over the training data.
        settings: of the methods.
        training: settings of training.
        device: torch device.
        threads: CPU threads of one task.
        bandwidth_of: accelerator whose DRAM bandwidth, in bits per second, every variant gets.
        area_of: accelerator whose area, or mm2 that, no variant may exceed.
        area_tolerance: share by which it may all the same.
        search: search over ``set`` instead of its product.
        answers: what to work out at the end.
    """

    name: str = ""
    workload: Names
    accelerator: Annotated[
        tuple[Machine, ...], BeforeValidator(_machines), AfterValidator(_distinct)
    ]
    set: Axes = Field(default_factory=dict)
    budget: Budgets
    precisions: Annotated[
        tuple[Widen | None, ...], BeforeValidator(_several), AfterValidator(_distinct)
    ] = (None,)
    sensitivity: Names = ()
    method: Names = ()
    seeds: Seeds = (0,)
    reference: str = "8/8"
    fix: Mapping[str, str] | None = None
    weights: str | Mapping[str, str] | None = None
    random_weights: bool = False
    data: str | None = None
    epochs: PositiveInt | None = None
    settings: Mapping[str, Any] = Field(default_factory=dict)
    training: Mapping[str, Any] = Field(default_factory=dict)
    device: str = "cpu"
    threads: PositiveInt = 1
    bandwidth_of: str | None = None
    area_of: str | float | None = None
    area_tolerance: float = Field(default=0.0, ge=0)
    search: SearchSpec | None = None
    answers: Answers = Answers()

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if not self.sensitivity and not self.method:
            msg = "name what allocation minimises (sensitivity:) or methods that train (method:)"
            raise ValueError(msg)
        for text in (self.reference, *(self.fix or {}).values()):
            try:
                Precision.parse(text)
            except BudgetError as error:
                raise ValueError(str(error)) from error
        if self.search is not None:
            self._check_search(self.search)
        return self

    def _check_search(self, search: SearchSpec) -> None:
        counts = {
            "workload": len(self.workload),
            "accelerator": len(self.accelerator),
            "budget": sum(prod(map(len, axes.values())) for axes in self.budget),
            "precisions": len(self.precisions),
            "sensitivity and method": len(self.sensitivity) + len(self.method),
            "seeds": len(self.seeds),
        }
        several = [name for name, count in counts.items() if count != 1]
        if several or self.accelerator[0].set:
            where = ", ".join(several) or "accelerator[0].set"
            msg = f"a search varies only 'set'; give one value of {where}"
            raise ValueError(msg)
        if not self.set:
            msg = "a search needs parameters to vary in 'set'"
            raise ValueError(msg)
        if "accuracy" in search.goals and not self.method:
            msg = "a search for accuracy trains networks; name a method"
            raise ValueError(msg)

    @property
    def pins(self) -> dict[str, Precision] | None:
        """Pinned layers; None leaves them to the workload file or the default."""
        if self.fix is None:
            return None
        return {layer: Precision.parse(text) for layer, text in self.fix.items()}


def read_recipe(file: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        SpecError: the file breaks the schema; all problems at once.
    """
    recipe = validate(Recipe, read_yaml(file))
    return recipe if recipe.name else recipe.model_copy(update={"name": file.stem})
