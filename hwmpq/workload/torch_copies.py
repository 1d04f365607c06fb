"""What a torch operator does to the copies that its operand holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hwmpq.workload.copies import Copies, expanded, permuted, reshaped
from hwmpq.workload.torch_nodes import argument, operator_name
from hwmpq.workload.values import Value

if TYPE_CHECKING:
    from torch.fx import Node

_EXPANDS: Final = frozenset({"aten.expand", "aten.expand_as", "aten.broadcast_to"})
_RESHAPES: Final = frozenset(
    {
        "aten.view",
        "aten.reshape",
        "aten.view_as",
        "aten.reshape_as",
        "aten.flatten",
        "aten.unflatten",
        "aten.squeeze",
        "aten.unsqueeze",
    }
)
_TRANSPOSES: Final = frozenset({"aten.transpose", "aten.swapaxes"})


def with_copies(node: Node, operands: Sequence[Value], result: Value) -> Value:
    """The result with the copies that the operator makes or keeps."""
    if not operands or not result.shape:
        return result
    copies = _copies(node, operands, result)
    return replace(result, copies=copies) if any(held > 1 for held in copies) else result


def _copies(node: Node, operands: Sequence[Value], result: Value) -> Copies:
    operator, operand = operator_name(node), operands[0]
    if operator in _EXPANDS:
        return expanded(operand.held, operand.shape, result.shape)
    if operator == "aten.repeat_interleave" and isinstance(argument(node, 1, "repeats"), int):
        return _interleaved(node, operand, result)
    if not operand.copies:
        return ()
    if operator in _RESHAPES:
        return reshaped(operand.held, operand.shape, result.shape)
    if operator == "aten.permute":
        return permuted(operand.held, [int(axis) for axis in argument(node, 1, "dims")])
    if operator in _TRANSPOSES:
        order = list(range(len(operand.shape)))
        first, second = int(argument(node, 1, "dim0")), int(argument(node, 2, "dim1"))
        order[first], order[second] = order[second], order[first]
        return permuted(operand.held, order)
    scaled = operator in ("aten.mul", "aten.div") and len(operands) == 1
    return operand.held if scaled and operand.shape == result.shape else result.copies


def _interleaved(node: Node, operand: Value, result: Value) -> Copies:
    axis = argument(node, 2, "dim")
    if axis is None:
        return ()
    held = list(operand.held)
    held[int(axis)] *= result.shape[int(axis)] // operand.shape[int(axis)]
    return tuple(held)
