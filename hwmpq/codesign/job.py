"""A job as a file: everything that ``hwmpq optimize`` can be asked for, in one YAML."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt

from hwmpq import registry
from hwmpq.accelerator.loader import apply_overrides, load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.budget import Budget
from hwmpq.codesign.train import Recipe
from hwmpq.errors import Problem, SpecError
from hwmpq.methods.base import Method
from hwmpq.precision import Precision, precisions
from hwmpq.strict_yaml import Document, read_yaml, validate

Settings = TypeVar("Settings")


def _tuple(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_tuple), Field(min_length=1)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_tuple), Field(min_length=1)
]
Scalar = str | int | float | bool


class Job(BaseModel):
    """What to optimise, for which machine, by which methods, inside which budget.

    Attributes:
        workload: a shipped name or a path.
        accelerator: a shipped name or a path.
        set: values of the accelerator to change, by path.
        method: one method or several, to be compared.
        budget: limits by quantity, such as ``latency: 0.5x``.
        settings: settings of the method by name, such as ``quantizer: power_of_two``; those of one
            of several methods under its name, ``dq: {quantizer: power_of_two}``.
        training: settings of training by name, such as ``learning_rate: 0.05``.
        weights: a float checkpoint to start from: safetensors, a torch state dict, or a run.
        data: a data set; None is the one that the workload names.
        epochs: passes over the training data of either network.
        seed: of everything random.
        seeds: several, for a run of each method with each.
        device: torch device.
        threads: CPU threads.
        reference: what relative limits refer to.
        weight_bits: widths to choose from.
        activation_bits: widths to choose from.
        fix: pins by layer or pattern, such as ``conv1: 8/8``.
        ablation: allocate by reversed or random scores.
        out: the run directory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workload: str
    accelerator: str
    set: Mapping[str, Scalar] = Field(default_factory=dict)
    method: Names = Field(min_length=1)
    budget: Mapping[str, str | float] = Field(min_length=1)
    settings: Mapping[str, Any] = Field(default_factory=dict)
    training: Mapping[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    data: str | None = None
    epochs: PositiveInt | None = None
    seed: int = Field(default=0, ge=0)
    seeds: Seeds | None = None
    device: str = "cpu"
    threads: PositiveInt = 1
    reference: str = "8/8"
    weight_bits: Widths | None = None
    activation_bits: Widths | None = None
    fix: Mapping[str, str] | None = None
    ablation: Literal["reversed", "random"] | None = None
    out: str | None = None

    @property
    def budgets(self) -> Budget:
        """The limits.

        Raises:
            BudgetError: a limit makes no sense.
        """
        return Budget.from_mapping(self.budget)

    @property
    def candidates(self) -> tuple[Precision, ...] | None:
        """Precisions to choose from; None leaves it to the accelerator."""
        if self.weight_bits is None and self.activation_bits is None:
            return None
        supported = self.load_accelerator().precisions
        return precisions(
            self.weight_bits or supported.weight_bits,
            self.activation_bits or supported.activation_bits,
        )

    @property
    def pins(self) -> dict[str, Precision] | None:
        """Pinned layers; None leaves them to the workload file or the default."""
        if self.fix is None:
            return None
        return {layer: Precision.parse(text) for layer, text in self.fix.items()}

    def load_accelerator(self) -> Accelerator:
        """The machine, with changes applied."""
        return load_accelerator(self.accelerator, self.set)

    def recipe(self) -> Recipe:
        """How to train."""
        return with_settings(Recipe(), self.training, "training")

    def load_method(self, name: str) -> Method:
        """One of the methods, with its settings.

        Raises:
            SpecError: a setting does not exist or does not fit.
        """
        method: Method = registry.resolve("method", name)
        shared = {key: value for key, value in self.settings.items() if key not in self.method}
        own = self.settings.get(name, {})
        if not isinstance(own, Mapping):
            problem = Problem(name, "must be settings by name", repr(own))
            raise SpecError("settings", [problem])  # noqa: EM101
        return with_settings(method, shared | dict(own), "settings")


def with_settings(value: Settings, settings: Mapping[str, Any], where: str) -> Settings:
    """A frozen dataclass with some fields replaced.

    Raises:
        SpecError: a setting is no field, or of another kind than the field's default.
    """
    if not settings:
        return value
    known = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}  # type: ignore[arg-type]
    problems = []
    for name, given in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            fix = f"{hint}Settings of {type(value).__name__}: {', '.join(known) or 'none'}."
            problems.append(Problem(name, "there is no such setting", fix=fix))
        elif not _fits(given, known[name]):
            rule = f"must be like its default {known[name]!r}"
            problems.append(Problem(name, rule, repr(given)))
    if problems:
        raise SpecError(where, problems)
    changes = {
        name: tuple(given) if isinstance(given, list) else given
        for name, given in settings.items()
    }
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def _fits(given: object, default: object) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(given, bool):
        return isinstance(default, bool) and isinstance(given, bool)
    if isinstance(default, float):
        return isinstance(given, int | float)
    if isinstance(default, tuple):
        return isinstance(given, list | tuple)
    return isinstance(given, type(default))


def make_job(**fields: object) -> Job:
    """A job from the fields of a command line.

    Raises:
        SpecError: a field is not what it should be.
    """
    return validate(Job, Document("command line", fields))


def is_job_file(name_or_path: str) -> bool:
    """Whether a path names a YAML file that asks for a method, and so is a job."""
    path = Path(name_or_path)
    if not path.is_file() or path.suffix not in {".yaml", ".yml"}:
        return False
    return "method" in read_yaml(path).data


def read_job(path: Path, overrides: Mapping[str, object] | None = None) -> Job:
    """Read a job file; overrides replace values by path, such as ``budget.latency``.

    Raises:
        SpecError: the file breaks the schema; all problems at once.
    """
    return validate(Job, apply_overrides(read_yaml(path), overrides or {}))
