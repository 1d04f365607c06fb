"""What an ONNX operator does to the copies that its operand holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hwmpq.workload.copies import Copies, expanded, permuted, reshaped
from hwmpq.workload.onnx_nodes import OnnxNode, OnnxReader
from hwmpq.workload.values import Value

_RESHAPES: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def with_copies(reader: OnnxReader, node: OnnxNode, result: Value) -> Value:
    """The result with the copies that the operator makes or keeps."""
    if not node.inputs or not result.shape:
        return result
    copies = _copies(reader, node, result)
    return replace(result, copies=copies) if any(held > 1 for held in copies) else result


def _copies(reader: OnnxReader, node: OnnxNode, result: Value) -> Copies:
    operand = reader.operand(node, 0)
    if node.op == "Expand":
        return expanded(operand.held, operand.shape, result.shape)
    if not operand.copies:
        return ()
    if node.op in _RESHAPES:
        return reshaped(operand.held, operand.shape, result.shape)
    if node.op == "Transpose":
        rank = len(operand.shape)
        return permuted(operand.held, node.numbers("perm", range(rank)[::-1]))
    scaled = node.op in ("Mul", "Div") and reader.number(node, 1) is not None
    return operand.held if scaled and operand.shape == result.shape else result.copies
