"""Finding everything that a recipe names, and refusing what cannot run, before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwmpq import registry
from hwmpq.accelerator.area import area_mm2
from hwmpq.accelerator.spec import Accelerator
from hwmpq.errors import HwmpqError, ProblemList, SpecError
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.measure import require_weights, table_file
from hwmpq.shipped import find_file
from hwmpq.sweep.axes import Value
from hwmpq.sweep.machines import bandwidth_bits_per_second, excess_area, make_variant
from hwmpq.sweep.plan import Network, Plan
from hwmpq.sweep.questions import (
    columns_of,
    make_question,
    price_largest_layer,
    weights_file,
    weights_of,
)
from hwmpq.sweep.recipe import Machine, Recipe
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import load_workload


@dataclass(slots=True)
class _Checker:
    """Collects problems and what was found."""

    recipe: Recipe
    problems: ProblemList
    inputs: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, Workload] = field(default_factory=dict)
    columns: dict[str, dict[Precision, None]] = field(default_factory=dict)
    tables: dict[str, SensitivityTable] = field(default_factory=dict)
    bandwidth: float | None = None
    area: float | None = None

    @contextmanager
    def part(self, where: str) -> Iterator[None]:
        """What is raised inside becomes a problem of a part of the recipe."""
        try:
            yield
        except SpecError as error:
            for found in error.problems:
                rule = f"{error.file}: {found.path}: {found.rule}"
                self.problems.add(where, rule, value=found.value, fix=found.fix)
        except HwmpqError as error:
            self.problems.add(where, str(error))

    def find_workloads(self) -> None:
        """Build the graph of every workload."""
        for number, name in enumerate(self.recipe.workload):
            with self.part(f"workload[{number}]"):
                self._place(name, find_file("workloads", name))
                self.workloads[name] = load_workload(name)
                self.inputs[name] = self.workloads[name].fingerprint

    def _place(self, name: str, file: Path) -> None:
        if Path(name).exists():
            self.places[name] = str(file.resolve())

    def _machine(self, name: str) -> Accelerator:
        self._place(name, find_file("accelerators", name))
        found = make_variant(name, {})
        self.inputs[name] = found.fingerprint
        return found

    def find_constraints(self) -> None:
        """What bandwidth and area every variant is held to."""
        recipe = self.recipe
        if recipe.bandwidth_of is not None:
            with self.part("bandwidth_of"):
                self.bandwidth = bandwidth_bits_per_second(self._machine(recipe.bandwidth_of))
        if recipe.area_of is None:
            return
        with self.part("area_of"):
            area: float | None = None
            if isinstance(recipe.area_of, str):
                area = area_mm2(self._machine(recipe.area_of)).total_mm2
            else:
                area = float(recipe.area_of)
            if not area:
                self.problems.add("area_of", "no area is known; give a number in mm2")
            else:
                self.area = area * (1 + recipe.area_tolerance)

    def find_scores(self) -> None:
        """Find metrics, tables, weights and methods."""
        for number, name in enumerate(self.recipe.sensitivity):
            with self.part(f"sensitivity[{number}]"):
                file = table_file(Path(name))
                if file is None:
                    registry.resolve("metric", name)
                    self._find_weights(name)
                else:
                    self.tables[name] = SensitivityTable.load(file)
                    self.places[name] = str(file.resolve())
                    self.inputs[name] = sha256(file)
        for number, name in enumerate(self.recipe.method):
            with self.part(f"method[{number}]"):
                check_training(self.recipe, name)

    def _find_weights(self, metric: str) -> None:
        for name in self.recipe.workload:
            text = weights_of(self.recipe, name)
            weights = None if text is None else Path(text)
            require_weights(metric, weights, random_weights=self.recipe.random_weights)
            if weights is None:
                continue
            file = weights_file(weights)
            if file.is_file():
                self.places[str(text)] = str(weights.resolve())
                self.inputs[str(text)] = sha256(file)
            else:
                self.problems.add("weights", "there is no such file", value=str(file))

    def try_machines(self) -> None:
        """Price each network on each accelerator, its largest layer at every value of a set."""
        for number, machine in enumerate(self.recipe.accelerator):
            base: Accelerator | None = None
            with self.part(f"accelerator[{number}]"):
                base = self._machine(machine.name)
            if base is None:
                continue
            axes = {**self.recipe.set, **machine.set}
            before = len(self.problems.problems)
            self._try_values(machine, axes)
            if len(self.problems.problems) == before:
                self._try_networks(f"accelerator[{number}]", machine, axes, base)
            if len(self.problems.problems) == before:
                self._try_values(machine, axes, priced=True)

    def _try_values(
        self, machine: Machine, axes: dict[str, tuple[Value, ...]], *, priced: bool = False
    ) -> None:
        """A value that fits neither alone nor beside the first of all others is impossible.

        Args:
            machine: whose parameters are tried.
            axes: values of each parameter.
            priced: also price the largest layer of each network.
        """
        first = {path: values[0] for path, values in axes.items()}
        for path, values in axes.items():
            for value in values[1:] if priced else values:
                try:
                    self._try(machine, {path: value}, priced=priced)
                except HwmpqError:
                    with self.part(f"set.{path} = {value} on {machine.name}"):
                        self._try(machine, {**first, path: value}, priced=priced)

    def _try(self, machine: Machine, changes: dict[str, Value], *, priced: bool) -> None:
        variant = self._variant(machine, changes)
        for name, workload in self.workloads.items() if priced else ():
            price_largest_layer(workload, variant, tuple(self.columns[name]))

    def _variant(self, machine: Machine, changes: dict[str, Value]) -> Accelerator:
        return make_variant(machine.name, changes, bandwidth_bits_per_second=self.bandwidth)

    def _try_networks(
        self,
        where: str,
        machine: Machine,
        axes: dict[str, tuple[Value, ...]],
        base: Accelerator,
    ) -> None:
        variant = base
        with self.part(where):
            variant = self._variant(machine, {path: values[0] for path, values in axes.items()})
            if self.area is not None and area_mm2(variant).total_mm2 is None:
                self.problems.add(where, excess_area(variant, self.area))
        for widths in self.recipe.precisions:
            for name, workload in self.workloads.items():
                with self.part(where):
                    question = make_question(self.recipe, workload, variant, widths)
                    found = self.columns.setdefault(name, {})
                    found.update(dict.fromkeys(columns_of(question)))
                    for table in self.tables.values():
                        question.problem(table)


def check_training(recipe: Recipe, method: str) -> None:
    """Check a method's and the training's settings.

    Raises:
        NotFoundError: no such method.
        SpecError: a setting does not exist or does not fit.
    """
    # Training needs torch, which sweeps of allocations do without.
    from hwmpq.codesign.job import with_settings
    from hwmpq.codesign.train import Recipe as Training

    with_settings(registry.resolve("method", method), recipe.settings, f"settings of {method}")
    with_settings(Training(), recipe.training, "training")


def sha256(file: Path) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check(recipe: Recipe, file: str) -> tuple[Plan, dict[str, Workload]]:
    """Find everything that a recipe names and try each value on its own.

    What only certain values together break becomes a failed row, later.

    Args:
        recipe: what is asked.
        file: where it was read, for messages.

    Returns:
        the plan, and the graphs by name.

    Raises:
        SpecError: what cannot be found or cannot run; all problems at once.
    """
    checker = _Checker(recipe, ProblemList(file))
    checker.find_workloads()
    checker.find_constraints()
    checker.find_scores()
    checker.try_machines()
    checker.problems.raise_if_any()
    networks: dict[str, Any] = {
        name: Network(
            sha256=workload.fingerprint,
            layers=tuple(layer.name for layer in workload.multiply_layers),
            columns=tuple(str(column) for column in checker.columns[name]),
        )
        for name, workload in checker.workloads.items()
    }
    plan = Plan(
        recipe=recipe,
        inputs=checker.inputs,
        places=checker.places,
        networks=networks,
        area_limit_mm2=checker.area,
        bandwidth_bits_per_second=checker.bandwidth,
    )
    return plan.hashed(), checker.workloads
