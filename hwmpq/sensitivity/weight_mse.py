"""Mean squared error of quantised weights; needs no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.quant.grid import TINY_STEP, activation_codes
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.noise import Granularity, weight_error
from hwmpq.sensitivity.probe import Parts, additive_table, probing
from hwmpq.sensitivity.taps import Operand, widths_of
from hwmpq.workload.graph import Workload


def uniform_noise(bits: int, *, signed: bool) -> float:
    """Noise over signal of a uniformly distributed tensor that fills its grid.

    The step over the range is ``1/n`` with ``n`` the last code, so the noise is ``1/(12 n^2)`` and
    the mean square ``1/3``.

    >>> uniform_noise(2, signed=False) == 1 / (4 * 3**2)
    True
    """
    return 1 / (4 * activation_codes(bits, signed=signed).high ** 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightMse:
    """Sensitivity ``mean (Q_b(w) - w)^2``, over ``mean w^2`` unless said otherwise.

    Nothing is known about activations without data: all of the same sign, both operands of a
    product among them, get the value of a uniformly distributed one, which is ours.

    Attributes:
        relative: divide by the mean square of the weights. Without it the error depends on the
            weights' scale, which a batch norm undoes, activations are left out, and products of
            activations are refused.
        granularity: what shares a step of the weights' quantiser.
        activation_weight: factor of the activations' part.
    """

    relative: bool = True
    granularity: Granularity = "tensor"
    activation_weight: float = 1.0

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Quantise each weight at each width; the data are not looked at.

        Raises:
            UnsupportedError: a layer takes no quantiser, or a product has no relative error.
            TrainingError: a weight is not finite.
        """
        del data
        widths = widths_of(precisions)
        parts: Parts = {}
        activation_weight = self.activation_weight if self.relative else 0.0
        with probing(model, workload, seed=0) as probe:
            for operand in probe.operands(activation_weight):
                for bits in widths[operand.kind]:
                    parts[operand.block, bits] = self._error(operand, bits)
            return additive_table(
                probe.layers,
                parts,
                precisions,
                metric="weight_mse",
                meta={"relative": self.relative, "granularity": self.granularity},
                activation_weight=activation_weight,
            )

    def _error(self, operand: Operand, bits: int) -> float:
        if operand.stored is not None:
            weight = operand.stored.detach()
            power = float(weight.double().square().sum())
            divisor = max(power, TINY_STEP) if self.relative else weight.numel()
            return weight_error(operand, weight, bits, self.granularity) / divisor
        if not self.relative:
            msg = (
                f"'{operand.layer}' multiplies two activations, whose squared error nobody knows "
                "without data; use the relative error, or exempt the product"
            )
            raise UnsupportedError(msg)
        return uniform_noise(bits, signed=operand.signed)


METRIC = WeightMse()
