"""Traces of Hessian blocks from random probes, without forming the Hessian."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hwmpq.data.base import Batch
from hwmpq.errors import UnsupportedError
from hwmpq.sensitivity.gradients import operand_gradients
from hwmpq.sensitivity.probe import Probe, Progress, require_finite, samples
from hwmpq.sensitivity.taps import Block, Operand

LEAST_PROBES: Final = 4
"""The spread of fewer probes says too little about the error of their mean."""


def rademacher(like: Tensor, generator: torch.Generator) -> Tensor:
    """A tensor of the same shape with entries +1 and -1 at even chances."""
    signs = torch.randint(0, 2, like.shape, generator=generator)
    return signs.mul_(2).sub_(1).to(like)


def curvature(gradient: Tensor | None, tensor: Tensor, direction: Tensor) -> float:
    """``v^T H v``, by differentiating the gradient along ``v``; its graph is kept for more.

    No gradient at all, of a tensor that the loss does not depend on, has no curvature.

    Raises:
        UnsupportedError: an operator on the way has no second derivative.
    """
    if gradient is None:
        return 0.0
    product = None
    if gradient.requires_grad:
        (product,) = torch.autograd.grad(
            gradient, tensor, direction, retain_graph=True, allow_unused=True
        )
    if product is None:
        # A cross entropy is never linear in what it depends on: the graph was cut on the way.
        cut = "its gradient is cut from the graph"
        raise _no_second_derivative(cut)
    return float(torch.dot(product.double().reshape(-1), direction.double().reshape(-1)))


def _no_second_derivative(why: str) -> UnsupportedError:
    msg = (
        f"the network uses an operator without second derivatives ({why}); use a metric that "
        "needs none, such as fisher, or replace the operator"
    )
    return UnsupportedError(msg)


@dataclass(slots=True)
class RunningMean:
    """Mean and standard error of numbers as they come (B. P. Welford, 1962).

    >>> seen = RunningMean()
    >>> for value in (1.0, 2.0, 6.0):
    ...     seen.add(value)
    >>> seen.mean, round(seen.standard_error, 6)
    (3.0, 1.527525)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Take one more number in."""
        self.count += 1
        change = value - self.mean
        self.mean += change / self.count
        self.squares += change * (value - self.mean)

    @property
    def standard_error(self) -> float:
        """Estimated standard deviation of the mean; infinite before the second number."""
        if self.count < 2:
            return math.inf
        return math.sqrt(self.squares / (self.count - 1) / self.count)

    def settled(self, tolerance: float) -> bool:
        """Whether the standard error is at most the given share of the mean's magnitude."""
        enough = self.count >= LEAST_PROBES
        return enough and self.standard_error <= tolerance * abs(self.mean)


@contextmanager
def _second_derivatives() -> Iterator[None]:
    """Use attention that has second derivatives, and name the operator that has none."""
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    except RuntimeError as error:
        text = str(error).partition("\n")[0]
        if "derivative" not in text and "not implemented" not in text:
            raise
        raise _no_second_derivative(text) from error


def _one_probe(
    probe: Probe, batches: Sequence[Batch], wanted: Sequence[Operand], seed: tuple[int, ...]
) -> dict[Block, float]:
    """One estimate of each operand's trace over all batches, with fresh signs in each."""
    count = samples(batches)
    sums = {operand.block: 0.0 for operand in wanted}
    for number, batch in enumerate(batches):
        entropy = np.random.SeedSequence([*seed, number]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(entropy))
        with _second_derivatives():
            for operand, tensor, gradient in operand_gradients(probe, batch, wanted, twice=True):
                value = curvature(gradient, tensor, rademacher(tensor, generator))
                sums[operand.block] += value * len(batch[1]) / count
    return sums


def estimate_traces(
    probe: Probe,
    batches: Sequence[Batch],
    operands: Sequence[Operand],
    *,
    tolerance: float,
    most_probes: int,
    seed: int,
    progress: Progress,
) -> Mapping[Block, RunningMean]:
    """Traces of the operands' blocks of the Hessian of the mean loss.

    Each block has signs of its own: probing all at once would be unbiased too, but the terms
    between a weak layer and strong ones, which vanish on average only, would drown the weak one.
    An activation's block is that of one sample, averaged over samples: in evaluation mode samples
    do not meet, so the Hessian of a mini-batch falls apart into theirs.

    Raises:
        UnsupportedError: the network has no second derivatives.
        TrainingError: the loss or a trace is not finite.
    """
    found = {operand.block: RunningMean() for operand in operands}
    wanted = list(operands)
    progress.start("Hessian probes", most_probes)
    for number in range(most_probes):
        if wanted:
            estimates = _one_probe(probe, batches, wanted, (seed, number))
            for operand in wanted:
                value = require_finite(estimates[operand.block], f"the Hessian trace by {operand}")
                found[operand.block].add(value)
            wanted = [o for o in wanted if not found[o.block].settled(tolerance)]
        progress.advance("Hessian probes", f"{len(wanted)} of {len(operands)} still open")
    return found
