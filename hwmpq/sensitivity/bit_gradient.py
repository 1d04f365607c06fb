"""Bit gradients: how strongly the loss pulls at the bits of a layer's codes (BMPQ).

The paper's code is not public; what is adopted here is written down in ``docs/models/bmpq.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from hwmpq.data.base import calibration_batches
from hwmpq.data.loss import cross_entropy
from hwmpq.precision import Precision
from hwmpq.quant.insert import QuantizedModel, insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.workload.graph import Workload

ScoreLaw: TypeAlias = Literal["missing_bits", "step"]
SizeWeight: TypeAlias = Literal["none", "elements"]
COMMON_BITS = 8
"""Width at which layers of different widths are compared."""


def bit_gradients(gradient: Tensor, step: Tensor, bits: int) -> Tensor:
    """Gradient at every bit of every two's-complement code, ``[elements, bits]``.

    ``dL/db_i = S 2^i g`` for the magnitude bits and ``-S 2^(q-1) g`` for the sign bit, ``g`` being
    the gradient at the quantised tensor.
    """
    weights = 2.0 ** torch.arange(bits, dtype=gradient.dtype, device=gradient.device)
    weights[-1] = -weights[-1]
    return step * gradient.reshape(-1, 1) * weights


def normalised_bit_gradient(gradient_norm: float, step: float, bits: int, elements: int) -> float:
    """Root mean square over all bit gradients, without forming them.

    ``NBG = ||G||_F / sqrt(P q)`` with ``||G||_F = S ||g||_2 sqrt((4^q - 1) / 3)``; the same for
    unsigned codes, where no bit is negative.

    >>> normalised_bit_gradient(1.0, 1.0, 2, 1) == sqrt(5 / 2)
    True
    """
    return step * gradient_norm * sqrt((4**bits - 1) / (3 * bits * elements))


@dataclass(slots=True)
class Scores:
    """Running means of normalised bit gradients since the last reset, by module name.

    Attributes:
        weights: sum over mini-batches, of weights.
        activations: sum over mini-batches, of activations.
        batches: mini-batches seen.
    """

    weights: dict[str, float] = field(default_factory=dict)
    activations: dict[str, float] = field(default_factory=dict)
    batches: int = 0

    def mean(self, kind: Literal["weights", "activations"], name: str) -> float:
        """Epoch-normalised bit gradient (ENBG) of a layer."""
        sums: Mapping[str, float] = getattr(self, kind)
        return sums.get(name, 0.0) / max(1, self.batches)


class BitGradientRecorder:
    """Watches the backward passes of a quantised network and keeps the scores.

    Activations are scored like weights, from the gradient of the mini-batch loss at the quantised
    activations, both operands of a product among them; as weights are counted once however often
    they are used, so is a feature however many samples the batch has. Bit gradients of activations
    are ours; the paper scores weights.

    Args:
        model: the network; its quantisers' observers are taken.
        own_width: score each layer at the width it has, as defined. The score then falls with the
            square root of the width, so a layer that was just widened looks less sensitive and
            loses its bits again in the next round. By default all are scored at one width.
    """

    def __init__(self, model: QuantizedModel, *, own_width: bool = False) -> None:
        self.model = model
        self.own_width = own_width
        self.scores = Scores()
        self._norms: dict[tuple[str, str], tuple[Tensor, int]] = {}
        for name, layer in model.layers.items():
            layer.weight.observer = self._observer("weights", name, stored=not layer.is_product)
            layer.activation.observer = self._observer("activations", name, stored=False)

    def _observer(self, kind: str, name: str, *, stored: bool) -> Callable[[Tensor], None]:
        def observe(gradient: Tensor) -> None:
            elements = gradient.numel() if stored else gradient[0].numel()
            self._norms[kind, name] = (gradient.norm(), elements)

        return observe

    def close_batch(self, *, keep: bool = True) -> None:
        """Add the backward pass just done to the scores; call it before weights are updated.

        A layer that the backward pass did not reach scores zero.
        """
        if not keep:
            self._norms.clear()
            return
        found: list[tuple[str, str, int, int]] = []
        measured: list[Tensor] = []
        for name, layer in self.model.layers.items():
            for kind, quantizer in (("weights", layer.weight), ("activations", layer.activation)):
                if (kind, name) not in self._norms:
                    continue
                norm, elements = self._norms.pop((kind, name))
                bits = quantizer.bits if self.own_width else COMMON_BITS
                # Steps of activations are parameters: the tensor handed over does not matter.
                step = quantizer.step_at(bits, layer.shadow.detach())
                found.append((kind, name, bits, elements))
                measured.append(torch.stack([norm.double(), step.detach().double().reshape(())]))
        # All numbers at once: each reading makes the host wait for the device.
        numbers = torch.stack(measured).tolist() if measured else []
        for (kind, name, bits, elements), (norm_value, step_value) in zip(
            found, numbers, strict=True
        ):
            score = normalised_bit_gradient(norm_value, step_value, bits, elements)
            sums = getattr(self.scores, kind)
            sums[name] = sums.get(name, 0.0) + score
        self.scores.batches += 1

    def reset(self) -> None:
        """Start a new interval."""
        self.scores = Scores()


def missing(bits: int, most: int, law: ScoreLaw) -> float:
    """What a layer lacks at a width, compared with the widest.

    ``missing_bits`` counts bits, as the paper's objective ``sum ENBG q`` does. ``step`` is the
    growth of the step over the tensor's range, ``1/(2^q - 1)``. With two candidate widths both
    give the same allocation, since either leaves one constant factor for all layers; with more,
    counting bits drives layers to the widest or the narrowest width, which trains worse.

    >>> missing(2, 8, "missing_bits")
    6.0
    """
    if law == "missing_bits":
        return float(most - bits)
    return 1 / ((1 << bits) - 1) - 1 / ((1 << most) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """How scores become sensitivities.

    Attributes:
        own_width: score each layer at the width it has instead of at a common one.
        law: how sensitivity grows as bits go missing.
        size_weight: ``elements`` multiplies by the number of weights or input elements, since the
            score is a mean over elements while costs are sums.
        activation_weight: factor of the activation scores; zero leaves activations unscored.
    """

    own_width: bool = False
    law: ScoreLaw = "step"
    size_weight: SizeWeight = "none"
    activation_weight: float = 1.0


def table_from_scores(
    scores: Scores,
    model: QuantizedModel,
    workload: Workload,
    precisions: Sequence[Precision],
    options: ScoreOptions,
) -> SensitivityTable:
    """Sensitivity ``score(weights) * missing(w) + score(activations) * missing(a)``.

    Minimising it is the paper's "maximise sum of ENBG times bits" with the activations added.
    """
    most_weight = max(precision.weight_bits for precision in precisions)
    most_activation = max(precision.activation_bits for precision in precisions)
    rows, names = [], []
    for module, layer in model.layers.items():
        for name in layer.names:
            shape = workload.layer(name)
            by_size = options.size_weight == "elements"
            weight = scores.mean("weights", module) * (shape.weight_elements if by_size else 1)
            activation = scores.mean("activations", module) * options.activation_weight
            activation *= shape.input_elements if by_size else 1
            rows.append(
                [
                    weight * missing(precision.weight_bits, most_weight, options.law)
                    + activation * missing(precision.activation_bits, most_activation, options.law)
                    for precision in precisions
                ]
            )
            names.append(name)
    return SensitivityTable(
        layers=tuple(names),
        precisions=tuple(precisions),
        values=np.array(rows, dtype=np.float64),
        metric="bit_gradient",
        meta={
            "own_width": str(options.own_width),
            "law": options.law,
            "size_weight": options.size_weight,
            "activation_weight": str(options.activation_weight),
            "batches": str(scores.batches),
        },
    )


_DEFAULTS = ScoreOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class BitGradient:
    """Bit gradients of a network as it is, on calibration batches.

    Attributes:
        options: how scores become sensitivities.
        batches: mini-batches at most.
        batch_size: samples of a mini-batch.
        seed: which samples are drawn.
    """

    options: ScoreOptions = _DEFAULTS
    batches: int = 16
    batch_size: int = 64
    seed: int = 0

    def measure(
        self, model: nn.Module, workload: Workload, data: Any, precisions: Sequence[Precision]
    ) -> SensitivityTable:
        """Score a copy of the network at the widest of the given precisions; it is not trained.

        Raises:
            UnsupportedError: a layer takes no quantiser.
        """
        widest = Precision(
            max(precision.weight_bits for precision in precisions),
            max(precision.activation_bits for precision in precisions),
        )
        start = {layer.name: widest for layer in workload.multiply_layers}
        network = deepcopy(model).eval().requires_grad_()
        quantised = insert_quantizers(network, workload, start, symmetric_and_clip())
        recorder = BitGradientRecorder(quantised, own_width=self.options.own_width)
        for inputs, labels in calibration_batches(
            data, batches=self.batches, batch_size=self.batch_size, seed=self.seed
        ):
            quantised.module.zero_grad()
            loss = cross_entropy(quantised.module(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            recorder.close_batch()
        return table_from_scores(recorder.scores, quantised, workload, precisions, self.options)


METRIC = BitGradient()
