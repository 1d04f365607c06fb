"""Fetches of a repeated stream equal the buffer's replay, word by word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmpq.cost.systolic_phases import fetches, stream_of
from hwmpq.cost.systolic_replay import Buffer


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 15),
)
def test_every_pass_fetches_what_the_buffer_fetches(words, passes, half) -> None:
    addresses = np.array(words, dtype=np.int64)
    buffer = Buffer(half)
    expected = [buffer.fetch(addresses) for _ in range(passes)]
    assert fetches(stream_of(addresses), passes, half) == expected


@pytest.mark.parametrize("half", [7, 500, 1999, 2000, 5000])
def test_long_streams_of_large_addresses(half: int) -> None:
    rng = np.random.default_rng(half)
    addresses = rng.integers(0, 2000, 9000) * 123_457_000_001
    buffer = Buffer(half)
    compact = np.unique(addresses, return_inverse=True)[1]  # a table as long as the address
    expected = [buffer.fetch(compact) for _ in range(3)]
    stream = stream_of(addresses)
    assert stream.words == len(np.unique(addresses))
    assert fetches(stream, 3, half) == expected
