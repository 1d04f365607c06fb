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

import torch
from torch import nn

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.budget import REFERENCE, Budget
from hwmpq.allocate.question import Question, ask
from hwmpq.allocate.ties import Tie
from hwmpq.codesign.record import Manifest, Totals
from hwmpq.cost.memory import peak_activation
from hwmpq.cost.summary import totals
from hwmpq.data.base import Data, load_data
from hwmpq.errors import TrainingError
from hwmpq.models.build import build_model
from hwmpq.models.weights import load_weights
from hwmpq.precision import Assignment, Precision
from hwmpq.version import __version__
from hwmpq.workload.from_torch import extract
from hwmpq.workload.loader import load_workload, read_workload_file

_LIBRARIES: Final = ("torch", "numpy", "ortools", "scikit-learn")


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Everything that a run needs, before its first epoch.

    Attributes:
        model: the network, a copy that the run may change.
        data: the data set.
        question: network, machine, costs, budget and rules.
        seed: of everything random.
    """

    model: nn.Module
    data: Data
    question: Question
    seed: int

    def copy_network(self) -> nn.Module:
        """The network with the weights that the run begins with."""
        return deepcopy(self.model)

    def totals(self, assignment: Assignment) -> Totals:
        """Network totals of an assignment."""
        question = self.question
        found = totals(question.costs, assignment)
        peak = peak_activation(question.workload, assignment, question.accelerator).bits
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
        question = self.question
        return Manifest(
            hwmpq_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            workload=question.workload.name,
            workload_source=question.workload.source,
            accelerator=question.accelerator.name,
            method=method,
            data=self.data.name,
            split_sizes=self.data.split_sizes,
            seed=self.seed,
            device=device,
            threads=threads,
            epochs=epochs,
            settings=settings,
            budgets={name: str(value) for name, value in question.budget.to_json().items()},
            reference=question.reference,
            candidates=question.candidates,
            fixed=question.fixed,
            unpriced=question.workload.unpriced,
            inputs={
                "workload": question.workload.fingerprint,
                "weights": _weights_hash(self.model),
                "accelerator": question.accelerator.fingerprint,
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
    weights: Path | None = None,
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
        weights: a checkpoint that replaces the network's weights.

    Raises:
        HwmpqError: something does not exist, does not fit, or cannot be priced.
    """
    machine = accelerator
    if not isinstance(machine, Accelerator):
        machine = load_accelerator(machine)
    if isinstance(model, nn.Module):
        dataset = _data(data, model)
        network = deepcopy(model)
        workload = extract(network, dataset.example)
    else:
        workload = load_workload(model)
        network = build_model(model, seed=seed)
        dataset = _data(data, model)
    if weights is not None:
        load_weights(network, weights)
    question = ask(
        workload,
        machine,
        budget,
        reference=reference,
        candidates=candidates,
        fixed=fixed,
        groups=groups,
    )
    return Plan(model=network, data=dataset, question=question, seed=seed)


def _data(data: Data | str | Path | None, model: nn.Module | str | Path) -> Data:
    if isinstance(data, Data):
        return data
    if data is None and not isinstance(model, nn.Module):
        data = read_workload_file(model).spec.data
    if data is not None and not isinstance(data, str | Path):
        msg = (
            f"data must be a data set or its name, but got a {type(data).__name__}; arrays become "
            "one by hwmpq.from_arrays(inputs, labels)"
        )
        raise TrainingError(msg)
    if not data:
        msg = "no data set was given, and the workload names none; pass data, or --data NAME"
        raise TrainingError(msg)
    return load_data(str(data))


def _weights_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def described(prefix: str, value: Any) -> dict[str, str]:
    """A settings value's fields as text, nested ones with dots.

    Fields that take no part in comparisons, such as who is told of the progress, are no settings.

    >>> from hwmpq.allocate.ilp import ILP
    >>> described("allocator", ILP(time_limit_s=5.0))["allocator.time_limit_s"]
    '5.0'
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {prefix: str(value)}
    found: dict[str, str] = {}
    for field in dataclasses.fields(value):
        if field.compare:
            found |= described(f"{prefix}.{field.name}", getattr(value, field.name))
    return found
