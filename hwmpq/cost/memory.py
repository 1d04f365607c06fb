"""Memory of weights, working sets and on-chip residency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwmpq.accelerator.spec import Accelerator, Operand
from hwmpq.cost.liveness import live_cuts, peak_cut
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Assignment, Precision
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import MatMul, MultiplyLayer, VectorOp


def weight_storage_bits(workload: Workload, assignment: Assignment, *, parameter_bits: int) -> int:
    """Stored weights of the multiplying layers, and parameters of the vector operators.

    Args:
        workload: the network.
        assignment: bits of the multiplying layers.
        parameter_bits: width of everything else: tables, scales and shifts.

    Raises:
        UnsupportedError: a layer has no entry.
    """
    total = 0
    for layer in workload.multiply_layers:
        if layer.name not in assignment:
            msg = f"the policy has no entry for layer '{layer.name}' of '{workload.name}'"
            raise UnsupportedError(msg)
        total += layer.weight_elements * assignment[layer.name].weight_bits
    vectors = (layer for layer in workload.layers if isinstance(layer, VectorOp))
    return total + sum(layer.weight_elements for layer in vectors) * parameter_bits


def operand_elements(layer: MultiplyLayer) -> dict[Operand, int]:
    """Elements of a layer's operands; a matmul's second operand counts as its weights."""
    weights, inputs = layer.weight_elements, layer.input_elements
    if isinstance(layer, MatMul):
        weights = layer.batch * layer.k * layer.n
        inputs -= weights
    return {"weight": weights, "input": inputs, "output": layer.output_elements}


def working_set_bits(
    layer: MultiplyLayer, precision: Precision, *, output_bits: int
) -> dict[Operand, int]:
    """Bits of a layer's operands, each held once and whole.

    A matmul's second operand counts as its weights.

    >>> from hwmpq.workload.layer import Linear
    >>> layer = Linear(name="fc", in_features=10, out_features=4)
    >>> working_set_bits(layer, Precision(2, 4), output_bits=8)
    {'weight': 80, 'input': 40, 'output': 32}
    """
    elements = operand_elements(layer)
    return {
        "weight": elements["weight"] * precision.weight_bits,
        "input": elements["input"] * precision.activation_bits,
        "output": elements["output"] * output_bits,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """How much of a layer fits into one on-chip memory.

    Attributes:
        memory: name.
        wanted_bits: operands of the layer that belong there.
        size_bits: capacity.
    """

    memory: str
    wanted_bits: int
    size_bits: int

    @property
    def fits(self) -> bool:
        """Whether the operands stay on chip for the whole layer."""
        return self.wanted_bits <= self.size_bits

    @property
    def share(self) -> float:
        """Part of the operands that is on chip at once, 0 to 1."""
        return min(1.0, self.size_bits / self.wanted_bits) if self.wanted_bits else 1.0


def residency(
    layer: MultiplyLayer,
    precision: Precision,
    accelerator: Accelerator,
    *,
    output_bits: int | None = None,
) -> tuple[Residency, ...]:
    """What of a layer's operands fits on chip, by memory.

    Several memories that hold one operand are levels: each is held against all of it. Double
    buffering and tiling are the cost models' affair.

    Args:
        layer: the layer.
        precision: its bits.
        accelerator: the machine.
        output_bits: width of its outputs; the vector unit's element width unless stated.
    """
    width = accelerator.vector.element_bits if output_bits is None else output_bits
    sizes: Mapping[Operand, int] = working_set_bits(layer, precision, output_bits=width)
    return tuple(
        Residency(
            memory=memory.name,
            wanted_bits=sum(sizes[operand] for operand in memory.holds),
            size_bits=memory.size_bits,
        )
        for memory in accelerator.memories
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakActivation:
    """The step of a network that holds most activations.

    Attributes:
        layer: operator that runs then.
        bits: memory of all live tensors.
        tensors: bits by tensor.
    """

    layer: str
    bits: int
    tensors: Mapping[str, int]


def peak_activation(
    workload: Workload, assignment: Assignment, accelerator: Accelerator
) -> PeakActivation:
    """Peak activation memory of a workload on an accelerator under an assignment.

    Raises:
        UnsupportedError: a layer has no entry.
    """
    unit = accelerator.vector
    cuts = live_cuts(workload, vector_bits=unit.element_bits, fused=unit.fused)
    cut, bits = peak_cut(cuts, assignment)
    return PeakActivation(
        layer=cut.layer,
        bits=bits,
        tensors={tensor.name: tensor.bits(assignment) for tensor in cut.tensors},
    )
