"""PACT: activations clipped at a learned level, then quantised uniformly."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.grid import Codes, activation_codes, to_codes

SMALLEST_CLIP = 1e-3
"""The clipping level may not reach zero, where it would receive no gradient that raises it."""


class _LearnedClip(torch.autograd.Function):
    """Grid values forward; the gradient goes to the input inside the clip, to the clip outside."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, clip: Tensor, codes: Codes) -> Tensor:
        step = clip / codes.high
        # A copy, since the level is clamped in place wherever it is used again.
        ctx.save_for_backward(values, clip.clone())
        ctx.bottom = codes.low / codes.high
        # The arithmetic of a quantiser at rest, so that ties fall alike.
        return to_codes(values, step, codes).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient = gradients[0]
        values, clip = ctx.saved_tensors
        # Over the clip, not the step: what lies exactly at the clip is exactly one.
        scaled = torch.div(values, clip)
        passed = torch.ops.aten.hardtanh_backward(gradient, scaled, ctx.bottom, 1.0)
        # What did not pass stands at an end: at one above, at the bottom below.
        stopped = (gradient - passed).reshape(-1)
        ends = scaled.clamp(ctx.bottom, 1.0).reshape(-1)
        return passed, torch.dot(stopped, ends), None


def learned_clip(values: Tensor, clip: Tensor, codes: Codes) -> Tensor:
    """Clip at a learned level and quantise with the step ``clip / high``.

    ``dy/dx`` is 1 inside the clip and 0 at its ends and outside; ``dy/dclip`` is 1 where
    ``x >= clip``, and for signed codes -1 where ``x <= -clip``.

    References:
        J. Choi et al., "PACT", arXiv:1805.06085, eq. 1 to 3; the signed form is ours.
    """
    return cast("Tensor", _LearnedClip.apply(values, clip, codes))  # type: ignore[no-untyped-call]


class PactQuantizer(FakeQuantizer):
    """A learned clipping level shared by all widths; starts at the largest magnitude first seen.

    The paper starts at a constant of 10 and relies on weight decay to lower it; weight decay
    applies here too.

    Args:
        bits: width to start with.
        signed: whether the tensor may be negative.
    """

    decays = True

    def __init__(self, bits: int, *, signed: bool) -> None:
        super().__init__(bits, signed=signed)
        # Zero stands for a level that has not been started.
        self.clip = nn.Parameter(torch.zeros(()))
        self._begun = False

    def codes_at(self, bits: int) -> Codes:
        """Unsigned codes, or symmetric ones for a signed tensor."""
        return activation_codes(bits, signed=self.signed)

    def _started(self, values: Tensor) -> nn.Parameter:
        with torch.no_grad():
            # Asked once: reading a number would make every pass wait for the device.
            if not self._begun:
                if float(self.clip) == 0:
                    self.clip.copy_(values.abs().amax())
                self._begun = True
            self.clip.clamp_(min=SMALLEST_CLIP)
        return self.clip

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """Clipping level over the last code."""
        return self._started(values).detach() / self.codes_at(bits).high

    def quantize(self, values: Tensor) -> Tensor:
        """Clip and quantise; gradients go to the tensor and to the clipping level."""
        return learned_clip(values, self._started(values), self.codes_at(self.bits))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *arguments: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._begun = False
