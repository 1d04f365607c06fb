"""Operation counts, each worked out by hand from the operator's definition."""

from __future__ import annotations

import pytest

from hwmpq.errors import UnsupportedError
from hwmpq.workload import operations


@pytest.mark.parametrize(
    ("kind", "per_element"),
    [
        ("relu", 1),
        ("relu6", 2),
        ("hard_sigmoid", 4),
        ("hard_swish", 5),
        ("sigmoid", 1),
        ("tanh", 1),
        ("silu", 2),
        ("gelu", 2),
        ("batch_norm", 2),
    ],
)
def test_pointwise(kind, per_element):
    assert operations.pointwise_operations(kind, 7) == 7 * per_element


def test_pointwise_refuses_a_reduction():
    with pytest.raises(UnsupportedError, match="softmax"):
        operations.pointwise_operations("softmax", 7)


def test_softmax_of_three_values_by_hand():
    # max 2, subtract 3, exp 3, sum 2, reciprocal 1, multiply 3
    assert operations.softmax_operations(1, 3) == 2 + 3 + 3 + 2 + 1 + 3
    assert operations.softmax_operations(4, 3) == 4 * 14


def test_norms_of_three_values_by_hand():
    # mean 2 + 1, centre 3, square 3, variance 2 + 1, epsilon 1, inverse root 1, scale 3
    assert operations.layer_norm_operations(1, 3, affine=False) == 3 + 3 + 3 + 3 + 1 + 1 + 3
    assert operations.layer_norm_operations(1, 3) == 17 + 6
    # square 3, mean 2 + 1, epsilon 1, inverse root 1, scale 3
    assert operations.rms_norm_operations(1, 3, affine=False) == 3 + 3 + 1 + 1 + 3
    assert operations.rms_norm_operations(2, 3) == 2 * (11 + 3)


def test_pools():
    assert operations.max_pool_operations(1, (3, 3)) == 8
    assert operations.average_pool_operations(1, (3, 3)) == 9
    assert operations.max_pool_operations(5, (1, 1)) == 5, "a subsampling moves its elements"
    assert operations.mean_operations(512, 49) == 512 * 49


def test_several_tensors():
    assert operations.elementwise_operations(10, operands=1) == 10
    assert operations.elementwise_operations(10, operands=4) == 30
    assert operations.move_operations(10) == 10


def test_upsampling():
    assert operations.upsample_operations(3) == 3
    assert operations.upsample_operations(3, "bilinear") == 3 * (4 + 3)
    assert operations.upsample_operations(3, "bicubic") == 3 * (16 + 15)
    with pytest.raises(UnsupportedError, match="trilinear"):
        operations.upsample_operations(3, "trilinear")
