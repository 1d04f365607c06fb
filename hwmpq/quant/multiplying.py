"""Which of torch's functions multiply two tensors, and where in a call these stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from torch import Tensor

Operand: TypeAlias = tuple[int, str]
"""Position and keyword of an argument."""

_FILTERS: Final[tuple[Operand, Operand]] = ((0, "input"), (1, "weight"))
_OPERANDS: Final[Mapping[str, tuple[Operand, Operand]]] = {
    "linear": _FILTERS,
    "conv1d": _FILTERS,
    "conv2d": _FILTERS,
    "conv_transpose1d": _FILTERS,
    "conv_transpose2d": _FILTERS,
    "matmul": ((0, "input"), (1, "other")),
    "rmatmul": ((1, "other"), (0, "input")),
    "mm": ((0, "input"), (1, "mat2")),
    "bmm": ((0, "input"), (1, "mat2")),
    "mv": ((0, "input"), (1, "vec")),
    "dot": ((0, "input"), (1, "tensor")),
    "addmm": ((1, "mat1"), (2, "mat2")),
    "baddbmm": ((1, "batch1"), (2, "batch2")),
    "addmv": ((1, "mat"), (2, "vec")),
    "einsum": ((1, "operands"), (2, "operands")),
}
_SAME_NAME: Final = {"rmatmul": "matmul"}
ATTENTION: Final = "scaled_dot_product_attention"
_SHAPES_ONLY: Final = frozenset(
    [f"{what}_like" for what in ("zeros", "ones", "full", "empty")]
    + [f"new_{what}" for what in ("zeros", "ones", "full", "empty")]
)
"""Functions that take only the shape of their argument; what they return is known beforehand."""


def multiplies(label: str) -> bool:
    """Whether a function multiplies two tensors."""
    return label in _OPERANDS


def reads_values(label: str) -> bool:
    """Whether what a function returns depends on its arguments' values."""
    return label not in _SHAPES_ONLY


def layer_label(label: str) -> str:
    """What the workload calls a product by this function.

    >>> layer_label("rmatmul"), layer_label("bmm")
    ('matmul', 'bmm')
    """
    return _SAME_NAME.get(label, label)


def writes_in_place(name: str) -> bool:
    """Whether a function changes its first argument.

    >>> writes_in_place("add_"), writes_in_place("__setitem__"), writes_in_place("__matmul__")
    (True, True, False)
    """
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


class Argument:
    """One argument of a call, given by position or by keyword."""

    def __init__(
        self, args: list[Any], given: dict[str, Any], position: int, keyword: str
    ) -> None:
        self.where: Any = args if position < len(args) else given
        self.key: Any = position if position < len(args) else keyword

    @property
    def value(self) -> Any:
        """What is passed."""
        return self.where[self.key]

    @value.setter
    def value(self, value: Tensor) -> None:
        self.where[self.key] = value


def multiplied(
    label: str, args: list[Any], given: dict[str, Any]
) -> tuple[Argument, Argument, list[Any]]:
    """The two operands of a call, and its arguments by position, which they may change."""
    if label == "einsum" and isinstance(args[1], list | tuple):
        args = [args[0], *args[1]]
    first, second = (Argument(args, given, *operand) for operand in _OPERANDS[label])
    return first, second, args
