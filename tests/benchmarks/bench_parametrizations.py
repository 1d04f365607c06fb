"""How well each of DQ's parametrisations learns a grid by gradient, from good and bad starts.

The paper's claim is about parametrisations: a quantiser has two degrees of freedom among step,
range and bits, and which two are learned decides whether plain gradient descent works. Here each
fits a Gaussian by gradient descent on the mean square error, everything else alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hwmpq.quant.power_of_two import octaves_of, smallest_and_largest
from hwmpq.quant.step_range import codes_above_zero, full_range, step_and_range

STEPS, RATE = 300, 0.05
START_BITS = (2, 3, 4, 5, 6, 7, 8)
START_RANGES = (0.5, 3.0, 12.0)
"""Of a Gaussian of deviation one: too narrow, about right, too wide."""
SMALLEST, LARGEST = 2.0**-8, 127.0


def ends(parts: str, reach: Callable[[Tensor], Tensor], first: Tensor, second: Tensor):
    """Step and range of two parameters."""
    if parts == "step_range":
        return first, second
    times = reach(first)
    return (second, second * times) if parts == "bits_step" else (second / times, second)


def uniform(parts: str, values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    step, limit = ends(parts, lambda bits: full_range(bits, signed=True), first, second)
    return step_and_range(values, step, limit, codes_above_zero(step, limit).detach(), signed=True)


def powers(parts: str, values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    step, limit = ends(parts, lambda bits: torch.exp2(octaves_of(bits)), first, second)
    return smallest_and_largest(values, step, limit)


QUANTISERS = {"uniform": uniform, "power_of_two": powers}
PARAMETRIZATIONS = [
    f"{quantiser} {parts}"
    for quantiser in QUANTISERS
    for parts in ("step_range", "bits_step", "bits_range")
]

EXPECTED = {
    "uniform step_range": ((0, 1e-3), (0, 1)),
    "uniform bits_step": ((0.5, math.inf), (50, math.inf)),
    "uniform bits_range": ((2e-3, math.inf), (2, math.inf)),
    "power_of_two step_range": ((0.03, 0.05), (0, 20)),
    "power_of_two bits_step": ((0.03, 0.05), (50, math.inf)),
    "power_of_two bits_range": ((0.03, 0.05), (30, math.inf)),
}
"""Least and most of the worst error over all starts, and of the steepest gradient. An error near
one is that of a grid which rounds everything to zero; powers of two cannot do better than 0.04."""


def start(name: str, bits: int, limit: float) -> list[Tensor]:
    """The two parameters of the same first grid."""
    quantiser, parts = name.split()
    reach = 2 ** (bits - 1) - 1 if quantiser == "uniform" else 2.0 ** (2 ** (bits - 1) - 1)
    step = limit / reach if quantiser == "uniform" else max(limit / reach, SMALLEST)
    values = {"step": step, "range": limit, "bits": float(bits)}
    return [torch.tensor(values[part], requires_grad=True) for part in parts.split("_")]


def bounds(part: str) -> tuple[float, float]:
    return (2.0, 9.0) if part == "bits" else (SMALLEST, LARGEST)


def learn(name: str, bits: int, limit: float, values: Tensor) -> tuple[float, float]:
    """Error after learning, and the largest gradient on the way; the error may be infinite."""
    quantiser, parts = name.split()
    parameters = start(name, bits, limit)
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=0.9)
    steepest, error = 0.0, math.inf
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = (QUANTISERS[quantiser](parts, values, *parameters) - values).square().mean()
        loss.backward()
        slopes = [float(p.grad) for p in parameters if p.grad is not None]
        steepest = max(steepest, math.hypot(*slopes))
        optimizer.step()
        with torch.no_grad():
            for part, parameter in zip(parts.split("_"), parameters, strict=True):
                parameter.clamp_(*bounds(part))
        error = float(loss.detach())
    return error, steepest


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_learning_a_grid(figure: Callable, name: str) -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))

    found = [
        learn(name, bits, limit, values)
        for bits, limit in itertools.product(START_BITS, START_RANGES)
    ]
    errors = sorted(error for error, _ in found)
    steepest = max(slope for _, slope in found)
    worst, slope = EXPECTED[name]
    figure(
        "What DQ's parametrisations learn of a Gaussian by gradient, from 21 starts",
        {
            "quantiser": name,
            "median error": errors[len(errors) // 2],
            "worst error": errors[-1],
            "expected": f"{worst[0]:g} to {worst[1]:g}",
            "steepest gradient": steepest,
            "expected gradient": f"{slope[0]:g} to {slope[1]:g}",
        },
    )
    assert worst[0] < errors[-1] < worst[1]
    assert slope[0] < steepest < slope[1]
