from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.precision import Precision, precisions
from hwmpq.quant.switchable_norm import SwitchableBatchNorm, switch_norms
from hwmpq.sensitivity.joint_steps import (
    JointSteps,
    StepOptions,
    table_from_steps,
    without_outliers,
)
from hwmpq.sensitivity.step_size import StepSize
from hwmpq.workload.from_torch import extract

CANDIDATES = precisions([2, 4], [2, 4, 8])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8, bias=False)
        self.bn = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 8)
        self.third = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.bn(self.first(x)))
        return self.third(torch.relu(self.second(x)))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(16, 6, generator=generator), torch.arange(16) % 3


@pytest.fixture
def joint(batch):
    torch.manual_seed(0)
    model = Net()
    workload = extract(model, batch[0][:1])
    found = JointSteps(model, workload, CANDIDATES, {"first": Precision(8, 8)}, seed=0)
    found.start_steps(batch)
    return found


def passes(joint, batch, steps=1):
    model = joint.model.module.train()
    seen = []
    for _ in range(steps):
        model.zero_grad()
        for _ in joint.passes():
            seen.append([layer.precision for layer in joint.searched.values()])
            nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    return seen


def test_every_width_is_visited_from_the_widest_and_then_random_ones(joint, batch):
    seen = passes(joint, batch)
    assert len(seen) == joint.levels + 1 == 4
    assert seen[0] == [Precision(4, 8)] * 2
    assert seen[1] == [Precision(2, 4)] * 2
    assert seen[2] == [Precision(2, 2)] * 2


def test_random_widths_are_independent_and_repeat_with_seed_and_epoch(joint, batch):
    joint.begin_epoch()
    last = [passes(joint, batch)[-1] for _ in range(20)]
    assert any(a != b for a, b in last)
    joint.epoch = 0
    joint.begin_epoch()
    assert [passes(joint, batch)[-1] for _ in range(20)] == last


def test_all_passes_contribute_gradient_to_their_own_steps(joint, batch):
    passes(joint, batch)
    for layer in joint.searched.values():
        for bits in joint.weight_bits:
            gradient = layer.weight.learned(bits).grad
            assert gradient is not None
            assert gradient.abs().item() > 0
        for bits in joint.activation_bits:
            assert layer.activation.learned(bits).grad is not None


def test_pinned_layers_stay_in_float(joint, batch):
    assert "first" not in joint.searched
    layer = joint.model.layers["first"]
    assert torch.equal(layer.module.weight, layer.shadow)


def test_steps_rise_as_bits_fall(joint):
    steps = joint.steps()
    for name in joint.searched:
        assert steps[name, "weights", 2] > steps[name, "weights", 4] > 0
        falling = [steps[name, "activations", bits] for bits in (2, 4, 8)]
        assert falling == sorted(falling, reverse=True)


def test_gradients_are_clipped_and_zero_ones_dropped(joint, batch):
    passes(joint, batch)
    first = joint.model.layers["second"].shadow
    first.grad.fill_(7.0)
    joint.model.layers["third"].shadow.grad.zero_()
    joint.clip_gradients()
    assert bool((first.grad == 1).all())
    assert joint.model.layers["third"].shadow.grad is None


def test_state_goes_through(joint, batch):
    joint.begin_epoch()
    passes(joint, batch, steps=2)
    state = joint.state()
    pulls = joint.pulls()
    joint.load_state({name: tensor * 0 for name, tensor in state.items()})
    assert set(joint.pulls().values()) == {0.0}
    joint.load_state(state)
    assert joint.pulls() == pulls
    assert joint.epoch == 1


def test_published_objective_adds_activation_step_and_alpha_times_weight_step(joint, batch):
    options = StepOptions(alpha=3.0, indicator="step")
    table = table_from_steps(joint, CANDIDATES, options)
    steps = joint.steps()
    assert table.layers == ("second", "third")
    expected = steps["second", "activations", 8] + 3 * steps["second", "weights", 2]
    assert table.at("second", Precision(2, 8)) == pytest.approx(expected)


def test_relative_and_gradient_indicators_scale_the_step(joint, batch):
    scales = joint.scales(batch)
    passes(joint, batch, steps=2)
    # Weights grow with training; what they are compared with stays.
    with torch.no_grad():
        joint.model.layers["third"].shadow.mul_(3)
    steps, pulls = joint.steps(), joint.pulls()
    for indicator, factors in (
        ("relative", {key: 1 / scale for key, scale in scales.items()}),
        ("gradient", pulls),
    ):
        options = StepOptions(alpha=2.0, indicator=indicator)
        table = table_from_steps(joint, CANDIDATES, options)
        expected = (
            steps["third", "activations", 2] * factors["third", "activations"]
            + 2 * steps["third", "weights", 4] * factors["third", "weights"]
        )
        assert table.at("third", Precision(4, 2)) == pytest.approx(expected, rel=1e-6)


def test_a_step_below_that_of_the_wider_width_is_kept_from_being_chosen():
    assert without_outliers([4.0, 3.0, 2.0]) == [4.0, 3.0, 2.0]
    assert without_outliers([1.0, 3.0, 2.0]) == [300.0, 3.0, 2.0]


def test_norms_have_a_copy_a_width():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[1].running_mean.fill_(2.0)
    (norm,) = switch_norms(model, (2, 4))
    assert model[1] is norm
    assert isinstance(norm, SwitchableBatchNorm)
    norm.select(4)
    model.train()(torch.randn(8, 4))
    assert torch.equal(norm.copies["2"].running_mean, torch.full((4,), 2.0))
    assert not torch.equal(norm.copies["4"].running_mean, torch.full((4,), 2.0))


def test_metric_leaves_the_network_alone_and_repeats_itself(batch):
    torch.manual_seed(0)
    model = Net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    workload = extract(model, batch[0][:1])
    tables = [StepSize(batches=3).measure(model, workload, [batch], CANDIDATES) for _ in range(2)]
    np.testing.assert_array_equal(tables[0].values, tables[1].values)
    assert tables[0].layers == ("first", "second", "third")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
