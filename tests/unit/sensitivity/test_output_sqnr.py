from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.errors import TrainingError
from hwmpq.precision import Precision
from hwmpq.sensitivity.noise import quantised_weight
from hwmpq.sensitivity.output_sqnr import OutputSqnr
from hwmpq.workload.from_torch import extract


class Chain(nn.Module):
    """Two linear layers of 2 x 2 with known weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 0.4], [0.0, 1.0]]))
            self.second.weight.copy_(torch.tensor([[1.0, 0.0], [0.3, 1.0]]))

    def forward(self, x):
        return self.second(self.first(x))


X = torch.tensor([[1.0, 0.0], [0.25, 1.0]])
LABELS = torch.tensor([0, 1])
COLUMNS = (Precision(2, 32), Precision(32, 2))


def table(data, **settings):
    model = Chain()
    return OutputSqnr(**settings).measure(model, extract(model, X[:1]), data, COLUMNS)


def test_noise_over_signal_by_hand():
    found = table([(X, LABELS)])
    first = np.array([[1, 0.4], [0, 1]])
    second = np.array([[1, 0], [0.3, 1]])
    x = X.numpy()
    signal = np.sum((x @ first.T @ second.T) ** 2)
    rounded_first = np.array([[1, 0], [0, 1]])
    rounded_second = np.array([[1, 0], [0, 1]])
    weights = [
        np.sum((x @ (rounded_first - first).T @ second.T) ** 2),
        np.sum((x @ first.T @ (rounded_second - second).T) ** 2),
    ]
    # Inputs of the first layer: largest magnitude 1, so 0.25 becomes 0. Those of the second are
    # (1, 0) and (0.65, 1): 0.65 becomes 1.
    error_first = np.array([[0, 0], [-0.25, 0]]) @ first.T @ second.T
    error_second = np.array([[0, 0], [0.35, 0]]) @ second.T
    activations = [np.sum(error_first**2), np.sum(error_second**2)]
    expected = np.array([weights, activations]).T / signal
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)


def test_ratio_is_of_sums_over_all_batches():
    split = table([(X[:1], LABELS[:1]), (X[1:], LABELS[1:])])
    np.testing.assert_allclose(split.values, table([(X, LABELS)]).values, rtol=1e-6)


def test_output_scale_does_not_matter():
    scaled = table([(7 * X, LABELS)])
    np.testing.assert_allclose(scaled.values, table([(X, LABELS)]).values, rtol=1e-5)


def test_activations_can_be_left_out():
    values = table([(X, LABELS)], activation_weight=0.0).values
    assert np.all(values[:, 0] > 0)
    np.testing.assert_allclose(values[:, 1], 0, atol=1e-12)


class Shared(nn.Module):
    """A table that is the head's weight too: stored once, so both ends read it rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x).mean(dim=1))


def test_a_weight_that_a_table_shares_is_quantised_for_both():
    torch.manual_seed(0)
    model, words = Shared(), torch.tensor([[0, 1], [2, 3]])
    workload = extract(model, words[:1])
    found = OutputSqnr(activation_weight=0).measure(
        model, workload, [(words, LABELS)], [Precision(3, 8)]
    )
    with torch.no_grad():
        near = quantised_weight(model.head.weight, 3)
        exact = model(words)
        noisy = near[words].mean(dim=1) @ near.T
        expected = (noisy - exact).square().sum() / exact.square().sum()
    assert found.values[0, 0] == pytest.approx(float(expected), rel=1e-5)


def test_an_output_of_zeros_is_refused():
    with pytest.raises(TrainingError, match="answers zero"):
        table([(torch.zeros(2, 2), LABELS)])
