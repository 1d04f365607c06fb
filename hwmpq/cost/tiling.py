"""Loop tiling: which tiles there are, and in which order they run.

Five loops run over the tiles of a layer: batch, output columns, output rows, input channels and
output channels; the kernel is never tiled. What an order moves is in
`hwmpq.cost.loop_outcomes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from hwmpq.cost.base import IntArray, ceil_div

BoolArray = npt.NDArray[np.bool_]


class Loop(IntEnum):
    """A loop over tiles."""

    B = 0
    OW = 1
    OH = 2
    IC = 3
    OC = 4


Order = tuple[Loop, ...]
"""Loops from the outermost to the innermost."""

_LETTERS: Final = {"B": Loop.B, "X": Loop.OW, "Y": Loop.OH, "C": Loop.IC, "K": Loop.OC}
_RANKED: Final = """
KCBYX BKXCY YBXKC BCKXY KBXCY KCYBX YXKCB KYBXC KYCBX XYCBK CYKBX BKCXY YXCKB KCXYB BCYKX KBCXY
BKCYX KXBCY CKXBY XCYBK XKYBC KCXBY YBCXK CYXBK XBKYC YKXBC XYCKB BKYCX BXKYC BCXKY XYBCK CBKYX
YBKXC XCBKY YCBXK KYBCX BXYKC BXYCK BYXCK BXKCY XBKCY CKBYX YXCBK KCBXY YCKBX YCKXB CYBKX KBYXC
BCXYK CXKBY KBYCX CKXYB YKCXB BKYXC CYKXB YCXBK YBCKX CBXKY XYKBC KXYCB YXKBC CXYKB XBYKC XYKCB
XCKBY KCYXB YCXKB CKBXY CXBKY KYXCB XKBCY CKYBX XBCYK KXYBC CBXYK YBXCK BCKYX CKYXB CBKXY BYKCX
XCKYB YCBKX YXBKC YKCBX CYBXK KYCXB YKBXC BCYXK XBYCK CXKYB KXCBY KBCYX XKCYB XCYKB XKYCB YBKCX
YKBCX BYCXK KXBYC CBYXK CXBYK CYXKB BYXKC XKBYC BXCYK XBCKY KXCYB CBYKX YXBCK XYBKC KBXYC YKXCB
XKCBY BYCKX BXCKY BYKXC XCBYK BKXYC CXYBK KYXBC
"""

LOOP_ORDERS: Final[tuple[Order, ...]] = tuple(
    tuple(_LETTERS[letter] for letter in word) for word in _RANKED.split()
)
"""All 120 orders in the sequence in which hsharma35's optimiser meets them.

It iterates over a set of tuples, whose sequence CPython 2.7 fixes by its string hash. Of orders
that cost the same in every respect the first of this list is the one it reports.
"""


def powers_of_two(extent: int, unit: int = 1) -> list[int]:
    """Tile sizes ``unit * 2^i`` below the extent, and the extent.

    >>> powers_of_two(100, 16)
    [16, 32, 64, 100]
    """
    sizes = []
    size = unit
    while size < extent:
        sizes.append(size)
        size *= 2
    return [*sizes, extent]


def useful_sizes(extent: int, work: Sequence[Callable[[IntArray], IntArray]]) -> list[int]:
    """Integer tile sizes of which none is beaten by a smaller one with as many tiles.

    Of the sizes that cut the extent into equally many tiles, the smallest needs the least room. A
    larger one is kept if it means less work by one of the given measures (of all sizes at once),
    as when it fills the array.

    >>> useful_sizes(7, [])
    [1, 2, 3, 4, 7]
    """
    sizes = np.arange(1, extent + 1, dtype=np.int64)
    tiles = ceil_div(extent, sizes)
    first = np.ones(extent, dtype=np.bool_)
    first[1:] = tiles[1:] != tiles[:-1]
    keep = first.copy()
    group = np.cumsum(first)
    for measure in work:
        effort = measure(sizes)
        # Lowering every group below the one before it makes one running minimum restart per group.
        lowered = effort - group * (int(effort.max()) + 1)
        best = np.minimum.accumulate(lowered)
        keep[1:] |= lowered[1:] < best[:-1]
    return [int(size) for size in sizes[keep]]


@dataclass(frozen=True, slots=True, eq=False)
class TileGrid:
    """Candidate tilings.

    Attributes:
        extents: size of each loop.
        sizes: tile sizes, ``[loops, tilings]``.
        used: whether the last tile of a loop counts by its own size instead of as a whole tile.
        trips: iterations of each loop, ``[loops, tilings]``.
    """

    extents: IntArray
    sizes: IntArray
    used: bool
    trips: IntArray = field(init=False)

    def __post_init__(self) -> None:
        """Count the trips, once."""
        object.__setattr__(self, "trips", ceil_div(self.extents[:, None], self.sizes))

    def total(self, loop: Loop, measure: Callable[[IntArray], IntArray]) -> IntArray:
        """Sum of a measure of the tile size over all tiles of one loop, ``[tilings]``."""
        size = self.sizes[loop]
        trips = self.trips[loop]
        if not self.used:
            return np.asarray(trips * measure(size), dtype=np.int64)
        rest = self.extents[loop] - (trips - 1) * size
        return np.asarray((trips - 1) * measure(size) + measure(rest), dtype=np.int64)


def distinct_orders(trips: IntArray, *, drop_idle: bool) -> list[int]:
    """Ranks of orders that can differ in cost: the first of each set of orders that cannot.

    Output rows and columns are alike where all their trips are equal. A loop of one trip changes
    nothing wherever it stands, and is ignored if `drop_idle`.
    """
    alike = bool(np.array_equal(trips[Loop.OW], trips[Loop.OH]))
    idle = [drop_idle and bool((trips[loop] == 1).all()) for loop in Loop]
    seen: set[tuple[Loop, ...]] = set()
    ranks = []
    for rank, order in enumerate(LOOP_ORDERS):
        key = tuple(
            Loop.OW if alike and loop is Loop.OH else loop for loop in order if not idle[loop]
        )
        if key not in seen:
            seen.add(key)
            ranks.append(rank)
    return ranks
