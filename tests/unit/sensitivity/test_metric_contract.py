"""What every registered metric obeys."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq import registry
from hwmpq.data.base import Data, TensorPart
from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.symmetric import SymmetricQuantizer
from hwmpq.workload.from_torch import extract

COLUMNS = precisions([2, 4, 8], [2, 4, 8])
METRICS = tuple(registry.entries("metric"))
DATA_FREE = {"weight_mse"}
PROBING = {"fisher", "hessian_trace", "output_sqnr", "weight_mse"}


def metric(name, **settings):
    """A metric with as little work as its settings allow."""
    found = registry.resolve("metric", name)
    small = {"batches": 2, "batch_size": 8, "samples": 16, "most_probes": 4, **settings}
    known = {field.name for field in fields(found)}
    return replace(found, **{key: value for key, value in small.items() if key in known})


class Net(nn.Module):
    """Batch norm, an operator in place, dropout, a residual and two readers of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.main = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.side = nn.Conv2d(4, 4, 1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.bn(self.conv(x)))
        x = self.relu(self.main(x) + self.side(x))
        return self.fc(self.dropout(x.mean(dim=(2, 3))))


def part(seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(24, 1, 5, 5, generator=generator) + shift
    return TensorPart(inputs, torch.arange(24) % 3)


@pytest.fixture
def data():
    return Data("made", part(0), part(1, 100.0), part(2, 1000.0), "")


@pytest.fixture
def model():
    torch.manual_seed(0)
    found = Net()
    for _ in range(3):
        found(torch.randn(8, 1, 5, 5))
    return found.train()


@pytest.fixture(scope="module")
def workload():
    return extract(Net(), torch.zeros(1, 1, 5, 5))


@pytest.mark.parametrize("name", METRICS)
def test_every_layer_and_precision_gets_a_number(name, model, workload, data):
    table = metric(name).measure(model, workload, data, COLUMNS)
    assert table.metric == name
    assert table.layers == tuple(layer.name for layer in workload.multiply_layers)
    assert table.precisions == COLUMNS
    assert np.all(np.isfinite(table.values))
    assert np.all(table.values >= 0)
    worst, best = table.values[:, 0], table.values[:, -1]
    assert np.all(worst > best)


@pytest.mark.parametrize("name", METRICS)
def test_network_and_random_state_stay_as_they_were(name, model, workload, data):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = {key: module.training for key, module in model.named_modules()}
    wanted = {key: p.requires_grad for key, p in model.named_parameters()}
    random = torch.get_rng_state()
    metric(name).measure(model, workload, data, COLUMNS)
    assert torch.equal(random, torch.get_rng_state())
    assert modes == {key: module.training for key, module in model.named_modules()}
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert wanted == {key: p.requires_grad for key, p in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("name", METRICS)
def test_a_seed_repeats_whatever_the_random_state(name, model, workload, data):
    tables = []
    for state in (1, 2):
        torch.manual_seed(state)
        tables.append(metric(name, seed=3).measure(model, workload, data, COLUMNS))
    np.testing.assert_array_equal(tables[0].values, tables[1].values)
    if name not in DATA_FREE:
        other = metric(name, seed=4).measure(model, workload, data, COLUMNS)
        assert np.any(other.values != tables[0].values)


class Closed:
    """A part that must not be opened."""

    def __len__(self):
        return 24

    def batches(self, *_, **__):
        raise AssertionError


@pytest.mark.parametrize("name", METRICS)
def test_only_training_samples_are_looked_at(name, model, workload, data):
    closed = Data("closed", data.train, Closed(), Closed(), "")
    found = metric(name).measure(model, workload, closed, COLUMNS)
    open_data = metric(name).measure(model, workload, data, COLUMNS)
    np.testing.assert_array_equal(found.values, open_data.values)


@pytest.mark.parametrize("name", sorted(set(METRICS) - DATA_FREE))
def test_no_data_are_refused(name, model, workload):
    with pytest.raises(TrainingError, match="at least one batch"):
        metric(name).measure(model, workload, [], COLUMNS)


@pytest.mark.parametrize("name", sorted({*PROBING, "step_size"} - DATA_FREE))
def test_weights_that_give_no_number_are_refused(name, model, workload, data):
    with torch.no_grad():
        model.fc.bias[0] = float("nan")
    with pytest.raises(TrainingError, match="nan"):
        metric(name).measure(model, workload, data, COLUMNS)


@pytest.mark.parametrize("name", METRICS)
def test_a_network_with_quantisers_is_refused(name, model, workload, data):
    insert_quantizers(
        model,
        workload,
        {layer.name: Precision(8, 8) for layer in workload.multiply_layers},
        lambda site: (SymmetricQuantizer(8), PactQuantizer(8, signed=site.signed_input)),
    )
    with pytest.raises(UnsupportedError, match="already has quantisers"):
        metric(name).measure(model, workload, data, COLUMNS)


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        y = self.fc(x)
        return y @ y.transpose(-1, -2)


@pytest.mark.parametrize("name", sorted(PROBING))
def test_a_layer_without_a_module_is_named(name):
    model, x = Product(), torch.randn(2, 4, 3)
    workload = extract(model, x[:1])
    with pytest.raises(UnsupportedError, match=r"matmul.*is no module with a weight"):
        metric(name).measure(model, workload, [(x, torch.tensor([0, 1]))], COLUMNS)


class Bypassed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        if torch.compiler.is_exporting():
            return self.fc(x)
        return nn.functional.linear(x, self.fc.weight, self.fc.bias)


@pytest.mark.parametrize("name", sorted(PROBING - DATA_FREE))
def test_a_module_that_is_never_called_is_named(name):
    model, x = Bypassed(), torch.randn(2, 3)
    workload = extract(model, x[:1])
    with pytest.raises(UnsupportedError, match="never calls layer 'fc'"):
        metric(name).measure(model, workload, [(x, torch.tensor([0, 1]))], COLUMNS)


class Attention(nn.Module):
    """Fused attention, whose fast kernels have no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.qkv(x)[:, None].chunk(3, dim=-1)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.squeeze(1).mean(dim=1))


@pytest.mark.parametrize("name", sorted(PROBING))
def test_attention_is_measured_where_its_products_are_exempted(name):
    torch.manual_seed(0)
    model, x = Attention(), torch.randn(4, 5, 8)
    whole = extract(model, x[:1])
    products = [layer.name for layer in whole.multiply_layers if layer.op == "matmul"]
    workload = extract(model, x[:1], exempt=products)
    table = metric(name).measure(model, workload, [(x, torch.arange(4) % 3)], COLUMNS)
    assert set(table.layers) == {"qkv", "out"}
    assert np.all(table.values[:, 0] > 0)


class Listener:
    def __init__(self) -> None:
        self.totals, self.steps = {}, {}

    def start(self, phase, total, *_):
        self.totals[phase] = total

    def advance(self, phase, *_):
        self.steps[phase] = self.steps.get(phase, 0) + 1


@pytest.mark.parametrize("name", ["fisher", "hessian_trace", "output_sqnr", "step_size"])
def test_progress_is_told_step_by_step(name, model, workload, data):
    listener = Listener()
    metric(name, progress=listener).measure(model, workload, data, COLUMNS)
    assert listener.totals
    assert listener.steps == listener.totals
