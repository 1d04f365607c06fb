"""BSQ's planes: exact forward, closed gradients, and re-quantisation that changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwmpq.precision import Precision
from hwmpq.quant.bit_planes import (
    BitPlanes,
    collapse,
    group_lasso,
    largest_code,
    plane_sums,
    requantise,
    scaled_planes,
    split,
)
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.workload.from_torch import extract


def weights(shape=(6, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def symmetric(weight, planes):
    high = 2**planes - 1
    scale = weight.abs().max()
    return scale * (weight / scale * high).round() / high


@pytest.mark.parametrize("planes", [1, 3, 7, 8])
def test_forward_is_symmetric_quantisation(planes):
    weight = weights()
    found = BitPlanes(weight, planes + 1)
    torch.testing.assert_close(found(weight), symmetric(weight, planes), rtol=1e-12, atol=0)
    assert found(weight).unique().numel() <= 2 ** (planes + 1) - 1
    assert int(found.codes(weight).abs().max()) == largest_code(planes)


def test_splitting_is_exact_and_binary():
    integers = torch.arange(-255.0, 256.0)
    positive, negative = split(integers, 8)
    assert torch.equal(plane_sums(positive, negative, 8), integers)
    assert set(positive.unique().tolist()) == {0, 1}
    assert float((positive * negative).sum()) == 0


def test_gradients_of_all_eight_planes_and_of_the_scale_equal_the_closed_forms():
    weight = weights()
    planes = BitPlanes(weight, 9)
    incoming = weights(seed=1)
    planes(weight).backward(incoming)
    scale = weight.abs().max()
    for bit in range(8):
        expected = 2**bit * scale / 255 * incoming
        torch.testing.assert_close(planes.positive.grad[bit], expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(planes.negative.grad[bit], -expected, rtol=1e-12, atol=0)
    codes = planes.codes(weight) / 255
    assert float(planes.scale.grad) == pytest.approx(float((codes * incoming).sum()))


def test_gradients_pass_through_the_clip():
    sums = torch.tensor([300.0, -20.0], requires_grad=True)
    found = scaled_planes(sums, torch.tensor(2.0), 8)
    assert float(found[0].detach()) == 2
    found.sum().backward()
    assert sums.grad.tolist() == pytest.approx([2 / 255] * 2)


def noisy(planes):
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for plane in (planes.positive, planes.negative):
            plane += 0.4 * torch.rand(plane.shape, generator=generator, dtype=plane.dtype)
        planes.project()


def without_lowest(planes):
    with torch.no_grad():
        planes.positive[0] = 0
        planes.negative[0] = 0
        # An odd code elsewhere keeps the next plane.
        planes.positive[1, 0, 0], planes.negative[1, 0, 0] = 1, 0


def without_highest(planes):
    with torch.no_grad():
        planes.positive[6:] = 0
        planes.negative[6:] = 0


@pytest.mark.parametrize(
    ("change", "left"), [(noisy, 8), (without_lowest, 7), (without_highest, 6)]
)
def test_adjusting_precision_leaves_the_weights_unchanged(change, left):
    weight = weights()
    planes = BitPlanes(weight, 9)
    change(planes)
    before = planes(weight).detach()
    step = float(planes.step_at(planes.bits, weight))
    planes.adjust()
    after = planes(weight).detach()
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-12)
    assert planes.planes == left
    if change is without_lowest:
        assert float(planes.step_at(planes.bits, weight)) == pytest.approx(2 * step)
    if change is without_highest:
        assert float(planes.step_at(planes.bits, weight)) == pytest.approx(step)
    values = torch.cat([planes.positive.detach(), planes.negative.detach()]).unique()
    assert set(values.tolist()) <= {0, 1}


def test_projecting_keeps_planes_between_zero_and_two_and_the_scale_above_zero():
    planes = BitPlanes(weights(), 4)
    with torch.no_grad():
        planes.positive.copy_(
            torch.linspace(-1, 3, planes.positive.numel()).view_as(planes.positive)
        )
        planes.negative.copy_(planes.positive)
        planes.scale.fill_(-1.0)
    planes.project()
    for found in (planes.positive, planes.negative):
        assert (float(found.detach().min()), float(found.detach().max())) == (0, 2)
    assert float(planes.scale.detach()) > 0


def test_growing_takes_the_unclipped_sums_and_clipping_does_not():
    # Four planes reach 15; a sum of 22 overflows.
    sums, scale = torch.tensor([22.0, 3.0, -9.0]), torch.tensor(1.5)
    clipped = requantise(sums, scale, 4, most=8)
    assert (clipped.planes, clipped.integers.tolist()) == (4, [15, 3, -9])
    grown = requantise(sums, scale, 4, most=8, grow=True)
    assert (grown.planes, grown.integers.tolist()) == (5, [22, 3, -9])
    # The step stays: 1.5/15 = 0.1.
    assert float(grown.scale) / 31 == pytest.approx(0.1)
    assert requantise(sums, scale, 4, most=4, grow=True).integers.tolist() == [15, 3, -9]
    overflowing = scaled_planes(sums, scale, 4)
    assert float(overflowing[0]) == pytest.approx(1.5)


def test_a_layer_of_zeros_keeps_one_plane():
    found = requantise(torch.zeros(4), torch.tensor(1.0), 7, most=7)
    assert found.planes == 1
    assert float(found.scale) > 0


def test_group_lasso_is_a_sum_of_norms_and_pulls_planes_evenly():
    positive = torch.tensor([[3.0, 0.0], [0.0, 0.0], [5.0, 5.0]], requires_grad=True)
    negative = torch.tensor([[0.0, 4.0], [0.0, 0.0], [5.0, 5.0]], requires_grad=True)
    found = group_lasso(positive, negative, 2)
    assert float(found.detach()) == pytest.approx(5 + 1e-4, rel=1e-6)
    found.backward()
    assert positive.grad[0].tolist() == pytest.approx([0.6, 0])
    assert negative.grad[0].tolist() == pytest.approx([0, 0.8])
    # A plane that was dropped takes no part.
    assert positive.grad[2].tolist() == [0, 0]


def test_a_saved_state_brings_the_width_back():
    weight = weights()
    planes = BitPlanes(weight, 8)
    without_highest(planes)
    planes.adjust()
    again = BitPlanes(weight, 8)
    again.load_state_dict(planes.state_dict())
    assert again.bits == planes.bits == 7
    assert torch.equal(again(weight), planes(weight))


def test_another_width_splits_the_weights_anew():
    weight = weights()
    planes = BitPlanes(weight, 8)
    planes.set_bits(4)
    assert planes.planes == 3
    torch.testing.assert_close(
        planes(weight).detach(), symmetric(symmetric(weight, 7), 3), rtol=1e-9, atol=1e-12
    )


def planar(network, example, bits=8):
    def pair(site):
        precision = site.precision
        activation = PactQuantizer(precision.activation_bits, signed=site.signed_input)
        return BitPlanes(site.weight, precision.weight_bits), activation

    workload = extract(network, example)
    start = {layer.name: Precision(bits, 8) for layer in workload.multiply_layers}
    return insert_quantizers(network, workload, start, pair)


@pytest.mark.parametrize("spare", [0, 2])
def test_collapsing_keeps_the_function_where_bits_suffice(spare):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    example = torch.randn(4, 8)
    quantised = planar(network, example, bits=6)
    expected = network(example).detach()
    names = quantised.assignment
    found = collapse(quantised, {name: Precision(6 + spare, 8) for name in names})
    torch.testing.assert_close(network(example), expected, rtol=1e-5, atol=1e-6)
    assert {precision.weight_bits for precision in found.assignment.values()} == {6 + spare}
    assert not [name for name, _ in network.named_parameters() if "positive" in name]


def test_a_trimmed_layer_does_not_round_to_zero():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 32))
    example = torch.randn(4, 64)
    quantised = planar(network, example)
    found = collapse(quantised, dict.fromkeys(quantised.assignment, Precision(2, 8)))
    network(example)
    (layer,) = found.layers.values()
    codes = layer.codes()
    assert codes.unique().numel() <= 4
    assert float((codes == 0).float().mean()) < 0.6
