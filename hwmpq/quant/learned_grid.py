"""A quantiser that learns its width: DQ's uniform grid as a module, in three parametrisations."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from hwmpq.quant.base import FakeQuantizer, Grid
from hwmpq.quant.grid import Codes, symmetric_codes, unsigned_codes
from hwmpq.quant.step_range import (
    codes_above_zero,
    fractional_bits,
    power_of_two,
    range_of,
    step_and_range,
    step_of,
    whole_bits,
)

Parametrization: TypeAlias = Literal["step_range", "bits_step", "bits_range"]
SMALLEST, LARGEST_STEP = 2.0**-8, 1.0
LARGEST_WEIGHT, LARGEST_ACTIVATION = 127.0, 255.0
"""Bounds of step and range in the authors' code."""
_APART = 1e-5
_FLOOR_UP_TO = 4
"""Up to this width the first step is rounded down to a power of two, above it up."""


class LearnedGrid(FakeQuantizer):
    """A uniform grid whose width is learned, or held once `set_bits` has set it.

    Two of step, range and bits are parameters; they start from the first tensor seen, at the width
    set then. `project` must be called after every step of the optimiser.

    Args:
        bits: width to start with; held until `learn` is called.
        signed: whether the tensor may be negative.
        parametrization: which two are parameters.
        most_bits: the widest grid that may be learned.
        power_of_two_step: whether the step in force is the nearest power of two.
    """

    learned_step: nn.Parameter
    learned_range: nn.Parameter
    learned_bits: nn.Parameter

    def __init__(
        self,
        bits: int,
        *,
        signed: bool,
        parametrization: Parametrization = "step_range",
        most_bits: int = 8,
        power_of_two_step: bool = True,
    ) -> None:
        self.parametrization = parametrization
        self.most_bits = max(most_bits, bits)
        self.power_of_two_step = power_of_two_step
        self.held = True
        super().__init__(bits, signed=signed)
        # Zero stands for a grid that has not been started.
        for name in parametrization.split("_"):
            self.register_parameter(f"learned_{name}", nn.Parameter(torch.zeros(())))

    @property
    def least_bits(self) -> int:
        """The narrowest grid."""
        return 2 if self.signed else 1

    def codes_at(self, bits: int) -> Codes:
        """All codes of a width, symmetric or unsigned."""
        return symmetric_codes(bits) if self.signed else unsigned_codes(bits)

    def learn(self) -> None:
        """Let the width be learned from now on."""
        self.held = False

    def set_bits(self, bits: int) -> None:
        """Hold a width; a grid that needs more gives up range and resolution alike."""
        super().set_bits(bits)
        self.held = True
        if hasattr(self, "learned_step") or hasattr(self, "learned_range"):
            self._narrow(bits)

    @torch.no_grad()
    def _narrow(self, bits: int) -> None:
        if not self.started:
            return
        if self.parametrization == "step_range":
            step, limit = self._grid_parameters()
            excess = codes_above_zero(step, limit) / self.codes_at(bits).high
            factor = excess.clamp(min=1).sqrt()
            self.learned_step.mul_(factor)
            self.learned_range.div_(factor)
        self.project()

    @property
    def started(self) -> bool:
        """Whether the grid has seen a tensor."""
        return all(float(parameter.detach()) != 0 for parameter in self.parameters())

    @torch.no_grad()
    def _start(self, values: Tensor) -> None:
        """The authors' start from a float network: a power of two that covers about the maximum.

        Theirs starts activations at a step of an eighth; here they start like weights.
        """
        high = self.codes_at(self.bits).high
        exponent = (values.abs().amax().clamp(min=SMALLEST) / high).log2()
        rounded = exponent.floor() if self.bits <= _FLOOR_UP_TO else exponent.ceil()
        step = torch.exp2(rounded).clamp(SMALLEST, LARGEST_STEP)
        found = {"step": step, "range": step * high, "bits": torch.tensor(float(self.bits))}
        for name in self.parametrization.split("_"):
            getattr(self, f"learned_{name}").copy_(found[name])
        self.project()

    def _width(self) -> Tensor:
        """Width of the parametrisations that learn it, to the nearest whole number."""
        bits = self.learned_bits
        return bits + (bits.round() - bits).detach()

    def _grid_parameters(self) -> tuple[Tensor, Tensor]:
        """Step and range in force, with gradient."""
        if self.parametrization == "bits_range":
            step = step_of(self._width(), self.learned_range, signed=self.signed)
            return self._on_machine(step), self.learned_range
        step = self._on_machine(self.learned_step)
        if self.parametrization == "step_range":
            return step, self.learned_range
        return step, range_of(self._width(), step, signed=self.signed)

    def _on_machine(self, step: Tensor) -> Tensor:
        return power_of_two(step) if self.power_of_two_step else step

    def fractional_bits(self) -> Tensor:
        """Width that the grid needs, with gradient, before it is rounded up.

        A held width is a constant.
        """
        if self.held:
            return next(self.parameters()).new_tensor(float(self.bits))
        if self.parametrization != "step_range":
            found: Tensor = self.learned_bits
        else:
            step, limit = self._grid_parameters()
            found = fractional_bits(step, limit, signed=self.signed)
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
        step, _ = self._grid_parameters()
        for name, parameter in self.named_parameters():
            if name != "learned_bits" and parameter.grad is not None:
                parameter.grad.clamp_(-step, step)

    @torch.no_grad()
    def project(self) -> None:
        """Bring parameters back into the authors' bounds and the width within its limit."""
        if not self.started:
            return
        largest = LARGEST_WEIGHT if self.signed else LARGEST_ACTIVATION
        most = self.bits if self.held else self.most_bits
        if self.parametrization != "step_range":
            least = self.bits if self.held else self.least_bits
            self.learned_bits.clamp_(least, most)
        if self.parametrization != "bits_range":
            self.learned_step.clamp_(SMALLEST, LARGEST_STEP)
        if self.parametrization != "bits_step":
            self.learned_range.clamp_(SMALLEST, largest)
        if self.parametrization == "step_range":
            # A width above the limit costs resolution, not range.
            high = self.codes_at(most).high
            self.learned_step.clamp_(min=self.learned_range / high)
            self.learned_range.clamp_(min=self.learned_step + _APART)
        if not self.held:
            self.bits = min(self.most_bits, int(self.needed_bits()))

    def grid(self, values: Tensor) -> Grid:
        """The grid in force; it may end before the width's last code."""
        with torch.no_grad():
            if not self.started:
                self._start(values)
            step, limit = self._grid_parameters()
            return Grid(step.detach(), self._codes(step, limit))

    def _codes(self, step: Tensor, limit: Tensor) -> Codes:
        whole = self.codes_at(self.bits if self.held else self.most_bits)
        high = min(whole.high, int(codes_above_zero(step, limit).detach()))
        return Codes(-high if self.signed else 0, high)

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """The step in force; at another width, the step of the same range."""
        grid = self.grid(values)
        return grid.step if bits == self.bits else grid.step * grid.codes.high / self._high(bits)

    def _high(self, bits: int) -> int:
        return self.codes_at(bits).high

    def quantize(self, values: Tensor) -> Tensor:
        """Quantise; gradients go to the tensor and to the two parameters."""
        if not self.started:
            self._start(values)
        step, limit = self._grid_parameters()
        return step_and_range(values, step, limit, self._codes(step, limit))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *arguments: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        if not self.held and self.started:
            self.bits = min(self.most_bits, int(self.needed_bits()))
