"""The state of an unfinished run as one file, replaced at once at the end of each epoch.

Tensors are stored as safetensors and everything else as JSON in the same file's header, so a run
that is killed at any moment leaves either the state before an epoch or the one after it. Random
numbers need no state: they are drawn from a generator seeded by run and epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from hwmpq.codesign.record import History, Record
from hwmpq.errors import Problem, SpecError
from hwmpq.files import write_atomic
from hwmpq.precision import Precision

Section = Literal["network", "optimizer", "session", "best", "float"]
"""Groups of tensors: the network in training, its optimiser, the method's session, the best
network so far in this stage, and the trained float baseline."""


class Standing(Record):
    """How far a run has come.

    Attributes:
        stage: which network is in training.
        epochs: finished epochs of that stage.
        history: everything recorded so far.
        assignment: bits in force.
        best_accuracy: highest validation accuracy of the epochs that may be chosen; negative when
            there was none.
    """

    stage: Literal["float", "quantised"] = "float"
    epochs: int = 0
    history: History = History()
    assignment: Mapping[str, Precision] = {}
    best_accuracy: float = -1.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run's standing and the tensors that go with it."""

    standing: Standing = field(default_factory=Standing)
    tensors: Mapping[Section, Mapping[str, Tensor]] = field(default_factory=dict)

    def section(self, name: Section) -> Mapping[str, Tensor]:
        """One group of tensors; empty if none was saved."""
        return self.tensors.get(name, {})

    def save(self, file: Path) -> None:
        """Write as one file, at once.

        Raises:
            OutputError: it cannot be written.
        """
        flat = {
            f"{section}/{name}": tensor.detach().cpu().contiguous().clone()
            for section, tensors in self.tensors.items()
            for name, tensor in tensors.items()
        }
        content = save_tensors(flat, metadata={"standing": self.standing.model_dump_json()})
        write_atomic(file, lambda part: part.write_bytes(content))

    @classmethod
    def load(cls, file: Path) -> Checkpoint:
        """Read what `save` wrote.

        Raises:
            SpecError: not a checkpoint.
        """
        try:
            content = file.read_bytes()
            flat = load_tensors(content)
            size = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + size])
            standing = Standing.model_validate_json(header["__metadata__"]["standing"])
        except (OSError, SafetensorError, ValidationError, ValueError, KeyError) as error:
            rule = f"is not a checkpoint written by hwmpq ({type(error).__name__})"
            fix = "Remove the folder and start the run again."
            raise SpecError(str(file), [Problem("file", rule, fix=fix)]) from error
        tensors: dict[Any, dict[str, Tensor]] = {}
        for key, tensor in flat.items():
            section, _, name = key.partition("/")
            tensors.setdefault(section, {})[name] = tensor
        return cls(standing, tensors)


def network_state(model: nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers, copied to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's tensors by parameter index and name."""
    return {
        f"{index}/{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what `optimizer_state` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = tensor
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
