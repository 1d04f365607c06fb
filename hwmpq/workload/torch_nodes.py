"""Reading one node of an exported torch graph: operator, shapes, name, line of the user's code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hwmpq.errors import UnsupportedError
from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.values import Value

if TYPE_CHECKING:
    from torch.fx import Node

_FRAME = re.compile(
    r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*(?:\n(?P<code>[^\n]*))?'
)
_CALL = re.compile(r"@\d+$")


def operator_name(node: Node) -> str:
    """The operator without overload and without the underscore of in-place forms.

    ``aten.add_.Tensor`` is ``aten.add``; Python's ``operator.getitem`` is ``getitem``.
    """
    packet = getattr(node.target, "overloadpacket", None)
    if packet is None:
        return str(getattr(node.target, "__name__", node.target))
    name = str(packet)
    return name if name.endswith("__") else name.rstrip("_")


def in_place(node: Node) -> bool:
    """Whether the operator writes its result into its first argument, as ``aten.add_`` does."""
    name = str(getattr(node.target, "overloadpacket", ""))
    return name.endswith("_") and not name.endswith("__")


def full_operator_name(node: Node) -> str:
    """The operator with its overload, as messages name it."""
    return operator_name(node) if isinstance(node.target, str) else str(node.target)


def result_shapes(node: Node) -> tuple[tuple[int, ...], ...]:
    """Shapes of all tensors that a node returns.

    Raises:
        UnsupportedError: a size depends on the values of a tensor.
    """
    found = node.meta.get("val")
    values: Sequence[Any] = found if isinstance(found, list | tuple) else [found]
    shapes = [tuple(value.shape) for value in values if hasattr(value, "shape")]
    for shape in shapes:
        if not all(isinstance(size, int) for size in shape):
            line = node_source(node)
            msg = (
                f"{full_operator_name(node)}{f', called at {line},' if line else ''} returns a "
                f"tensor of shape {list(map(str, shape))}, which depends on the values of a "
                "tensor; no cost can follow that. Select with fixed sizes (masks, torch.where, "
                "topk)"
            )
            raise UnsupportedError(msg)
    return tuple(shapes)


def owner(node: Node) -> str:
    """Qualified name of the innermost module that the operator ran in; the root is empty."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    if not stack:
        return ""
    path, _ = list(stack.values())[-1]
    return _CALL.sub("", path)


def source_line(trace: str) -> str:
    """The innermost line of the user's own code in a stack trace: ``file:line: code``."""
    chosen = ""
    for frame in _FRAME.finditer(trace):
        file = frame["file"].replace("\\", "/")
        if "/torch/" in file or file.startswith("<"):
            continue
        code = (frame["code"] or "").strip()
        chosen = f"{frame['file']}:{frame['line']}" + (f": {code}" if code else "")
    return chosen


def node_source(node: Node) -> str:
    """The user's line that called the operator."""
    return source_line(node.meta.get("stack_trace") or "")


def argument(node: Node, position: int, keyword: str, default: Any = None) -> Any:
    """An argument given by position or by keyword."""
    if position < len(node.args):
        return node.args[position]
    return node.kwargs.get(keyword, default)


def axes_of(value: Any, count: int) -> tuple[int, ...]:
    """One number an axis, from a number or a list that may hold one for all."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return tuple(map(int, given * count if len(given) == 1 else given))


def result_shape(node: Node) -> tuple[int, ...]:
    """Shape of the tensor that a node returns, of the first if it returns several."""
    return result_shapes(node)[0]


def label_of(node: Node) -> str:
    """Short name of a node's operator."""
    return operator_name(node).rpartition(".")[2].strip("_")


def items_of(value: Any) -> Sequence[Any]:
    """The items of a list, or the value as the only one."""
    return value if isinstance(value, list | tuple) else [value]


class Reader(Protocol):
    """What handlers see of the front end."""

    @property
    def graph(self) -> WorkloadBuilder:
        """The workload under construction."""
        ...

    def value(self, argument: object) -> Value:
        """What a tensor argument holds; numbers are constants of one element."""
        ...

    def name(self, node: Node, label: str) -> str:
        """Name of an operator: the module's, or the label below it if the module runs several."""
        ...

    def weight_name(self, node: Node, weight: Value, label: str) -> str:
        """Name of a layer that owns a weight: the module that holds it."""
        ...

    def overwrite(self, target: object, written: Value) -> None:
        """Note that part of a tensor, or of the tensor it is a view of, was written in place."""
        ...


Handler: TypeAlias = Callable[[Reader, "Node"], Value]
