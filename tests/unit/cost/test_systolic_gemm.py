"""Lowering of layers to matrix products."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.cost.systolic_gemm import lower
from hwmpq.workload.layer import Conv2d, Linear, MatMul


def conv(**changes) -> Conv2d:
    shape = {
        "name": "c",
        "in_channels": 3,
        "in_height": 8,
        "in_width": 8,
        "out_channels": 4,
        "kernel_size": 3,
    }
    return Conv2d(**(shape | changes))


def test_linear_and_matmul() -> None:
    fc = lower(Linear(name="fc", batch=3, in_features=5, out_features=7))
    assert (fc.groups, fc.m, fc.n, fc.k, fc.input_words) == (1, 3, 7, 5, 15)
    qk = lower(MatMul(name="qk", batch=12, m=197, k=64, n=196))
    assert (qk.groups, qk.m, qk.n, qk.k, qk.input_words) == (12, 197, 196, 64, 197 * 64)
    assert not qk.repeats


def test_padding_is_stored_or_made_up() -> None:
    """8 x 8 padded by 1: 8 x 8 outputs; of 24 taps along an axis two fall on padding."""
    layer = conv(padding=1)
    made_up, stored = lower(layer), lower(layer, store_padding=True)
    assert made_up.m == stored.m == 64
    assert made_up.input_reads == 22 * 22 * 3
    assert stored.input_reads == stored.m * stored.k == 24 * 24 * 3
    assert (made_up.input_words, stored.input_words) == (8 * 8 * 3, 10 * 10 * 3)


def test_scale_sim_rounds_outputs_up_where_torch_rounds_down() -> None:
    """ResNet-18's first layer as a topology: 230 wide, 7 taps, stride 2: 113 and 112 outputs."""
    layer = conv(in_height=230, in_width=230, kernel_size=7, stride=2)
    assert lower(layer, ceiling=True).m == 113**2
    assert lower(layer).m == 112**2
    padded = conv(in_height=224, in_width=224, kernel_size=7, stride=2, padding=3)
    assert lower(padded, ceiling=True, store_padding=True).m == 112**2


def test_the_window_over_the_edge_reads_nothing_there() -> None:
    layer = conv(in_height=56, in_width=56, kernel_size=1, stride=2, in_channels=1)
    gemm = lower(layer, ceiling=True)
    assert (gemm.m, gemm.input_words, gemm.input_reads) == (29**2, 28**2, 28**2)


def test_groups_are_products_of_their_own() -> None:
    gemm = lower(conv(in_channels=8, out_channels=16, groups=4, batch=2))
    assert (gemm.groups, gemm.n, gemm.k, gemm.m) == (4, 4, 2 * 9, 2 * 36)


small = st.integers(1, 3)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    kernel=st.tuples(small, small),
    stride=st.tuples(small, small),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    batch=st.integers(1, 2),
)
def test_counts_equal_enumeration(height, width, kernel, stride, dilation, padding, batch) -> None:
    layer = conv(
        batch=batch,
        in_height=height,
        in_width=width,
        kernel_size=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
    )
    reads, words = 0, set()
    loops = (range(batch), range(layer.out_height), range(layer.out_width))
    for b, oy, ox, ky, kx, c in itertools.product(
        *loops, range(kernel[0]), range(kernel[1]), range(3)
    ):
        y = oy * stride[0] + ky * dilation[0] - padding[0]
        x = ox * stride[1] + kx * dilation[1] - padding[1]
        if 0 <= y < height and 0 <= x < width:
            reads += 1
            words.add((b, y, x, c))
    gemm = lower(layer)
    assert (gemm.input_reads, gemm.input_words) == (reads, len(words))
