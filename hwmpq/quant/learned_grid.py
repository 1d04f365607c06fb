"""A quantiser that learns its width: what DQ's uniform and power-of-two grids have in common.

A grid has a step, its smallest magnitude, and a range, its largest one; the width says how many
times the step the range can be. Two of the three are parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.step_range import whole_bits

Parametrization: TypeAlias = Literal["step_range", "bits_step", "bits_range"]
SMALLEST: Final = 2.0**-8
LARGEST_STEP: Final = 1.0
LARGEST_WEIGHT, LARGEST_ACTIVATION = 127.0, 255.0
"""Bounds of step and range in the authors' code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSettings:
    """What grids of one network share.

    Attributes:
        parametrization: which two of step, range and bits are parameters.
        most_bits: the widest grid that may be learned.
    """

    parametrization: Parametrization = "step_range"
    most_bits: int = 8


class LearnedGrid(FakeQuantizer, ABC):
    """A grid whose width is learned, or held once `set_bits` has set it.

    The parameters start from the first tensor seen, at the width set then. `project` must be
    called after every step of the optimiser.

    Args:
        bits: width to start with; held until `learn` is called.
        signed: whether the tensor may be negative.
        settings: what is learned, and how wide.
    """

    learned_step: nn.Parameter
    learned_range: nn.Parameter
    learned_bits: nn.Parameter

    def __init__(self, bits: int, *, signed: bool, settings: GridSettings) -> None:
        self.parametrization = settings.parametrization
        self.most_bits = max(settings.most_bits, bits)
        self.held = True
        self._started = False
        super().__init__(bits, signed=signed)
        # Zero stands for a grid that has not been started.
        for name in self.parametrization.split("_"):
            self.register_parameter(f"learned_{name}", nn.Parameter(torch.zeros(())))

    @abstractmethod
    def reach(self, bits: Tensor) -> Tensor:
        """How many times the step the range is at a width, differentiable."""

    @abstractmethod
    def bits_between(self, step: Tensor, limit: Tensor) -> Tensor:
        """Width that a step and a range need, with gradient, before it is rounded up."""

    @abstractmethod
    def step_in_force(self, step: Tensor) -> Tensor:
        """The step that a learned one stands for, straight through."""

    @abstractmethod
    def range_in_force(self, limit: Tensor) -> Tensor:
        """The range that a learned one stands for, straight through."""

    @abstractmethod
    def first_grid(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Step and range to start from, at the width in force."""

    @abstractmethod
    def project_pair(self, most_bits: int) -> None:
        """Bring step and range, where both are learned, so near that a width holds them."""

    @abstractmethod
    def give_up(self, bits: int) -> None:
        """Bring step and range, where both are learned, to a narrower width."""

    @property
    def least_bits(self) -> int:
        """The narrowest grid."""
        return 2 if self.signed else 1

    @property
    def started(self) -> bool:
        """Whether the grid has seen a tensor."""
        if not self._started:
            # Asked until it is true, so that no step of training waits for a device's answer.
            self._started = all(float(parameter.detach()) != 0 for parameter in self.parameters())
        return self._started

    @property
    def widest_in_force(self) -> int:
        """The width held, or the widest that may be learned."""
        return self.bits if self.held else self.most_bits

    def learn(self) -> None:
        """Let the width be learned from now on."""
        self.held = False

    def set_bits(self, bits: int) -> None:
        """Hold a width; what a grid needs beyond it is given up."""
        super().set_bits(bits)
        self.held = True
        # While it is made, it has no parameters yet.
        if hasattr(self, "learned_step") or hasattr(self, "learned_range"):
            self._narrow(bits)

    @torch.no_grad()
    def _narrow(self, bits: int) -> None:
        if self.started:
            if self.parametrization == "step_range":
                self.give_up(bits)
            self.project()

    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        """Start from a tensor, if that has not happened yet."""
        if self.started:
            return
        step, limit = self.first_grid(values)
        found = {"step": step, "range": limit, "bits": torch.tensor(float(self.bits))}
        for name in self.parametrization.split("_"):
            getattr(self, f"learned_{name}").copy_(found[name])
        self.project()

    def _width(self) -> Tensor:
        """Width of the parametrisations that learn it, to the nearest whole number."""
        bits = self.learned_bits
        return bits + (bits.round() - bits).detach()

    def grid_parameters(self) -> tuple[Tensor, Tensor]:
        """Step and range in force, with gradient."""
        if self.parametrization == "bits_range":
            limit = self.range_in_force(self.learned_range)
            return self.step_in_force(limit / self.reach(self._width())), limit
        step = self.step_in_force(self.learned_step)
        if self.parametrization == "step_range":
            return step, self.range_in_force(self.learned_range)
        return step, step * self.reach(self._width())

    def fractional_bits(self) -> Tensor:
        """Width that the grid needs, with gradient, before it is rounded up.

        A held width is a constant. A width that is learned itself is at most the one in force,
        which is the nearest.
        """
        if self.held:
            return next(self.parameters()).new_tensor(float(self.bits))
        if self.parametrization != "step_range":
            found = torch.minimum(self.learned_bits, self._width())
        else:
            found = self.bits_between(*self.grid_parameters())
        return found.clamp(min=self.least_bits)

    def needed_bits(self) -> Tensor:
        """Whole width that the grid needs, straight-through; it may exceed `most_bits`."""
        if not self.held and self.parametrization != "step_range":
            return self._width().clamp(min=self.least_bits)
        return whole_bits(self.fractional_bits())

    @torch.no_grad()
    def clip_gradients(self) -> None:
        """Keep the gradients of step and range within one step, as in the authors' code."""
        if not self.started:
            return
        step, _ = self.grid_parameters()
        for name, parameter in self.named_parameters():
            if name != "learned_bits" and parameter.grad is not None:
                parameter.grad.clamp_(-step, step)

    @torch.no_grad()
    def project(self) -> None:
        """Bring parameters back into the authors' bounds and the width within its limit."""
        if not self.started:
            return
        if self.parametrization != "step_range":
            least = self.bits if self.held else self.least_bits
            self.learned_bits.clamp_(least, self.widest_in_force)
        if self.parametrization != "bits_range":
            self.learned_step.clamp_(SMALLEST, LARGEST_STEP)
        if self.parametrization != "bits_step":
            largest = LARGEST_WEIGHT if self.signed else LARGEST_ACTIVATION
            self.learned_range.clamp_(SMALLEST, largest)
        if self.parametrization == "step_range":
            self.project_pair(self.widest_in_force)

    @torch.no_grad()
    def settle(self) -> None:
        """Take the width that was learned as the one in force."""
        if not self.held and self.started:
            self.bits = min(self.most_bits, int(self.needed_bits()))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *arguments: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._started = False
        self.settle()
