"""Which part of a tensor a view covers, so that writes in place reach the right readers.

A key-value cache is one tensor of which every layer writes and reads its own part; a reader
depends on the writes that overlap its view and on no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hwmpq.workload.torch_nodes import argument, operator_name, result_shapes

if TYPE_CHECKING:
    from torch.fx import Node

_SELECTS: Final = "aten.select"
_SLICES: Final = "aten.slice"


@dataclass(frozen=True, slots=True)
class View:
    """A box of a root tensor.

    Attributes:
        root: the tensor that owns the memory.
        box: first and last index (exclusive) along each dimension of the root.
        axes: dimension of the root behind each dimension of the view; empty once a reshape has
            mixed them, after which the box no longer shrinks.
    """

    root: Node
    box: tuple[tuple[int, int], ...]
    axes: tuple[int, ...]

    def overlaps(self, other: View) -> bool:
        """Whether two views of one root share an element, as far as their boxes tell."""
        pairs = zip(self.box, other.box, strict=True)
        return self.root is other.root and all(
            max(low, start) < min(high, end) for (low, high), (start, end) in pairs
        )


def whole(node: Node) -> View:
    """A tensor as a view of itself."""
    shapes = result_shapes(node)
    shape = shapes[0] if shapes else ()
    return View(node, tuple((0, size) for size in shape), tuple(range(len(shape))))


def derive(parent: View, node: Node) -> View:
    """The view that a node makes of its argument's view."""
    operator = operator_name(node)
    if operator not in (_SELECTS, _SLICES) or not parent.axes:
        return View(parent.root, parent.box, ())
    axis = int(argument(node, 1, "dim", 0)) % len(parent.axes)
    target = parent.axes[axis]
    low, high = parent.box[target]
    first, last = _bounds(node, high - low)
    box = list(parent.box)
    box[target] = (low + first, low + last)
    axes = parent.axes
    if operator == _SELECTS:
        axes = axes[:axis] + axes[axis + 1 :]
    elif argument(node, 4, "step", 1) != 1:
        axes = ()
    return View(parent.root, tuple(box), axes)


def _bounds(node: Node, size: int) -> tuple[int, int]:
    """Range of indices that a select or a slice keeps of a dimension."""
    if operator_name(node) == _SELECTS:
        index = int(argument(node, 2, "index"))
        first = index + size if index < 0 else index
        return first, first + 1
    return _index(argument(node, 2, "start"), 0, size), _index(
        argument(node, 3, "end"), size, size
    )


def _index(given: Any, default: int, size: int) -> int:
    if given is None:
        return default
    position = int(given) + size if int(given) < 0 else int(given)
    return min(max(position, 0), size)
