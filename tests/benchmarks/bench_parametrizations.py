"""How well each of DQ's parametrisations learns a grid by gradient, from good and bad starts.

The paper's claim is about parametrisations: a quantiser has two degrees of freedom among step,
range and bits, and which two are learned decides whether plain gradient descent works. Here each
fits a Gaussian by gradient descent on the mean square error, everything else alike.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from hwmpq.quant.grid import Codes
from hwmpq.quant.power_of_two import largest_of, smallest_and_largest, smallest_of
from hwmpq.quant.step_range import codes_above_zero, range_of, step_and_range, step_of

STEPS, RATE = 300, 0.05
START_BITS = (2, 3, 4, 5, 6, 7, 8)
START_RANGES = (0.5, 3.0, 12.0)
"""Of a Gaussian of deviation one: too narrow, about right, too wide."""
SMALLEST, LARGEST = 2.0**-8, 127.0


def uniform(values: Tensor, step: Tensor, limit: Tensor) -> Tensor:
    high = int(codes_above_zero(step, limit).detach())
    return step_and_range(values, step, limit, Codes(-high, high))


def step_range(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return uniform(values, first, second)


def bits_step(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return uniform(values, second, range_of(first, second, signed=True))


def bits_range(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return uniform(values, step_of(first, second, signed=True), second)


def smallest_largest(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return smallest_and_largest(values, first, second)


def bits_smallest(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return smallest_and_largest(values, second, largest_of(first, second))


def bits_largest(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return smallest_and_largest(values, smallest_of(first, second), second)


PARAMETRIZATIONS = {
    "uniform step_range": step_range,
    "uniform bits_step": bits_step,
    "uniform bits_range": bits_range,
    "power of two smallest_largest": smallest_largest,
    "power of two bits_smallest": bits_smallest,
    "power of two bits_largest": bits_largest,
}

EXPECTED = {
    "uniform step_range": ((0, 1e-3), (0, 1)),
    "uniform bits_step": ((0.5, math.inf), (50, math.inf)),
    "uniform bits_range": ((2e-3, math.inf), (2, math.inf)),
    "power of two smallest_largest": ((0.03, 0.05), (0, 20)),
    "power of two bits_smallest": ((0.03, 0.05), (50, math.inf)),
    "power of two bits_largest": ((0.03, 0.05), (30, math.inf)),
}
"""Least and most of the worst error over all starts, and of the steepest gradient. An error near
one is that of a grid which rounds everything to zero; powers of two cannot do better than 0.04."""


def start(name: str, bits: int, limit: float) -> list[Tensor]:
    """The two parameters of the same first grid."""
    step = limit / (2 ** (bits - 1) - 1)
    smallest = max(limit / 2.0 ** (2 ** (bits - 1) - 1), SMALLEST)
    values = {
        "step": step,
        "range": limit,
        "bits": float(bits),
        "smallest": smallest,
        "largest": limit,
    }
    return [torch.tensor(values[part], requires_grad=True) for part in name.split()[-1].split("_")]


def bounds(part: str) -> tuple[float, float]:
    return (2.0, 9.0) if part == "bits" else (SMALLEST, LARGEST)


def learn(name: str, bits: int, limit: float, values: Tensor) -> tuple[float, float]:
    """Error after learning, and the largest gradient on the way; the error may be infinite."""
    parts = name.split()[-1].split("_")
    parameters = start(name, bits, limit)
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=0.9)
    steepest, error = 0.0, math.inf
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = (PARAMETRIZATIONS[name](values, *parameters) - values).square().mean()
        loss.backward()
        slopes = [float(p.grad) for p in parameters if p.grad is not None]
        steepest = max(steepest, math.hypot(*slopes))
        optimizer.step()
        with torch.no_grad():
            for part, parameter in zip(parts, parameters, strict=True):
                parameter.clamp_(*bounds(part))
        error = float(loss.detach())
    return error, steepest


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_learning_a_grid(benchmark, name: str) -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))

    def from_every_start() -> list[tuple[float, float]]:
        return [
            learn(name, bits, limit, values)
            for bits, limit in itertools.product(START_BITS, START_RANGES)
        ]

    found = benchmark.pedantic(from_every_start, rounds=1)
    errors = sorted(error for error, _ in found)
    benchmark.extra_info["median error"] = errors[len(errors) // 2]
    benchmark.extra_info["worst error"] = errors[-1]
    benchmark.extra_info["steepest gradient"] = max(slope for _, slope in found)
    worst, slope = EXPECTED[name]
    assert worst[0] < errors[-1] < worst[1]
    assert slope[0] < benchmark.extra_info["steepest gradient"] < slope[1]
