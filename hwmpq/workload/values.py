"""What a front end knows of a tensor while it walks a network: its shape and who writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from hwmpq.workload.copies import Copies


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the network that is being read.

    Attributes:
        shape: dimensions.
        node: the operator of the workload that writes it; empty for a constant, which is a
            parameter, a buffer or anything computed from those alone.
        signed: whether values may be negative.
        parameter: qualified name of the parameter, where it is one.
        copies: how many times in a row each value is held along each dimension; empty for once.
    """

    shape: tuple[int, ...]
    node: str = ""
    signed: bool = True
    parameter: str = ""
    copies: Copies = ()

    @property
    def constant(self) -> bool:
        """Whether it is known before the network runs."""
        return not self.node

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def held(self) -> Copies:
        """Copies along every dimension."""
        return self.copies or (1,) * len(self.shape)

    @property
    def shared(self) -> int:
        """How many matrices in a row are one and the same."""
        return self.held[-3] if len(self.shape) > 2 else 1

    def reshaped(self, shape: Sequence[int]) -> Value:
        """The same tensor in another shape."""
        kept = self.copies if tuple(shape) == self.shape else ()
        return replace(self, shape=tuple(shape), copies=kept)


def activations(values: Sequence[Value]) -> tuple[Value, ...]:
    """Those that are computed from the network's input."""
    return tuple(value for value in values if not value.constant)


def constant_elements(values: Sequence[Value]) -> int:
    """Stored elements among the operands; single numbers are part of the operator."""
    return sum(value.elements for value in values if value.constant and value.elements > 1)
