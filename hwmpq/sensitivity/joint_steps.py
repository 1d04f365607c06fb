"""One learned step per layer and width, trained jointly in one network (LIMPQ).

References:
    C. Tang et al., "Mixed-Precision Neural Network Quantization via Learned Layer-wise
    Importance", ECCV 2022, arXiv:2203.08368.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from hwmpq.data.base import Batch
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.grid import TINY_STEP
from hwmpq.quant.insert import QuantizedLayer, QuantizedModel, insert_quantizers
from hwmpq.quant.lsq import LsqQuantizer, three_sigma_step
from hwmpq.quant.pairs import learned_steps
from hwmpq.quant.switchable_norm import switch_norms
from hwmpq.sensitivity.base import FloatArray, SensitivityTable
from hwmpq.workload.graph import Workload

LARGEST_GRADIENT: Final = 1.0
"""Gradients are clipped to this value, one by one, as LIMPQ's code does."""
OUTLIER_FACTOR: Final = 100.0
"""A step below that of the next wider width becomes this many times the largest one."""


Indicator: TypeAlias = Literal["step", "relative", "gradient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How steps become sensitivities.

    Attributes:
        alpha: factor of the part of stored weights.
        indicator: ``step`` is the paper's. It changes when a branch is rescaled in a way that
            leaves the function alone. ``relative`` divides it by the root mean square that the
            tensor had before the steps were trained, which cures that; what it has afterwards
            has grown with the step and would hide what was learned.
            ``gradient`` multiplies it by the gradient at the quantised tensor, root mean square
            over elements and mean over training: what one step costs, to first order.
    """

    alpha: float = 2.0
    indicator: Indicator = "gradient"


class JointSteps:
    """A network with steps for all widths, trained by several passes a step.

    Args:
        model: the float network; it gets quantisers and switchable norms in place.
        workload: its graph.
        candidates: precisions; pinned layers stay in float during this training.
        fixed: pinned layers.
        seed: of the random widths.
    """

    def __init__(
        self,
        model: nn.Module,
        workload: Workload,
        candidates: Sequence[Precision],
        fixed: Assignment,
        seed: int,
    ) -> None:
        self.workload = workload
        self.weight_bits = sorted({p.weight_bits for p in candidates}, reverse=True)
        self.activation_bits = sorted({p.activation_bits for p in candidates}, reverse=True)
        widest = Precision(self.weight_bits[0], self.activation_bits[0])
        start = {layer.name: widest for layer in workload.multiply_layers}
        self.norms = switch_norms(model, range(self.levels))
        factory = learned_steps(candidates, start=three_sigma_step)
        self.model: QuantizedModel = insert_quantizers(model, workload, start, factory)
        self.searched: dict[str, QuantizedLayer] = {}
        for name, layer in self.model.layers.items():
            pinned = layer.names[0] in fixed
            layer.weight.enabled = layer.activation.enabled = not pinned
            if not pinned:
                self.searched[name] = layer
        self.seed = seed
        self.epoch = 0
        self.random = random.Random(seed)
        self._pulls: dict[tuple[str, str], Tensor | float] = {}
        self._passes = 0
        self.first_scales: Mapping[tuple[str, str], float] = {}
        for name, layer in self.searched.items():
            layer.weight.observer = self._observer(name, "weights", stored=not layer.is_product)
            layer.activation.observer = self._observer(name, "activations", stored=False)

    def _observer(self, name: str, kind: str, *, stored: bool) -> Callable[[Tensor], None]:
        def observe(gradient: Tensor) -> None:
            elements = gradient.numel() if stored else gradient[0].numel()
            # Summed where it is: reading a number would make every pass wait for the device.
            pull = gradient.norm().double() / sqrt(elements)
            self._pulls[name, kind] = self._pulls.get((name, kind), 0.0) + pull

        return observe

    def begin_epoch(self) -> None:
        """Draw the epoch's random widths from the seed and its number."""
        self.random = random.Random(self.seed * 1_000_003 + self.epoch)
        self.epoch += 1

    def state(self) -> dict[str, Tensor]:
        """What has been summed up, to go on from."""
        keys = self.pulls()
        return {
            "pulls": torch.tensor(
                [float(self._pulls.get(key, 0.0)) for key in keys], dtype=torch.float64
            ),
            "counts": torch.tensor([self._passes, self.epoch]),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self._pulls = dict(zip(self.pulls(), state["pulls"].tolist(), strict=True))
        self._passes, self.epoch = (int(count) for count in state["counts"])

    def pulls(self) -> dict[tuple[str, str], float]:
        """Gradients at the quantised tensors: root mean square, mean over passes."""
        passes = max(1, self._passes)
        keys = [(name, kind) for name in self.searched for kind in ("weights", "activations")]
        return {key: float(self._pulls.get(key, 0.0)) / passes for key in keys}

    @property
    def levels(self) -> int:
        """Widths that are visited, from the widest to the narrowest."""
        return max(len(self.weight_bits), len(self.activation_bits))

    def set_level(self, level: int) -> None:
        """Give all layers the widths of a level, and norms their copy of it."""
        for layer in self.searched.values():
            self._set(layer, level)
        for norm in self.norms:
            norm.select(level)

    def _set(self, layer: QuantizedLayer, level: int) -> None:
        layer.weight.set_bits(self.weight_bits[min(level, len(self.weight_bits) - 1)])
        layer.activation.set_bits(self.activation_bits[min(level, len(self.activation_bits) - 1)])

    def passes(self) -> Iterator[None]:
        """Each level once, then independent random widths, norms following the last one drawn."""
        self._passes += self.levels + 1
        for level in range(self.levels):
            self.set_level(level)
            yield
        level = 0
        for layer in self.searched.values():
            level = self.random.randrange(self.levels)
            self._set(layer, level)
        for norm in self.norms:
            norm.select(level)
        yield

    def clip_gradients(self) -> None:
        """Clip every gradient; one that is exactly zero leaves its parameter alone."""
        given = [(p, p.grad) for p in self.model.module.parameters() if p.grad is not None]
        for _, gradient in given:
            gradient.clamp_(-LARGEST_GRADIENT, LARGEST_GRADIENT)
        reached = torch.stack([gradient.any() for _, gradient in given]).tolist()
        for (parameter, _), moves in zip(given, reached, strict=True):
            if not moves:
                parameter.grad = None

    def start_steps(self, batch: Batch) -> None:
        """Let every step start from a batch, without learning anything."""
        self.model.module.eval()
        with torch.no_grad():
            for level in range(self.levels):
                self.set_level(level)
                self.model.module(batch[0])
        self.first_scales = self.scales(batch)

    def steps(self) -> dict[tuple[str, str, int], float]:
        """Steps by layer, ``weights`` or ``activations``, and width."""
        found = {}
        for name, layer in self.searched.items():
            for kind, quantizer, widths in (
                ("weights", layer.weight, self.weight_bits),
                ("activations", layer.activation, self.activation_bits),
            ):
                for bits in widths:
                    step = cast("LsqQuantizer", quantizer).learned(bits)
                    found[name, kind, bits] = abs(step.item())
        return found

    def scales(self, batch: Batch) -> dict[tuple[str, str], float]:
        """Root mean square of weights and of activations on a batch at the widest level."""
        found: dict[tuple[str, str], float] = {}
        handles = []
        for name, layer in self.searched.items():
            for kind, quantizer in (("weights", layer.weight), ("activations", layer.activation)):

                def keep(
                    _module: nn.Module, given: tuple[Any, ...], key: tuple[str, str] = (name, kind)
                ) -> None:
                    found[key] = _rms(given[0].detach())

                # Its quantiser sees an operand wherever it is multiplied.
                handles.append(quantizer.register_forward_pre_hook(keep))
        self.set_level(0)
        self.model.module.eval()
        with torch.no_grad():
            self.model.module(batch[0])
        for handle in handles:
            handle.remove()
        return found


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def without_outliers(steps: Sequence[float]) -> list[float]:
    """Steps from the narrowest to the widest width, those below their right neighbour raised.

    LIMPQ replaces such entries by 1e8, which keeps them from being chosen but would drown all
    others in a solver's number range; here they get a hundred times the largest step.

    >>> without_outliers([3.0, 1.0, 2.0])
    [3.0, 300.0, 2.0]
    """
    largest = max(steps)
    repaired = list(steps)
    for index in range(len(steps) - 1):
        if steps[index] < steps[index + 1]:
            repaired[index] = OUTLIER_FACTOR * largest
    return repaired


def table_from_steps(
    joint: JointSteps,
    precisions: Sequence[Precision],
    options: StepOptions,
) -> SensitivityTable:
    """Sensitivity ``s_a + alpha s_w``, outliers raised; pinned layers are left out.

    Args:
        joint: the trained steps.
        precisions: the columns.
        options: which indicator.
    """
    steps, factors = joint.steps(), _factors(joint, options.indicator)
    names: list[str] = []
    rows: list[list[float]] = []
    for name, layer in joint.searched.items():
        scores: dict[tuple[str, int], float] = {}
        for kind, widths in (
            ("weights", joint.weight_bits),
            ("activations", joint.activation_bits),
        ):
            rising = sorted(widths)
            values = without_outliers(
                [steps[name, kind, bits] * factors[name, kind] for bits in rising]
            )
            scores |= {(kind, bits): value for bits, value in zip(rising, values, strict=True)}
        # Both operands of a product are activations.
        alpha = 1.0 if layer.is_product else options.alpha
        row = [
            scores["activations", p.activation_bits] + alpha * scores["weights", p.weight_bits]
            for p in precisions
        ]
        names += layer.names
        rows += [row for _ in layer.names]
    values_array: FloatArray = np.array(rows, dtype=np.float64)
    return SensitivityTable(
        layers=tuple(names),
        precisions=tuple(precisions),
        values=values_array,
        metric="step_size",
        meta={"alpha": str(options.alpha), "indicator": options.indicator},
    )


def _factors(joint: JointSteps, indicator: Indicator) -> Mapping[tuple[str, str], float]:
    if indicator == "gradient":
        return joint.pulls()
    if indicator == "relative":
        return {key: 1 / max(scale, TINY_STEP) for key, scale in joint.first_scales.items()}
    return dict.fromkeys(joint.pulls(), 1.0)
