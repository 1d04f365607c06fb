"""LSQ: a learned step size, one for each width the quantiser can have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any, cast

import torch
from torch import Tensor, nn

from hwmpq.errors import UnsupportedError
from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.grid import Codes, signed_codes, unsigned_codes

SMALLEST_STEP = 1e-5
"""A learned step may not come closer to zero; a negative one would mirror the tensor."""


class _LearnedStep(torch.autograd.Function):
    """Grid values forward; backward by LSQ's equations 2, 3 and 5."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, step: Tensor, codes: Codes, step_gradient_scale: float
    ) -> Tensor:
        scaled = torch.div(values, step)
        ctx.save_for_backward(scaled)
        ctx.codes, ctx.step_gradient_scale = codes, step_gradient_scale
        return scaled.clamp(codes.low, codes.high).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        gradient = gradients[0]
        (scaled,) = ctx.saved_tensors
        low, high = ctx.codes.low, ctx.codes.high
        # One kernel for "the gradient inside the range, zero at its ends and outside".
        passed = torch.ops.aten.hardtanh_backward(gradient, scaled, low, high)
        # round(v/s) - v/s inside and the end code outside are both round(clip(v/s)) less v/s
        # inside, so the step's gradient needs no tensor of slopes.
        rounded = scaled.clamp(low, high).round_()
        step_gradient = torch.dot(rounded.reshape(-1), gradient.reshape(-1)) - torch.dot(
            scaled.reshape(-1), passed.reshape(-1)
        )
        return passed, step_gradient * ctx.step_gradient_scale, None, None


def learned_step(values: Tensor, step: Tensor, codes: Codes, step_gradient_scale: float) -> Tensor:
    """Quantise with a scalar step that learns.

    ``dq/dv`` is 1 inside the range and 0 outside; ``dq/ds`` is ``round(v/s) - v/s`` inside and the
    end code outside, times the gradient scale.

    References:
        S. K. Esser et al., "Learned Step Size Quantization", ICLR 2020, eq. 1 to 3 and 5.
    """
    return cast("Tensor", _LearnedStep.apply(values, step, codes, step_gradient_scale))  # type: ignore[no-untyped-call]


def step_gradient_scale(elements: int, codes: Codes) -> float:
    """``1 / sqrt(N * Qp)``, with N weights, or features of one sample for activations.

    >>> step_gradient_scale(100, Codes(-8, 7)) == 1 / sqrt(700)
    True
    """
    return 1 / sqrt(elements * codes.high)


def initial_step(values: Tensor, codes: Codes) -> Tensor:
    """``2 mean|v| / sqrt(Qp)``, section 2.1 of the paper."""
    return (values.abs().mean() * (2 / sqrt(codes.high))).clamp_(min=SMALLEST_STEP)


def three_sigma_step(values: Tensor, codes: Codes) -> Tensor:
    """``max(|mean - 3 sd|, |mean + 3 sd|) / -Qn``, where LIMPQ's code starts weights."""
    mean, deviation = values.mean(), values.std()
    reach = torch.maximum((mean - 3 * deviation).abs(), (mean + 3 * deviation).abs())
    return (reach / -codes.low).clamp_(min=SMALLEST_STEP)


class LsqQuantizer(FakeQuantizer):
    """A learned step for each width; a width's step starts from the first tensor it sees.

    Args:
        widths: widths the quantiser can have.
        bits: width to start with.
        signed: whether the tensor may be negative.
        per_sample: whether the first dimension is a batch, which the gradient scale leaves out.
        start: where a step starts.
    """

    def __init__(
        self,
        widths: Iterable[int],
        bits: int,
        *,
        signed: bool,
        per_sample: bool = False,
        start: Callable[[Tensor, Codes], Tensor] = initial_step,
    ) -> None:
        self.widths = tuple(sorted(set(widths) | {bits}))
        super().__init__(bits, signed=signed)
        self.per_sample = per_sample
        self.start = start
        self._begun: set[int] = set()
        # Zero stands for a step that has not been started.
        self.steps = nn.ParameterDict(
            {str(width): nn.Parameter(torch.zeros(())) for width in self.widths}
        )

    def codes_at(self, bits: int) -> Codes:
        """Two's complement, or unsigned codes.

        Raises:
            UnsupportedError: no step is held for the width.
        """
        if bits not in self.widths:
            msg = f"this LSQ quantiser holds steps for {list(self.widths)} bits, but got {bits}"
            raise UnsupportedError(msg)
        return self._codes(bits)

    def _codes(self, bits: int) -> Codes:
        return signed_codes(bits) if self.signed else unsigned_codes(bits)

    def learned(self, bits: int) -> nn.Parameter:
        """The learned step of a width; zero if it has not been started."""
        return cast("nn.Parameter", self.steps[str(bits)])

    def _started(self, values: Tensor) -> nn.Parameter:
        step = self.learned(self.bits)
        with torch.no_grad():
            # Asked once a width: reading a number would make every pass wait for the device.
            if self.bits not in self._begun:
                if float(step) == 0:
                    step.copy_(self.start(values, self.codes_at(self.bits)))
                self._begun.add(self.bits)
            # The optimiser may have carried the step to zero or below.
            step.clamp_(min=SMALLEST_STEP)
        return step

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """The learned step; at another width than that in force, the one of the same range."""
        step = self._started(values).detach()
        return step * (self._codes(self.bits).high / self._codes(bits).high)

    def quantize(self, values: Tensor) -> Tensor:
        """Quantise; gradients go to the tensor and to the width's step."""
        step = self._started(values)
        codes = self.codes_at(self.bits)
        elements = values[0].numel() if self.per_sample else values.numel()
        return learned_step(values, step, codes, step_gradient_scale(elements, codes))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *arguments: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._begun.clear()
