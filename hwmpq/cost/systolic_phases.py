"""Fetches of a short stream that is asked for again and again, without replaying it word by word.

A word is fetched where it was last asked for before the running phase began. So one sort, which
finds the place where each word was asked for before, serves all phases and all passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmpq.cost.systolic_replay import Addresses

_LEAST_PIECE: Final = 2048
"""Requests looked at together, at least."""

_HALF_WORD: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Addresses of one pass, by where each was asked for before.

    Attributes:
        before: ``[requests]``, place of the word's request before, -1 for its first.
        again: the same for a pass that follows another one; places before the pass are negative.
        words: different addresses.
    """

    before: Addresses
    again: Addresses
    words: int


def stream_of(addresses: Addresses) -> Stream:
    """Find where each word was asked for before.

    Args:
        addresses: of one pass, none negative.

    >>> stream_of(np.array([7, 3, 7])).again.tolist()
    [-1, -2, 0]
    """
    count = addresses.size
    # Sixteen bits at a time are sorted by radix, in time proportional to the requests.
    order = np.argsort(addresses.astype(np.uint16), kind="stable")
    upper = addresses[order] >> _HALF_WORD
    while upper.any():
        turn = np.argsort(upper.astype(np.uint16), kind="stable")
        order, upper = order[turn], upper[turn] >> _HALF_WORD
    ranked = addresses[order]
    first = np.r_[True, ranked[1:] != ranked[:-1]]
    last = np.r_[first[1:], True]
    before = np.empty(count, dtype=np.int64)
    before[order] = np.where(first, -1, np.r_[-1, order[:-1]])
    again = before.copy()
    again[order[first]] = order[last] - count
    return Stream(before, again, int(first.sum()))


def fetches(stream: Stream, passes: int, half: int) -> list[int]:
    """Words fetched in each pass by a buffer that is dropped whenever it holds ``half`` of them.

    >>> fetches(stream_of(np.array([1, 2, 1, 3, 1])), 1, 2)
    [5]
    """
    counts = []
    begun = filled = 0
    piece = max(_LEAST_PIECE, 2 * half)
    for number in range(passes):
        previous = stream.again if number else stream.before
        offset = number * previous.size
        fetched = place = 0
        while place < previous.size:
            absent = previous[place : place + piece] < begun - offset
            found = int(np.count_nonzero(absent))
            room = half - filled
            if found < room:
                fetched, filled, place = fetched + found, filled + found, place + piece
                continue
            # The word that fills the half is the last of its phase.
            place += int(np.flatnonzero(absent)[room - 1]) + 1
            fetched, filled, begun = fetched + room, 0, offset + place
        counts.append(fetched)
    return counts
