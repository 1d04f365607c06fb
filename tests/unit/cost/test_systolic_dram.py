"""DRAM reads of SCALE-Sim's buffers: closed forms, replay and estimate against plain code."""

from collections.abc import Iterable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.cost.systolic_dram import (
    active_half,
    active_words,
    cyclic_reads,
    input_reads,
    tiled_reads,
    weight_reads,
)
from hwmpq.cost.systolic_estimate import estimated_reads
from hwmpq.cost.systolic_folds import Array, fold
from hwmpq.cost.systolic_gemm import lower
from hwmpq.cost.systolic_replay import input_addresses, input_stream, replay
from hwmpq.workload.layer import Conv2d, Linear


def forgetful_buffer(addresses: Iterable[int], half: int) -> int:
    """The rule in plain code: a set that is emptied whenever it holds half different words."""
    held: set[int] = set()
    fetched = 0
    for address in addresses:
        if address not in held:
            held.add(address)
            fetched += 1
            if len(held) == half:
                held = set()
    return fetched


streams = st.lists(st.lists(st.integers(0, 12), max_size=30), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(parts=streams, half=st.integers(1, 15))
def test_replay_is_the_forgetful_buffer(parts: list[list[int]], half: int) -> None:
    arrays = [np.array(part, dtype=np.int64) for part in parts]
    assert replay(arrays, half) == forgetful_buffer([a for part in parts for a in part], half)


def test_replay_of_parts_longer_than_a_piece() -> None:
    addresses = np.random.default_rng(0).integers(0, 700, size=30_000)
    assert replay([addresses], 500) == forgetful_buffer(addresses.tolist(), 500)


@given(words=st.integers(1, 40), passes=st.integers(1, 5), half=st.integers(1, 50))
def test_cyclic_form_is_the_buffer_on_passes(words: int, passes: int, half: int) -> None:
    stream = list(range(words)) * passes
    assert cyclic_reads(words, passes, half) == forgetful_buffer(stream, half)


@given(
    tile=st.integers(1, 12),
    tiles=st.integers(1, 5),
    last=st.integers(1, 12),
    repeats=st.integers(1, 4),
    half=st.integers(1, 30),
)
def test_tiled_form_is_the_buffer_on_repeated_tiles(tile, tiles, last, repeats, half) -> None:
    last = min(last, tile)
    sizes = [tile] * (tiles - 1) + [last]
    starts = [tile * index for index in range(tiles)]
    stream = [
        start + word
        for start, size in zip(starts, sizes, strict=True)
        for _ in range(repeats)
        for word in range(size)
    ]
    assert tiled_reads(tile, tiles, last, repeats, half) == forgetful_buffer(stream, half)


def test_sizes_of_the_active_half() -> None:
    assert active_words(64 * 1024) == 50 * 655
    assert active_words(99) > 10**18
    assert active_half(8 * 6400, 8, 8) == 3200
    assert active_half(8 * 6400, 16, 8) == 1600
    assert active_half(8 * 6400, 4, None) == 6400


def test_addresses_of_a_window_by_hand() -> None:
    """3 x 3 image of 2 channels, 2 x 2 kernel: the window of pixel 1 starts one column on."""
    layer = Conv2d(name="c", in_channels=2, in_height=3, in_width=3, out_channels=1, kernel_size=2)
    matrix = input_addresses(lower(layer))
    assert matrix[0].tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    assert matrix[1].tolist() == [2, 3, 4, 5, 8, 9, 10, 11]
    assert matrix[2].tolist() == [6, 7, 8, 9, 12, 13, 14, 15]


def test_streams_by_hand() -> None:
    """m, k = 3, 2 on 2 x 2 elements; addresses are 2 m + k."""
    gemm = lower(Linear(name="fc", batch=3, in_features=2, out_features=2))

    def stream(dataflow: str) -> list[list[int]]:
        array = Array(dataflow=dataflow, rows=2, cols=2)
        folds = fold(gemm.m, gemm.n, gemm.k, array)
        return [part.tolist() for part in input_stream(gemm, folds, array)]

    # Two pixels at a time, the second a cycle later; then the third.
    assert stream("os") == [[0, 1, 2, 3], [4, 5]]
    # Depth along the rows, the second row a cycle later.
    assert stream("ws") == [[0, 2, 1, 4, 3, 5]]
    # Pixels along the columns, the last depth first.
    assert stream("is") == [[1, 3, 0, 2], [5, 4]]


convs = st.builds(
    Conv2d,
    name=st.just("c"),
    batch=st.integers(1, 2),
    in_channels=st.sampled_from([1, 2, 5]),
    in_height=st.integers(4, 9),
    in_width=st.integers(4, 9),
    out_channels=st.sampled_from([1, 6]),
    kernel_size=st.sampled_from([1, 2, 3, (1, 3)]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
)
arrays = st.builds(
    Array,
    dataflow=st.sampled_from(["os", "ws", "is"]),
    rows=st.sampled_from([2, 4, 7]),
    cols=st.sampled_from([2, 3]),
)


@settings(max_examples=80, deadline=None)
@given(layer=convs, array=arrays, half=st.integers(10, 300))
def test_shortcuts_agree_with_the_replay(layer: Conv2d, array: Array, half: int) -> None:
    gemm = lower(layer)
    folds = fold(gemm.m, gemm.n, gemm.k, array)
    replayed = replay(input_stream(gemm, folds, array), half)
    assert input_reads(gemm, folds, array, half, exact=True) == replayed
    if gemm.input_words < half or not gemm.repeats:
        assert input_reads(gemm, folds, array, half, exact=False) == replayed
    assert gemm.input_words <= estimated_reads(gemm, folds, array, half)
    assert estimated_reads(gemm, folds, array, half) <= gemm.input_reads * folds.col_folds


def test_weights_by_hand() -> None:
    """n, k = 5, 10 with two columns: tiles of 20, 20 and 10 words; two row folds."""
    array = Array(dataflow="os", rows=4, cols=2)
    folds = fold(8, 5, 10, array)
    assert weight_reads(5, 10, folds, array, 100) == 50
    assert weight_reads(5, 10, folds, array, 20) == 40 + 40 + 10
    # The second tile loses the 10 words before the phase ended, the third ends one itself.
    assert weight_reads(5, 10, folds, array, 30) == 20 + (20 + 10) + (10 + 10)
    stationary = Array(dataflow="ws", rows=4, cols=2)
    assert weight_reads(5, 10, fold(8, 5, 10, stationary), stationary, 1) == 50


def test_the_estimate_is_close_on_a_layer_that_does_not_fit() -> None:
    """56 x 56 x 64, 3 x 3 on 32 x 32: the published error covers more layers."""
    layer = Conv2d(
        name="c",
        in_channels=64,
        in_height=58,
        in_width=58,
        out_channels=64,
        kernel_size=3,
    )
    gemm = lower(layer)
    for dataflow in ("os", "is"):
        array = Array(dataflow=dataflow, rows=32, cols=32)
        folds = fold(gemm.m, gemm.n, gemm.k, array)
        exact = replay(input_stream(gemm, folds, array), 32750)
        assert abs(estimated_reads(gemm, folds, array, 32750) / exact - 1) < 0.02
