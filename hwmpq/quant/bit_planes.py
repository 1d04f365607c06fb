"""BSQ's bit planes: a weight as trainable planes of positive and negative magnitude bits.

``W = s / (2^n - 1) * sum_b (p_b - q_b) 2^b``. The authors count n planes as n bits. Their codes go
from ``-(2^n - 1)`` to ``2^n - 1``, which a machine stores in n + 1 bits, so here a width of b bits
has b - 1 planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from hwmpq.precision import Assignment
from hwmpq.quant.base import FakeQuantizer
from hwmpq.quant.grid import TINY_STEP, Codes, symmetric_codes, to_codes
from hwmpq.quant.insert import QuantizedModel
from hwmpq.quant.lsq import LsqQuantizer

LARGEST_PLANE_VALUE = 2.0
"""Plane values are kept between zero and this; above one they carry into the next plane."""
_INSIDE_ROOT = 1e-8


def largest_code(planes: int) -> int:
    """Largest magnitude of so many planes.

    >>> largest_code(8)
    255
    """
    return (1 << planes) - 1


def plane_sums(positive: Tensor, negative: Tensor, planes: int) -> Tensor:
    """``sum_b (p_b - q_b) 2^b`` over the lowest planes, unrounded."""
    weights = torch.arange(planes, dtype=positive.dtype, device=positive.device).exp2()
    sums: Tensor = torch.tensordot(weights, positive[:planes] - negative[:planes], dims=1)
    return sums


def split(integers: Tensor, planes: int) -> tuple[Tensor, Tensor]:
    """Exact binary planes of whole numbers, ``[planes, *shape]`` for each sign."""
    bits = torch.arange(planes, device=integers.device).reshape(-1, *(1,) * integers.ndim)
    whole = integers.to(torch.int64)
    magnitudes = (whole.abs() >> bits) & 1
    return (magnitudes * (whole > 0)).to(integers.dtype), (magnitudes * (whole < 0)).to(
        integers.dtype
    )


@dataclass(frozen=True, slots=True)
class Requantised:
    """A layer after its precision was adjusted: ``W = scale * integers / (2^planes - 1)``."""

    integers: Tensor
    planes: int
    scale: Tensor


def requantise(
    sums: Tensor, scale: Tensor, planes: int, *, most: int, grow: bool = False
) -> Requantised:
    """Round to whole codes, then drop planes that hold only zeros, from either end.

    The largest planes go first and leave the step as it is; each smallest plane that goes doubles
    the step. One plane stays even if it holds nothing.

    Sums beyond the largest code, which planes above one make, are clipped as the forward pass
    clips them, so weights never change here. With ``grow`` a layer gets another plane instead, as
    in the authors' code: its weights then jump to where the unclipped sums were.

    Args:
        sums: unrounded sums of the planes.
        scale: value of the largest code.
        planes: planes in force.
        most: planes at most.
        grow: whether an overflow adds a plane.
    """
    integers = sums.round()
    if grow and planes < most and bool(integers.abs().max() > largest_code(planes)):
        planes += 1
        scale = scale * (largest_code(planes) / largest_code(planes - 1))
    high = largest_code(planes)
    integers = integers.clamp(-high, high)
    step = scale / high
    while planes > 1 and not bool((integers.abs() >= 2 ** (planes - 1)).any()):
        planes -= 1
    while planes > 1 and not bool((integers % 2 != 0).any()):
        integers = torch.div(integers, 2).round()
        step = step * 2
        planes -= 1
    return Requantised(integers, planes, step * largest_code(planes))


class _ScaledPlanes(torch.autograd.Function):
    """Clip and round forward, identity through both backward, as in the authors' code."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, scale: Tensor, high: int) -> Tensor:
        codes = to_codes(sums, torch.ones_like(scale), Codes(-high, high))
        step = scale / high
        ctx.save_for_backward(codes, step)
        ctx.high = high
        return codes * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient = gradients[0]
        codes, step = ctx.saved_tensors
        return gradient * step, (gradient * codes).sum() / ctx.high, None


def scaled_planes(sums: Tensor, scale: Tensor, planes: int) -> Tensor:
    """Weights of plane sums: ``s * round(clip(sums)) / (2^n - 1)``.

    ``dL/dp_b = 2^b s / (2^n - 1) g``, ``dL/dq_b`` is its opposite, and ``dL/ds = sum r g`` with
    ``r`` the codes over the largest.

    References:
        H. Yang et al., "BSQ: Exploring Bit-Level Sparsity for Mixed-Precision Neural Network
        Quantization", ICLR 2021, arXiv:2102.10462, eq. 1 and 3; the authors' code, which clips
        without masking the gradient.
    """
    high = largest_code(planes)
    return cast("Tensor", _ScaledPlanes.apply(sums, scale, high))  # type: ignore[no-untyped-call]


def group_lasso(positive: Tensor, negative: Tensor, planes: int) -> Tensor:
    """``sum_b sqrt(||p_b||^2 + ||q_b||^2 + 1e-8)``: pulls whole planes to zero.

    References:
        H. Yang et al., ICLR 2021, arXiv:2102.10462, eq. 4.
    """
    squares = positive[:planes].square() + negative[:planes].square()
    return (squares.flatten(1).sum(dim=1) + _INSIDE_ROOT).sqrt().sum()


class BitPlanes(FakeQuantizer):
    """A weight that lives in its planes; the float weight behind is not used.

    Planes that were dropped stay as rows of zeros, so shapes never change and a saved state fits.

    Args:
        weight: float weight to start from.
        bits: width to start with, the sign included; also the widest.
    """

    decays = True

    needs_stored = True

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__(bits, signed=True)
        self.most = bits - 1
        shape = (self.most, *weight.shape)
        self.positive = nn.Parameter(weight.new_zeros(shape))
        self.negative = nn.Parameter(weight.new_zeros(shape))
        self.scale = nn.Parameter(weight.new_zeros(()))
        self.register_buffer("width", torch.tensor(bits))
        self._fill(weight.detach(), bits)

    @property
    def planes(self) -> int:
        """Planes in force."""
        return self.bits - 1

    def codes_at(self, bits: int) -> Codes:
        """Symmetric codes."""
        return symmetric_codes(bits)

    def set_bits(self, bits: int) -> None:
        """Split the weights anew at a width; their largest magnitude stays."""
        anew = hasattr(self, "positive") and bits != self.bits
        weight = self.quantize(self.positive[0]).detach() if anew else None
        super().set_bits(bits)
        if weight is not None:
            self._fill(weight, bits)

    @torch.no_grad()
    def _fill(self, weight: Tensor, bits: int) -> None:
        scale = weight.abs().amax().clamp(min=TINY_STEP)
        high = largest_code(bits - 1)
        self._store(Requantised((weight / scale * high).round(), bits - 1, scale))

    @torch.no_grad()
    def _store(self, found: Requantised) -> None:
        positive, negative = split(found.integers, found.planes)
        for planes, kept in ((self.positive, positive), (self.negative, negative)):
            planes.zero_()
            planes[: found.planes] = kept
        self.scale.copy_(found.scale)
        self.bits = found.planes + 1
        cast("Tensor", self.width).fill_(self.bits)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *arguments: object
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self.bits = int(cast("Tensor", self.width))

    @torch.no_grad()
    def adjust(self, *, grow: bool = False) -> None:
        """Make planes binary again and drop those that hold only zeros."""
        sums = plane_sums(self.positive, self.negative, self.planes)
        self._store(requantise(sums, self.scale, self.planes, most=self.most, grow=grow))

    @torch.no_grad()
    def project(self) -> None:
        """Keep plane values between 0 and 2, and the scale above zero."""
        for planes in (self.positive, self.negative):
            planes.clamp_(0, LARGEST_PLANE_VALUE)
        self.scale.clamp_(min=TINY_STEP)

    def lasso(self) -> Tensor:
        """Group lasso of the planes in force."""
        return group_lasso(self.positive, self.negative, self.planes)

    def quantize(self, values: Tensor) -> Tensor:
        """The weight that the planes stand for; the float weight is ignored."""
        del values
        sums = plane_sums(self.positive, self.negative, self.planes)
        return scaled_planes(sums, self.scale, self.planes)

    def step_at(self, bits: int, values: Tensor) -> Tensor:
        """Scale over the largest code."""
        del values
        return self.scale.detach() / self.codes_at(bits).high

    def codes(self, values: Tensor) -> Tensor:
        """Integer codes of the planes."""
        del values
        high = largest_code(self.planes)
        with torch.no_grad():
            sums = plane_sums(self.positive, self.negative, self.planes)
            return sums.round().clamp(-high, high).to(torch.int64)


@torch.no_grad()
def collapse(quantised: QuantizedModel, assignment: Assignment) -> QuantizedModel:
    """Turn planes into float weights with a learned step each, at given bits, in place.

    Where the bits hold all planes the weights stay as they are; bits to spare refine the step. A
    layer that is trimmed starts from LSQ's own first step, since a step that spans the old range
    would round most of a two-bit layer to zero.
    """
    layers = {}
    for name, layer in quantised.layers.items():
        planes, precision = layer.weight, assignment[layer.names[0]]
        bits = precision.weight_bits
        layer.activation.set_bits(precision.activation_bits)
        if not isinstance(planes, BitPlanes):
            planes.set_bits(bits)
            layers[name] = layer
            continue
        weight = planes.quantize(layer.shadow)
        step = planes.step_at(planes.bits, weight)
        layer.shadow.copy_(weight)
        learned = LsqQuantizer((bits,), bits, signed=True).to(weight.device)
        if bits >= planes.bits:
            learned.learned(bits).copy_(step / 2 ** (bits - planes.bits))
        layers[name] = layer.replaced(learned, layer.activation)
    return QuantizedModel(quantised.module, layers)
