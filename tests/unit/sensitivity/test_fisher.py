from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.precision import Precision, precisions
from hwmpq.sensitivity.fisher import Fisher
from hwmpq.sensitivity.noise import quantised_activation, quantised_weight
from hwmpq.workload.from_torch import extract


class Logistic(nn.Module):
    """Logits ``(w . x, 0)``: gradients of the loss are known in closed form."""

    def __init__(self, weight) -> None:
        super().__init__()
        self.fc = nn.Linear(len(weight), 1, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([weight]))

    def forward(self, x):
        score = self.fc(x)
        return torch.cat([score, torch.zeros_like(score)], dim=1)


def test_table_equals_the_closed_form_of_logistic_regression():
    # dL/dw = -(1 - p) x and dL/dx = -(1 - p) w for class 0, with p = 1 / (1 + exp(-w.x)).
    weight, x = np.array([1.0, 0.4]), np.array([[0.3, -1.0], [1.0, 0.2]])
    model = Logistic(weight.tolist())
    inputs = torch.tensor(x, dtype=torch.float32)
    table = Fisher().measure(
        model,
        extract(model, inputs[:1]),
        [(inputs, torch.tensor([0, 0]))],
        [Precision(2, 32), Precision(32, 2)],
    )
    slope = 1 - 1 / (1 + np.exp(-x @ weight))
    fisher = ((slope[:, None] * x) ** 2).mean(axis=0)
    weights = fisher[1] * 0.4**2  # codes -1..1 at a step of 1: only 0.4 is rounded, to 0
    # Largest magnitude 1: 0.3 and 0.2 are rounded to 0, the ones are exact.
    activations = ((slope * [weight[0], weight[1]]) ** 2 * [0.3**2, 0.2**2]).mean()
    np.testing.assert_allclose(table.values, [[weights, activations]], rtol=1e-5)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.fc = nn.Linear(3 * 4 * 4, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1))


def test_gradients_are_those_of_single_samples_whatever_the_batches():
    torch.manual_seed(0)
    model, inputs, labels = Net(), torch.randn(6, 1, 4, 4), torch.arange(6) % 3
    workload = extract(model, inputs[:1])
    columns = precisions([2, 4], [2, 4])
    whole = Fisher().measure(model, workload, [(inputs, labels)], columns)
    parts = [(inputs[:1], labels[:1]), (inputs[1:], labels[1:])]
    split = Fisher().measure(model, workload, parts, columns)
    np.testing.assert_allclose(whole.values, split.values, rtol=1e-5)

    weights = activations = 0.0
    hidden_top = float(torch.relu(model.conv(inputs)).detach().amax())
    for sample, label in zip(inputs, labels, strict=True):
        hidden = torch.relu(model.conv(sample[None])).flatten(1).detach().requires_grad_()
        loss = nn.functional.cross_entropy(model.fc(hidden), label[None])
        by_weight, by_input = torch.autograd.grad(loss, [model.fc.weight, hidden])
        weight = model.fc.weight.detach()
        rounded = quantised_activation(hidden.detach(), 2, hidden_top, signed=False)
        weights += float((by_weight * (quantised_weight(weight, 4) - weight)).square().sum())
        activations += float((by_input * (rounded - hidden.detach())).square().sum())
    expected = (weights + activations) / 6
    assert whole.at("fc", Precision(4, 2)) == pytest.approx(expected, rel=1e-5)


def test_samples_limit_what_is_looked_at():
    torch.manual_seed(0)
    model, inputs, labels = Net(), torch.randn(6, 1, 4, 4), torch.arange(6) % 3
    workload = extract(model, inputs[:1])
    columns = [Precision(2, 2)]
    limited = Fisher(samples=2).measure(model, workload, [(inputs, labels)], columns)
    first = Fisher().measure(model, workload, [(inputs[:2], labels[:2])], columns)
    np.testing.assert_array_equal(limited.values, first.values)
    assert limited.meta["samples"] == "2"


def test_activations_can_be_left_out():
    torch.manual_seed(0)
    model, inputs, labels = Net(), torch.randn(6, 1, 4, 4), torch.arange(6) % 3
    workload = extract(model, inputs[:1])
    columns = precisions([2], [2, 8])
    values = [
        Fisher(activation_weight=factor).measure(model, workload, [(inputs, labels)], columns)
        for factor in (0.0, 1.0, 3.0)
    ]
    weights, one, three = (table.row("fc") for table in values)
    assert weights[0] == weights[1]
    assert one[0] > one[1] > weights[1]
    np.testing.assert_allclose(three - weights, 3 * (one - weights), rtol=1e-9)
