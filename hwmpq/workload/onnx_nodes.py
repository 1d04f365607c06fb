"""Reading one node of an ONNX graph: attributes, operands, names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol, TypeAlias

from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.onnx_scope import Scope
from hwmpq.workload.values import Value


@dataclass(frozen=True, slots=True, eq=False)
class OnnxNode:
    """An operator of an ONNX graph.

    Attributes:
        op: operator type, with its domain unless that is ONNX's own.
        name: the exporter's name.
        inputs: names of the tensors read; an operand left out is empty.
        outputs: names of the tensors written, without those left out.
        attributes: attributes by name.
        shapes: shapes of the tensors written.
        places: which of the operator's results each tensor written is, from 0.
        scope: the module it came from, where the file tells.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    scope: Scope | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first result."""
        return self.shapes[0]

    @property
    def elements(self) -> int:
        """Elements of the first result."""
        return prod(self.shape)

    def numbers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(int(value) for value in self.attributes.get(name, default))


class OnnxReader(Protocol):
    """What handlers see of the ONNX front end."""

    @property
    def graph(self) -> WorkloadBuilder:
        """The workload under construction."""
        ...

    def operand(self, node: OnnxNode, index: int) -> Value:
        """An operand by position."""
        ...

    def operands(self, node: OnnxNode) -> list[Value]:
        """All operands that are given."""
        ...

    def number(self, node: OnnxNode, index: int) -> float | None:
        """The value of an operand that is a stored single number, else None."""
        ...

    def readers(self, tensor: str) -> int:
        """How many operators read a tensor; the graph's results count."""
        ...

    def name(self, node: OnnxNode) -> str:
        """Name of an operator."""
        ...

    def weight_name(self, node: OnnxNode, weight: Value) -> str:
        """Name of a layer that owns a weight."""
        ...


OneResult: TypeAlias = Callable[[OnnxReader, OnnxNode], Value]
"""Reads an operator with one result, which any further ones rename."""

OnnxHandler: TypeAlias = Callable[[OnnxReader, OnnxNode], Value | tuple[Value, ...]]
"""Reads an operator with one result, or with several in the order that ONNX lists them in."""
