"""Peak activation memory as linear rows, one per cut of the graph, for the allocator.

A maximum over cuts stays below a limit exactly when every cut does. Within a cut, a tensor read by
several layers takes the widest of their widths; that maximum stays below a limit exactly when each
choice of one reader does. Readers that are tied to one width count as one, so with the usual ties
there is one row a cut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Final

import numpy as np

from hwmpq.cost.base import IntArray, activation_bits, weight_bits
from hwmpq.cost.liveness import Cut, LiveTensor, Width, live_cuts
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.graph import Workload

MOST_ROWS_A_CUT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivationCuts:
    """Live activation tensors at each cut of the graph, as rows over the layers' bits.

    Attributes:
        layers: names of the layers whose bits matter.
        elements: ``[cuts, layers]``, values held at the bits of that layer's activations.
        constant_bits: ``[cuts]``, bits held whatever is chosen.
        labels: name of each cut.
        weight_path_elements: ``[cuts, layers]``, values held at the bits of that layer's weights:
            second operands of matmuls. None where there are none.
    """

    layers: tuple[str, ...]
    elements: IntArray
    constant_bits: IntArray
    labels: tuple[str, ...]
    weight_path_elements: IntArray | None = None

    def bits(self, precisions: Sequence[Precision]) -> IntArray:
        """Bits that each layer's choice adds to each cut, ``[cuts, layers, precisions]``."""
        held = self.elements[:, :, None] * activation_bits(precisions)
        if self.weight_path_elements is None:
            return held
        added: IntArray = held + self.weight_path_elements[:, :, None] * weight_bits(precisions)
        return added


Row = tuple[Mapping[Width, int], int]


def _terms(
    tensor: LiveTensor, same_width: Mapping[str, str], least: int, most: int
) -> tuple[Width | int, ...]:
    """The widths that may be a tensor's widest: one a tied group, or a constant."""
    if tensor.fixed_bits >= most or not tensor.widths:
        return (tensor.fixed_bits,)
    tied = dict.fromkeys(
        Width(same_width.get(width.layer, width.layer), width.path)
        if width.path == "activation"
        else width
        for width in tensor.widths
    )
    constant = (tensor.fixed_bits,) if tensor.fixed_bits > least else ()
    return (*tied, *constant)


def _rows(cut: Cut, terms: Sequence[Sequence[Width | int]]) -> list[Row]:
    if prod(len(choices) for choices in terms) > MOST_ROWS_A_CUT:
        msg = (
            f"at layer '{cut.layer}' tensors are read by so many layers of different widths that "
            f"the peak takes more than {MOST_ROWS_A_CUT} rows; tie the activation bits of layers "
            "that read the same tensor"
        )
        raise UnsupportedError(msg)
    rows: list[Row] = []
    for chosen in product(*terms):
        widths: dict[Width, int] = {}
        constant = 0
        for tensor, width in zip(cut.tensors, chosen, strict=True):
            if isinstance(width, Width):
                widths[width] = widths.get(width, 0) + tensor.elements
            else:
                constant += tensor.elements * width
        rows.append((widths, constant))
    return rows


def _undominated(matrix: IntArray) -> list[int]:
    """Rows that no other row reaches or exceeds in every column; of equal rows the first."""
    kept: list[int] = []
    for row in np.argsort(-matrix.sum(axis=1), kind="stable"):
        if not any(bool(np.all(matrix[other] >= matrix[row])) for other in kept):
            kept.append(int(row))
    return sorted(kept)


def activation_cuts(
    workload: Workload,
    precisions: Sequence[Precision],
    *,
    vector_bits: int,
    fused: Collection[str] = (),
    same_width: Mapping[str, str] | None = None,
) -> ActivationCuts:
    """The rows of a workload; those that another row implies are left out.

    Args:
        workload: the network.
        precisions: what layers may choose, to know which readers can be the widest.
        vector_bits: element width of the vector unit.
        fused: operators that the accelerator applies on the array's way out.
        same_width: for layers with tied activation bits, the layer that stands for them.

    Raises:
        UnsupportedError: too many untied readers of the same tensors, or no precision.
    """
    if not precisions:
        msg = "cuts need at least one precision"
        raise UnsupportedError(msg)
    every = [b for p in precisions for b in (p.weight_bits, p.activation_bits)]
    least, most = min(every), max(every)
    labels: list[str] = []
    rows: list[Row] = []
    for cut in live_cuts(workload, vector_bits=vector_bits, fused=fused):
        terms = [_terms(tensor, same_width or {}, least, most) for tensor in cut.tensors]
        found = _rows(cut, terms)
        rows.extend(found)
        labels.extend([cut.layer] * len(found))
    layers = tuple(layer.name for layer in workload.multiply_layers)
    column = {name: index for index, name in enumerate(layers)}
    matrix = np.zeros((len(rows), 2 * len(layers) + 1), dtype=np.int64)
    for index, (widths, constant) in enumerate(rows):
        for width, elements in widths.items():
            offset = 0 if width.path == "activation" else len(layers)
            matrix[index, offset + column[width.layer]] += elements
        matrix[index, -1] = constant
    matrix_kept = _undominated(matrix)
    matrix = matrix[matrix_kept]
    on_weights: IntArray = matrix[:, len(layers) : -1]
    return ActivationCuts(
        layers=layers,
        elements=matrix[:, : len(layers)],
        constant_bits=matrix[:, -1],
        labels=tuple(labels[index] for index in matrix_kept),
        weight_path_elements=on_weights if on_weights.any() else None,
    )
