"""What a run is asked, resolved: network, data, costs, budget and rules, before any training."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.budget import REFERENCE, Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.interval import Interval, feasible_interval
from hwmpq.allocate.problem import Rules, build_problem, expand
from hwmpq.allocate.ties import Tie
from hwmpq.codesign.record import Manifest, Totals
from hwmpq.cost.activation_cuts import activation_cuts
from hwmpq.cost.memory import peak_activation
from hwmpq.cost.summary import totals
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.data.base import Data, load_data
from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.models.build import build_model
from hwmpq.precision import Assignment, Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.version import __version__
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload
from hwmpq.workload.groups import activation_groups, repeated_layers
from hwmpq.workload.loader import load_workload, read_workload_file

FIRST_AND_LAST: Final = Precision(8, 8)
"""Pin of the first and the last multiplying layer unless pins are given."""
_NARROWEST, _WIDEST = 2, 8
_LIBRARIES: Final = ("torch", "numpy", "ortools", "scikit-learn")


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Everything that a run needs, before its first epoch.

    Attributes:
        model: the network, a copy that the run may change.
        workload: its graph.
        data: the data set.
        accelerator: the machine.
        costs: what every layer costs at every precision in question.
        budget: the limits.
        reference: what relative limits refer to.
        rules: candidates, pins and ties.
        seed: of everything random.
    """

    model: nn.Module
    workload: Workload
    data: Data
    accelerator: Accelerator
    costs: CostTable
    budget: Budget
    reference: Precision
    rules: Rules
    seed: int

    @property
    def candidates(self) -> tuple[Precision, ...]:
        """Precisions that layers without a pin may take."""
        return tuple(self.rules.candidates or ())

    @property
    def fixed(self) -> dict[str, Precision]:
        """Pinned layers by name."""
        return expand(self.rules.fixed, self.costs.choosable_layers, "pin")

    def copy_network(self) -> nn.Module:
        """The network with the weights that the run begins with."""
        return deepcopy(self.model)

    def resources(self) -> tuple[Resource, ...]:
        """The budgets as rows over the choosable layers."""
        return self._without_scores().resources

    def problem(self, sensitivity: SensitivityTable) -> AllocationProblem:
        """The allocation problem under given sensitivities."""
        cuts = None
        if "peak_activation_memory" in self.budget.names:
            unit = self.accelerator.vector
            ties = (tie for tie in self.rules.groups if isinstance(tie, Tie))
            cuts = activation_cuts(
                self.workload,
                self.costs.precisions,
                vector_bits=unit.element_bits,
                fused=unit.fused,
                same_width={name: tie.layers[0] for tie in ties for name in tie.layers},
            )
        return build_problem(
            self.costs,
            sensitivity,
            self.budget,
            reference=self.reference,
            rules=self.rules,
            cuts=cuts,
        )

    def _without_scores(self) -> AllocationProblem:
        layers = self.costs.choosable_layers
        zeros = np.zeros((len(layers), len(self.costs.precisions)))
        return self.problem(
            SensitivityTable(
                layers=layers, precisions=self.costs.precisions, values=zeros, metric="none"
            )
        )

    def intervals(self) -> tuple[Interval, ...]:
        """What each budgeted quantity can be limited to."""
        problem = self._without_scores()
        return tuple(feasible_interval(problem, name) for name in self.budget.names)

    def limits(self) -> dict[str, float]:
        """What each budget asks for, in its reported unit."""
        return {row.name: row.limit / row.divisor for row in reversed(self.resources())}

    def require_feasible(self) -> None:
        """Check that some assignment meets the budgets.

        Raises:
            InfeasibleError: none does; says the least that is achievable.
        """
        ILP().solve(self._without_scores())

    def totals(self, assignment: Assignment) -> Totals:
        """Network totals of an assignment."""
        found = totals(self.costs, assignment)
        peak = peak_activation(self.workload, assignment, self.accelerator).bits
        names = set(Totals.model_fields) - {"peak_activation_memory_bits"}
        return Totals(peak_activation_memory_bits=peak, **{name: found[name] for name in names})

    def manifest(
        self,
        *,
        method: str,
        settings: Mapping[str, str],
        epochs: int,
        device: str,
        threads: int,
        command: str,
    ) -> Manifest:
        """The record of what is asked."""
        return Manifest(
            hwmpq_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            workload=self.workload.name,
            workload_source=self.workload.source,
            accelerator=self.accelerator.name,
            method=method,
            data=self.data.name,
            split_sizes=self.data.split_sizes,
            seed=self.seed,
            device=device,
            threads=threads,
            epochs=epochs,
            settings=settings,
            budgets={name: str(value) for name, value in self.budget.to_json().items()},
            reference=self.reference,
            candidates=self.candidates,
            fixed=self.fixed,
            unpriced=self.workload.unpriced,
            inputs={
                "workload": _workload_hash(self.workload),
                "weights": _weights_hash(self.model),
                "accelerator": self.accelerator.fingerprint,
                "data": self.data.fingerprint,
            },
            versions={"python": platform.python_version()}
            | {name: version(name) for name in _LIBRARIES},
        )


def make_plan(
    model: nn.Module | str | Path,
    data: Data | str | Path | None,
    accelerator: Accelerator | str | Path,
    *,
    budget: Budget,
    seed: int = 0,
    reference: Precision = REFERENCE,
    candidates: Sequence[Precision] | None = None,
    fixed: Mapping[str, Precision] | None = None,
    groups: Sequence[Tie | Sequence[str]] | None = None,
) -> Plan:
    """Resolve names, trace the network and price it.

    Args:
        model: a torch module, which is copied, or the name or path of a workload.
        data: a data set or its name; None is the one that the workload file names.
        accelerator: an accelerator, or its name or path.
        budget: the limits.
        seed: of the weights of a workload's network.
        reference: what relative limits refer to.
        candidates: precisions to choose from; by default what the accelerator runs from two to
            eight bits.
        fixed: pins by name or pattern; by default those of the workload file, else 8/8 for the
            first and the last multiplying layer.
        groups: layers that share bits; by default those that read the same tensor share the bits
            of their activations.

    Raises:
        HwmpqError: something does not exist, does not fit, or cannot be priced.
    """
    machine = accelerator
    if not isinstance(machine, Accelerator):
        machine = load_accelerator(machine)
    dataset = _data(data, model)
    if isinstance(model, nn.Module):
        network = deepcopy(model)
        workload = extract(network, dataset.example)
    else:
        workload = load_workload(model)
        network = build_model(model, seed=seed)
    options = _candidates(machine, candidates)
    pins = _pins(workload, fixed)
    columns = dict.fromkeys((*options, reference, *pins.values()))
    return Plan(
        model=network,
        workload=workload,
        data=dataset,
        accelerator=machine,
        costs=cost_table(workload, machine, tuple(columns)),
        budget=budget,
        reference=reference,
        rules=Rules(candidates=options, fixed=pins, groups=_ties(workload, groups)),
        seed=seed,
    )


def _data(data: Data | str | Path | None, model: nn.Module | str | Path) -> Data:
    if isinstance(data, Data):
        return data
    if data is None and not isinstance(model, nn.Module):
        data = read_workload_file(model).spec.data
    if data is None:
        msg = "no data set was given, and the workload names none; pass data, or --data NAME"
        raise TrainingError(msg)
    return load_data(str(data))


def _candidates(
    accelerator: Accelerator, candidates: Sequence[Precision] | None
) -> tuple[Precision, ...]:
    if candidates is not None:
        return tuple(dict.fromkeys(candidates))
    found = tuple(
        precision
        for precision in accelerator.supported
        if _NARROWEST <= precision.weight_bits <= _WIDEST
        and _NARROWEST <= precision.activation_bits <= _WIDEST
    )
    if not found:
        msg = (
            f"accelerator '{accelerator.name}' runs no width from {_NARROWEST} to {_WIDEST} bits; "
            "name the candidates"
        )
        raise UnsupportedError(msg)
    return found


def _pins(workload: Workload, fixed: Mapping[str, Precision] | None) -> dict[str, Precision]:
    if fixed is not None:
        return dict(fixed)
    if workload.fixed_precisions:
        return {name: Precision.parse(text) for name, text in workload.fixed_precisions.items()}
    layers = workload.multiply_layers
    return {layer.name: FIRST_AND_LAST for layer in (layers[0], layers[-1])} if layers else {}


def _ties(
    workload: Workload, groups: Sequence[Tie | Sequence[str]] | None
) -> tuple[Tie | Sequence[str], ...]:
    # A module that runs twice has one weight and one quantiser of its input.
    repeated = tuple(Tie(names, "both") for names in repeated_layers(workload))
    return (*(activation_groups(workload) if groups is None else groups), *repeated)


def _workload_hash(workload: Workload) -> str:
    digest = hashlib.sha256()
    for layer in workload.layers:
        digest.update(layer.model_dump_json().encode())
        digest.update(",".join(t.producer for t in workload.inputs_of(layer.name)).encode())
    return digest.hexdigest()


def _weights_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def described(prefix: str, value: Any) -> dict[str, str]:
    """A settings value's fields as text, nested ones with dots.

    >>> described("allocator", ILP(time_limit_s=5.0))["allocator.time_limit_s"]
    '5.0'
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {prefix: str(value)}
    found: dict[str, str] = {}
    for field in dataclasses.fields(value):
        found |= described(f"{prefix}.{field.name}", getattr(value, field.name))
    return found
