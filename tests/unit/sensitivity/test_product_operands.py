"""Both operands of a product of two activations, against formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.sensitivity.fisher import Fisher
from hwmpq.sensitivity.hessian_trace import HessianTrace
from hwmpq.sensitivity.noise import quantised_activation
from hwmpq.sensitivity.output_sqnr import OutputSqnr
from hwmpq.sensitivity.weight_mse import WeightMse, uniform_noise
from hwmpq.workload.from_torch import extract

WEIGHTS_ONLY, ACTIVATIONS_ONLY = Precision(2, 24), Precision(24, 2)
LABELS = torch.arange(6) % 3


class Product(nn.Module):
    """Logits are the sums over tokens of ``relu(x) @ turned(x)``, nothing else is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(0.1))

    def left(self, x):
        return torch.relu(x)

    def right(self, x):
        return (x + self.shift).transpose(1, 2)

    def logits(self, left, right):
        return (left @ right).sum(dim=1)

    def forward(self, x):
        return self.logits(self.left(x), self.right(x))


@pytest.fixture
def inputs():
    return torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def operands(inputs):
    model = Product()
    return model.left(inputs), model.right(inputs)


def rounded(values, *, signed):
    return quantised_activation(values, 2, float(values.abs().amax()), signed=signed)


def measured(metric, inputs):
    model = Product()
    workload = extract(model, inputs[:1])
    columns = [WEIGHTS_ONLY, ACTIVATIONS_ONLY]
    table = metric.measure(model, workload, [(inputs, LABELS)], columns)
    assert table.layers == ("matmul",)
    return table.values[0]


def test_output_noise_is_that_of_the_operand_alone(inputs, operands):
    left, right = operands
    exact = Product().logits(left, right)
    noisy = [
        Product().logits(left, rounded(right, signed=True)),
        Product().logits(rounded(left, signed=False), right),
    ]
    expected = [float((n - exact).square().sum() / exact.square().sum()) for n in noisy]
    np.testing.assert_allclose(measured(OutputSqnr(), inputs), expected, rtol=1e-4)


def per_sample(left, right):
    """Single samples with a batch dimension of one."""
    return [(a[None], b[None], y[None]) for a, b, y in zip(left, right, LABELS, strict=True)]


def test_fisher_weighs_each_element_by_its_samples_gradient(inputs, operands):
    expected = np.zeros(2)
    near = rounded(operands[1], signed=True), rounded(operands[0], signed=False)
    for index, (left, right, label) in enumerate(per_sample(*operands)):
        left, right = left.requires_grad_(), right.requires_grad_()
        loss = nn.functional.cross_entropy(Product().logits(left, right), label)
        by_left, by_right = torch.autograd.grad(loss, [left, right])
        expected += [
            float((by_right * (near[0][index] - right)).square().sum().detach()),
            float((by_left * (near[1][index] - left)).square().sum().detach()),
        ]
    np.testing.assert_allclose(measured(Fisher(), inputs), expected / 6, rtol=1e-4)


def test_hessian_is_that_of_one_samples_loss_by_the_operand(inputs, operands):
    traces = np.zeros(2)
    for left, right, label in per_sample(*operands):

        def by_right(values, left=left, label=label):
            return nn.functional.cross_entropy(Product().logits(left, values), label)

        def by_left(values, right=right, label=label):
            return nn.functional.cross_entropy(Product().logits(values, right), label)

        for row, (law, values) in enumerate(((by_right, right), (by_left, left))):
            hessian = torch.autograd.functional.hessian(law, values)
            traces[row] += float(hessian.reshape(12, 12).trace()) / 6
    errors = [
        float((rounded(operands[1], signed=True) - operands[1]).square().sum()) / 6,
        float((rounded(operands[0], signed=False) - operands[0]).square().sum()) / 6,
    ]
    found = measured(HessianTrace(tolerance=0.0, most_probes=400), inputs)
    np.testing.assert_allclose(found, traces / 12 * errors, rtol=0.05)


def test_a_product_keeps_its_weights_part_when_activations_are_left_out(inputs):
    for kind in (HessianTrace, Fisher, OutputSqnr, WeightMse):
        alone = measured(kind(activation_weight=0.0), inputs)
        assert alone[0] > 0, kind
        assert alone[0] > 100 * alone[1], kind


def test_without_data_both_operands_are_uniform(inputs):
    expected = uniform_noise(2, signed=True), uniform_noise(2, signed=False)
    assert measured(WeightMse(), inputs) == pytest.approx(expected, rel=1e-4)
    assert math.isclose(expected[0], 1 / 4)
    with pytest.raises(UnsupportedError, match="'matmul' multiplies two activations"):
        measured(WeightMse(relative=False), inputs)


class Shared(nn.Module):
    """One product on what has two other readers, which must see it in float."""

    def forward(self, x):
        return (x @ x.transpose(1, 2)).sum(dim=1) + x.sum(dim=2)


def test_other_readers_of_an_operand_are_left_out(inputs):
    model = Shared()
    table = OutputSqnr(activation_weight=0.0).measure(
        model, extract(model, inputs[:1]), [(inputs, LABELS)], [Precision(2, 8)]
    )
    near = rounded(inputs, signed=True).transpose(1, 2)
    noise = (inputs @ (near - inputs.transpose(1, 2))).sum(dim=1)
    expected = float(noise.square().sum() / model(inputs).square().sum())
    assert table.values[0, 0] == pytest.approx(expected, rel=1e-4)
