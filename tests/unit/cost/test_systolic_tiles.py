"""Our tiles: partial sums on chip, loop orders, pieces that stay in their buffer."""

from hypothesis import given
from hypothesis import strategies as st

from hwmpq.cost.systolic_gemm import lower
from hwmpq.cost.systolic_tiles import (
    Chunks,
    Operand,
    chunk_stream,
    fetches,
    input_tile_words,
    longest_piece,
)
from hwmpq.workload.layer import Conv2d, Linear


def test_chunks_fill_half_the_output_buffer() -> None:
    """32 sums of 32 bits a step: 1024 bits; half of 64 KiB holds 256 steps."""
    assert chunk_stream(256, 32, 32, 32768 * 8) == Chunks(count=1, size=256, on_chip=True)
    assert chunk_stream(257, 32, 32, 32768 * 8) == Chunks(count=2, size=129, on_chip=True)
    assert chunk_stream(100, 32, 32, 1023) == Chunks(count=1, size=100, on_chip=False)


@given(stream=st.integers(1, 5000), sums=st.integers(1, 64), half=st.integers(1, 100_000))
def test_chunks_cover_the_stream(stream: int, sums: int, half: int) -> None:
    chunks = chunk_stream(stream, sums, 30, half)
    assert chunks.count * chunks.size >= stream > (chunks.count - 1) * chunks.size
    assert not chunks.on_chip or chunks.size * sums * 30 <= half


def test_a_loop_order_decides_what_is_fetched_again() -> None:
    """Neither operand fits whole; a tile of weights does, one of inputs does not."""
    inputs = Operand(total_bits=1000, tile_bits=1000, half_bits=500)
    weights = Operand(total_bits=9000, tile_bits=300, half_bits=400)
    found = fetches(inputs, weights, 4, 3, "weight")
    assert (found.input_bits, found.weight_bits, found.order) == (3000, 9000, "weight")
    found = fetches(inputs, weights, 4, 3, "input")
    assert (found.input_bits, found.weight_bits, found.order) == (3000, 36000, "input")


def test_what_fits_is_fetched_once() -> None:
    inputs = Operand(total_bits=500, tile_bits=100, half_bits=500)
    weights = Operand(total_bits=9000, tile_bits=3000, half_bits=4000)
    found = fetches(inputs, weights, 5, 3, "weight")
    assert (found.input_bits, found.weight_bits) == (500, 9000)


def test_input_tiles_hold_halo_rows() -> None:
    """56 x 56, 3 x 3: one row of outputs may start anywhere, so two rows, of 4 input rows."""
    layer = Conv2d(
        name="c",
        in_channels=2,
        in_height=56,
        in_width=56,
        out_channels=1,
        kernel_size=3,
        padding=1,
    )
    gemm = lower(layer)
    assert input_tile_words(gemm, 56) == 4 * 56 * 2
    assert input_tile_words(gemm, gemm.m) == gemm.input_words
    fc = lower(Linear(name="fc", batch=10, in_features=7, out_features=3))
    assert input_tile_words(fc, 4) == 28


@given(
    height=st.integers(3, 20),
    width=st.integers(3, 20),
    batch=st.integers(1, 3),
    words=st.integers(1, 4000),
)
def test_the_longest_piece_is_found(height: int, width: int, batch: int, words: int) -> None:
    layer = Conv2d(
        name="c",
        batch=batch,
        in_channels=2,
        in_height=height,
        in_width=width,
        out_channels=1,
        kernel_size=3,
    )
    gemm = lower(layer)
    fitting = [p for p in range(1, gemm.m + 1) if input_tile_words(gemm, p) <= words]
    assert longest_piece(gemm, words) == max(fitting, default=0)
