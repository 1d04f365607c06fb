"""Copies that are followed through views are copies: checked on the values themselves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from hwmpq.workload.copies import Copies, expanded, permuted, reshaped

Array = npt.NDArray[np.int64]


def really_held(values: Array, axis: int, times: int) -> bool:
    moved = np.moveaxis(values, axis, 0)
    return all((moved[i] == moved[i // times * times]).all() for i in range(len(moved)))


def factors(data: st.DataObject, size: int) -> tuple[int, ...]:
    """A shape of so many values."""
    found = []
    while size > 1:
        found.append(data.draw(st.sampled_from([n for n in range(2, size + 1) if size % n == 0])))
        size //= found[-1]
    ones = data.draw(st.integers(0, 2))
    return tuple(data.draw(st.permutations([*found, *[1] * ones]))) or (1,)


@given(st.data())
def test_views_of_expanded_tensors(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    values: Array = np.arange(np.prod(shape)).reshape(shape)
    copies: Copies = (1,) * len(shape)
    for _ in range(4):
        step = data.draw(st.sampled_from(["expand", "permute", "reshape"]))
        before = values.shape
        if step == "expand" and values.size < 200:
            after = tuple(data.draw(st.sampled_from([2, 3])) if n == 1 else n for n in before)
            values, copies = np.broadcast_to(values, after), expanded(copies, before, after)
        elif step == "permute":
            order = data.draw(st.permutations(range(values.ndim)))
            values, copies = values.transpose(order), permuted(copies, order)
        elif step == "reshape":
            after = factors(data, values.size)
            values, copies = values.reshape(after), reshaped(copies, before, after)
        assert len(copies) == values.ndim
        assert all(size % times == 0 for size, times in zip(values.shape, copies, strict=True))
        assert all(really_held(values, axis, times) for axis, times in enumerate(copies))
