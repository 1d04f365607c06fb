from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.sensitivity.noise import quantised_weight
from hwmpq.sensitivity.weight_mse import WeightMse, uniform_noise
from hwmpq.workload.from_torch import extract

WEIGHT = [[1.0, 0.4], [0.05, -0.1]]


def linear(weight=WEIGHT):
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(weight))
    return model, extract(model, torch.zeros(1, 2))


def measured(metric, bits, weight=WEIGHT):
    model, workload = linear(weight)
    return metric.measure(model, workload, None, [Precision(bits, 8)]).values[0, 0]


def test_error_of_a_whole_tensor_by_hand():
    # Two bits: codes -1..1 with a step of 1, so all but the 1 is rounded to 0.
    squares = 0.4**2 + 0.05**2 + 0.1**2
    found = measured(WeightMse(relative=False), 2)
    assert found == pytest.approx(squares / 4, rel=1e-6)
    relative = measured(WeightMse(activation_weight=0), 2)
    assert relative == pytest.approx(squares / (1 + squares), rel=1e-6)


def test_error_with_a_step_a_channel_by_hand():
    # The second row has a step of 0.1 of its own: 0.05 is a tie that rounds to the even code 0.
    found = measured(WeightMse(relative=False, granularity="channel"), 2)
    assert found == pytest.approx((0.4**2 + 0.05**2) / 4, rel=1e-6)


def test_channel_steps_of_convolutions_are_those_of_output_channels():
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    found = quantised_weight(weight, 4, "channel")
    for row, channel in zip(found, weight, strict=True):
        np.testing.assert_allclose(row, quantised_weight(channel, 4), rtol=1e-6)


def test_relative_error_does_not_depend_on_scale():
    scaled = (100 * np.array(WEIGHT)).tolist()
    assert measured(WeightMse(), 3, scaled) == pytest.approx(measured(WeightMse(), 3), rel=1e-5)
    raw = WeightMse(relative=False)
    assert measured(raw, 3, scaled) == pytest.approx(1e4 * measured(raw, 3), rel=1e-5)


def test_a_weight_of_zeros_has_no_error():
    assert measured(WeightMse(activation_weight=0), 2, [[0.0, 0.0], [0.0, 0.0]]) == 0


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [4, 6])
def test_uniform_noise_is_that_of_a_uniform_tensor(bits, signed):
    codes = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    values = np.linspace(-1 if signed else 0, 1, 200_001)
    rounded = np.round(values * codes) / codes
    expected = np.mean((rounded - values) ** 2) / np.mean(values**2)
    assert uniform_noise(bits, signed=signed) == pytest.approx(expected, rel=1e-3)


class Signs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.signed = nn.Linear(2, 2)
        self.unsigned = nn.Linear(2, 2)

    def forward(self, x):
        return self.unsigned(torch.relu(self.signed(x)))


def test_activations_get_the_noise_of_their_sign():
    model = Signs()
    workload = extract(model, torch.zeros(1, 2))
    table = WeightMse().measure(model, workload, None, precisions([16], [4, 16]))
    for name, last_code in (("signed", 7), ("unsigned", 15)):
        low, high = table.row(name)
        assert low - high == pytest.approx(1 / (4 * last_code**2), rel=1e-4)


def test_a_width_without_a_grid_is_refused():
    model, workload = linear()
    with pytest.raises(UnsupportedError, match="at least 2 bits"):
        WeightMse().measure(model, workload, None, [Precision(1, 8)])


def test_a_weight_that_is_no_number_is_refused():
    model, workload = linear()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="weight error of layer '0' is nan"):
        WeightMse().measure(model, workload, None, [Precision(2, 8)])
