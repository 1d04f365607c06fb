"""What a layer costs at bits between the columns of a cost table, and how steeply that falls.

Costs are interpolated linearly in weight and in activation bits; at a column they are the
column's. Below the narrowest width a layer costs what it costs there; above the widest the cost
goes on rising.

The gradient is not that of the interpolation but the steepest way down: for each width, the
greatest saving per bit that a narrower one brings. Where costs rise linearly, or faster, both are
equal. Where they have plateaus they differ, and only the way down is of use: a machine that runs 5
to 8 bits alike would otherwise give learning no reason to leave 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hwmpq.allocate.base import FloatArray, Resource
from hwmpq.precision import Precision


@dataclass(frozen=True, slots=True, eq=False)
class CostSurface:
    """One row of costs over fractional bits.

    Attributes:
        weight_widths: increasing.
        activation_widths: increasing.
        values: ``[layers, weight widths, activation widths]``.
        weight_savings: greatest saving per weight bit from each width on down, of the same shape.
        activation_savings: likewise per activation bit.
    """

    weight_widths: Tensor
    activation_widths: Tensor
    values: Tensor
    weight_savings: Tensor
    activation_savings: Tensor

    def __call__(self, weight_bits: Tensor, activation_bits: Tensor) -> Tensor:
        """Costs of the layers, ``[layers]``, at fractional bits, ``[layers]`` each."""
        bits = (weight_bits.to(self.values), activation_bits.to(self.values))
        found = _Interpolation.apply(*bits, self)  # type: ignore[no-untyped-call]
        return cast("Tensor", found)

    def to(self, device: torch.device) -> CostSurface:
        """The same on a device, so that no training step has to fetch its bits from there."""
        return CostSurface(
            *(getattr(self, field.name).to(device) for field in fields(self)),
        )

    def savings(self, weight_bits: Tensor, activation_bits: Tensor) -> tuple[Tensor, Tensor]:
        """Greatest saving per bit of weights and of activations, ``[layers]`` each."""
        across = _segment(weight_bits.to(self.values), self.weight_widths)
        along = _segment(activation_bits.to(self.values), self.activation_widths)
        return (
            _between(self.weight_savings[across.rows, across.upper], along),
            _between(self.activation_savings[across.rows, :, along.upper], across),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """Where bits lie: between the widths ``lower`` and ``upper``, so far from the lower one."""

    rows: Tensor
    lower: Tensor
    upper: Tensor
    share: Tensor
    beyond: Tensor


def _segment(bits: Tensor, widths: Tensor) -> _Segment:
    inside = torch.minimum(torch.maximum(bits, widths[0]), widths[-1])
    # A width itself belongs to the segment below it, whose slope is what one bit less saves.
    upper = torch.searchsorted(widths, inside).clamp(max=len(widths) - 1)
    lower = (upper - 1).clamp(min=0)
    distance = (widths[upper] - widths[lower]).clamp(min=1)
    share = torch.where(
        upper > lower, (inside - widths[lower]) / distance, torch.ones_like(inside)
    )
    rows = torch.arange(len(bits), device=bits.device)
    return _Segment(rows, lower, upper, share, (bits - widths[-1]).clamp(min=0))


def _between(values: Tensor, place: _Segment) -> Tensor:
    """Linear interpolation along the last dimension of ``[layers, widths]``."""
    low, high = values[place.rows, place.lower], values[place.rows, place.upper]
    # Written so that a width itself gives its column without rounding.
    return torch.where(place.share == 1, high, low + place.share * (high - low))


class _Interpolation(torch.autograd.Function):
    """Interpolated costs forward, the steepest way down backward."""

    @staticmethod
    def forward(
        ctx: Any, weight_bits: Tensor, activation_bits: Tensor, surface: CostSurface
    ) -> Tensor:
        across = _segment(weight_bits, surface.weight_widths)
        along = _segment(activation_bits, surface.activation_widths)
        low = _between(surface.values[across.rows, across.lower], along)
        high = _between(surface.values[across.rows, across.upper], along)
        savings = surface.savings(weight_bits, activation_bits)
        ctx.save_for_backward(*savings)
        found = torch.where(across.share == 1, high, low + across.share * (high - low))
        return found + savings[0] * across.beyond + savings[1] * along.beyond

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        by_weight, by_activation = ctx.saved_tensors
        return gradients[0] * by_weight, gradients[0] * by_activation, None


def _complete(costs: FloatArray, precisions: Sequence[Precision]) -> tuple[Tensor, Tensor, Tensor]:
    """Costs on the full grid of widths, ``[layers, weight widths, activation widths]``.

    A pair that is no column costs what the cheapest column costs that is as wide in both: the
    machine would run it there. Where none is, it costs as much as the dearest column.
    """
    weights = sorted({precision.weight_bits for precision in precisions})
    activations = sorted({precision.activation_bits for precision in precisions})
    grid = np.empty((len(costs), len(weights), len(activations)))
    for i, weight in enumerate(weights):
        for j, activation in enumerate(activations):
            exact = [p == Precision(weight, activation) for p in precisions]
            holds = [
                p.weight_bits >= weight and p.activation_bits >= activation for p in precisions
            ]
            if any(exact):
                grid[:, i, j] = costs[:, exact.index(True)]
            elif any(holds):
                grid[:, i, j] = costs[:, holds].min(axis=1)
            else:
                grid[:, i, j] = costs.max(axis=1)
    return (
        torch.tensor(weights, dtype=torch.float64),
        torch.tensor(activations, dtype=torch.float64),
        torch.from_numpy(grid),
    )


def _greatest_savings(values: Tensor, widths: Tensor) -> Tensor:
    """``max over i < j of (v_j - v_i) / (w_j - w_i)``, at least zero, along dimension 1."""
    found = torch.zeros_like(values)
    for j in range(1, len(widths)):
        rises = (values[:, j : j + 1] - values[:, :j]) / (widths[j] - widths[:j]).reshape(1, -1, 1)
        found[:, j] = rises.amax(dim=1).clamp(min=0)
    return found


def cost_surface(costs: FloatArray, precisions: Sequence[Precision]) -> CostSurface:
    """Interpolate a row's costs, ``[layers, precisions]``."""
    weights, activations, values = _complete(np.asarray(costs, dtype=np.float64), precisions)
    flipped = values.transpose(1, 2)
    return CostSurface(
        weights,
        activations,
        values,
        _greatest_savings(values, weights),
        _greatest_savings(flipped, activations).transpose(1, 2),
    )


@dataclass(frozen=True, slots=True, eq=False)
class FractionalBudgets:
    """Every budget's spending at fractional bits.

    Attributes:
        rows: the budgets' rows with their surfaces.
    """

    rows: tuple[tuple[Resource, CostSurface], ...]

    @classmethod
    def of(
        cls, resources: Sequence[Resource], precisions: Sequence[Precision]
    ) -> FractionalBudgets:
        """Interpolate the rows of an allocation problem over the columns of its cost table."""
        return cls(
            tuple((row, cost_surface(np.asarray(row.costs), precisions)) for row in resources)
        )

    def to(self, device: torch.device) -> FractionalBudgets:
        """The same on a device."""
        return FractionalBudgets(tuple((row, surface.to(device)) for row, surface in self.rows))

    def spent(self, weight_bits: Tensor, activation_bits: Tensor) -> Mapping[str, Tensor]:
        """Share of its limit that each budget spends; of several rows, the largest."""
        found: dict[str, Tensor] = {}
        for row, surface in self.rows:
            total = surface(weight_bits, activation_bits).sum() + row.constant
            share = total / row.limit
            found[row.name] = torch.maximum(found[row.name], share) if row.name in found else share
        return found

    def penalty(self, weight_bits: Tensor, activation_bits: Tensor) -> Tensor:
        """``sum over budgets of max(0, spent / limit - 1)^2``."""
        shares = torch.stack(tuple(self.spent(weight_bits, activation_bits).values()))
        return (shares - 1).clamp(min=0).square().sum()
