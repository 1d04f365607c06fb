"""Bit-widths of one layer: weights and the activations it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hwmpq.errors import BudgetError

_PAIR = re.compile(r"^\s*(\d+)\s*/\s*(\d+)\s*$")


@dataclass(frozen=True, slots=True, order=True)
class Precision:
    """Bits of a layer's weights and of the activations it reads.

    >>> str(Precision(4, 8))
    '4/8'
    >>> Precision.parse("2/4")
    Precision(weight_bits=2, activation_bits=4)
    """

    weight_bits: int
    activation_bits: int

    def __post_init__(self) -> None:
        if self.weight_bits < 1 or self.activation_bits < 1:
            msg = (
                f"bit-widths must be at least 1, but got {self.weight_bits}/{self.activation_bits}"
            )
            raise BudgetError(msg)

    def __str__(self) -> str:
        return f"{self.weight_bits}/{self.activation_bits}"

    @classmethod
    def parse(cls, text: str) -> Precision:
        """Read ``weight bits / activation bits``.

        Raises:
            BudgetError: the text is not two positive integers with a slash between.
        """
        match = _PAIR.match(text)
        if match is None:
            msg = f"a precision is 'weight bits/activation bits' such as 4/8, but got '{text}'"
            raise BudgetError(msg)
        return cls(int(match[1]), int(match[2]))


Assignment: TypeAlias = Mapping[str, Precision]
"""Layer name -> precision."""


def precisions(
    weight_bits: Iterable[int], activation_bits: Iterable[int]
) -> tuple[Precision, ...]:
    """Every pair of the given widths, weights varying slowest.

    >>> [str(p) for p in precisions([2, 4], [8])]
    ['2/8', '4/8']
    """
    columns = tuple(activation_bits)
    return tuple(Precision(w, a) for w in weight_bits for a in columns)
