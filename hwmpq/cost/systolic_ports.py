"""Whether memories and accumulators are wide enough for a precision."""

from __future__ import annotations

from hwmpq.accelerator.spec import Accelerator, Operand
from hwmpq.cost.systolic_folds import Dataflow
from hwmpq.cost.systolic_precision import accumulator_bits, rate, rounded_up
from hwmpq.cost.systolic_spec import SystolicCompute
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision

_LANES: dict[Dataflow, dict[Operand, str]] = {
    "os": {"input": "rows", "weight": "cols", "output": "cols"},
    "ws": {"input": "rows", "weight": "cols", "output": "cols"},
    "is": {"input": "cols", "weight": "rows", "output": "cols"},
}
"""Edge of the array at which an operand enters or leaves."""


def port_bits(precision: Precision, depth: int, compute: SystolicCompute) -> dict[Operand, int]:
    """Bits that each operand needs per cycle.

    A lane takes one operand for each product that does not share it, at the width of the mode: an
    8-bit element that sums 16 products of 2 bits takes 16 of both, 32 bits a row instead of 8.
    A column delivers one sum for each product that is kept apart.
    """
    scaling = compute.scaling
    speed = rate(precision, scaling)
    lanes = {
        operand: compute.rows if edge == "rows" else compute.cols
        for operand, edge in _LANES[compute.dataflow].items()
    }
    serial = scaling.mode == "serial_w"
    weight = scaling.serial_bits if serial else rounded_up(precision.weight_bits, scaling)
    activation = rounded_up(precision.activation_bits, scaling)
    sums = compute.accumulator_bits or accumulator_bits(precision, depth)
    return {
        "input": lanes["input"] * speed.activation_lanes * activation,
        "weight": lanes["weight"] * speed.weight_lanes * weight,
        "output": lanes["output"] * speed.apart * sums,
    }


def check_ports(
    precision: Precision, depth: int, compute: SystolicCompute, accelerator: Accelerator
) -> None:
    """Check that every memory that states a width delivers what the array takes per cycle.

    Raises:
        UnsupportedError: names the memory, the bits needed and the bits it has.
    """
    for operand, needed in port_bits(precision, depth, compute).items():
        memory = accelerator.memory_for(operand)
        if memory.width_bits is None:
            continue
        available = memory.width_bits * memory.banks
        if needed > available:
            msg = (
                f"accelerator '{accelerator.name}': memory '{memory.name}' must move {needed} "
                f"bits per cycle at {precision}, but {memory.banks} banks of {memory.width_bits} "
                f"bits move {available}; widen it, or leave the precision out"
            )
            raise UnsupportedError(msg)


def check_accumulator(
    layer: str, precision: Precision, depth: int, compute: SystolicCompute, accelerator: str
) -> None:
    """Check that partial sums cannot overflow.

    Raises:
        UnsupportedError: names the layer, the bits needed and the bits there are.
    """
    needed = accumulator_bits(precision, depth)
    if compute.accumulator_bits is not None and needed > compute.accumulator_bits:
        msg = (
            f"layer '{layer}' at {precision} needs accumulators of {needed} bits "
            f"(w + a + ceil(log2 {depth})), but '{accelerator}' has {compute.accumulator_bits}; "
            "raise compute.accumulator_bits, or leave the precision out"
        )
        raise UnsupportedError(msg)
