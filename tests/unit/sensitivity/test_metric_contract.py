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


class Everything(nn.Module):
    """Tokens through all that can multiply: every way to reach an operand, once."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.qkv = nn.Linear(8, 24)
        self.mix = nn.Parameter(torch.randn(8, 8) / 3)
        self.twice = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        x = self.table(tokens).transpose(1, 2).unflatten(2, (3, 3))
        x = torch.relu(self.bn(self.conv(x)))
        x = self.depthwise(x).flatten(2).transpose(1, 2)
        x = x + self.attn(x, x, x, need_weights=False)[0]
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, dim=-1)
        x = x + nn.functional.scaled_dot_product_attention(q, k, v).squeeze(1)
        x = x + (x @ x.transpose(1, 2)).softmax(-1) @ x
        x = nn.functional.linear(x, self.mix)
        x = x + self.twice(torch.relu(self.twice(input=x)))
        return self.head(x.mean(dim=1))


PRODUCTS = {"attn.qk", "attn.av", "attention.qk", "attention.av", "matmul", "matmul#2"}
WEIGHTS = {"conv", "depthwise", "attn.in_proj", "attn.out_proj", "qkv", "mix", "head"}
LAYERS = PRODUCTS | WEIGHTS | {"twice", "twice#2"}


@pytest.fixture(scope="module")
def everything():
    torch.manual_seed(0)
    model = Everything()
    tokens = torch.randint(0, 6, (24, 9), generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        model(tokens)
    workload = extract(model, tokens[:1])
    assert {layer.name for layer in workload.multiply_layers} == LAYERS
    return model, workload, [(tokens, torch.arange(24) % 3)]


@pytest.mark.parametrize("name", METRICS)
def test_whatever_multiplies_is_measured(name, everything):
    model, workload, batches = everything
    table = metric(name).measure(model, workload, batches, COLUMNS)
    assert set(table.layers) == LAYERS
    assert np.all(np.isfinite(table.values))
    # Either width alone matters: a product's second operand has the weight bits.
    free = negative(table)
    for layer in LAYERS:
        for narrow in (Precision(2, 8), Precision(8, 2)):
            flat = (("weights", "activations")[narrow.activation_bits == 2], layer)
            if flat in free:
                continue
            assert table.at(layer, narrow) > table.at(layer, Precision(8, 8)), (layer, narrow)
    assert len(free) < 6
    np.testing.assert_allclose(table.row("twice"), table.row("twice#2"))


def negative(table):
    """Operands that a Hessian curving downwards leaves without a score, which the table tells."""
    named = [text for text in table.meta.get("negative_traces", "").split(", ") if text]
    found = {tuple(text.split(" of ", 1)) for text in named}
    uses = {(kind, "twice#2") for kind, layer in found if layer == "twice"}
    return found | uses


class Bypassed(nn.Module):
    """The same network, with its layer called as a module, by keyword, or by a function."""

    def __init__(self, how):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.how = how

    def forward(self, x):
        if self.how == "keyword":
            return self.fc(input=x)
        if self.how == "function":
            return nn.functional.linear(x, self.fc.weight, self.fc.bias)
        if self.how == "operator":
            return x @ self.fc.weight.t() + self.fc.bias
        return x if self.how == "skipped" else self.fc(x)


@pytest.mark.parametrize("how", ["keyword", "function", "operator"])
@pytest.mark.parametrize("name", METRICS)
def test_how_a_weight_is_reached_does_not_matter(name, how):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    tables = []
    for call in ("module", how):
        torch.manual_seed(0)
        model = Bypassed(call)
        measured = metric(name).measure(
            model, extract(model, x[:1]), [(x, torch.arange(8) % 3)], COLUMNS
        )
        assert measured.layers == ("fc",)
        tables.append(measured.values)
    np.testing.assert_allclose(*tables, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(PROBING - DATA_FREE))
def test_a_layer_that_never_runs_is_named(name):
    x = torch.randn(2, 3)
    workload = extract(Bypassed("module"), x[:1])
    with pytest.raises(UnsupportedError, match="never runs layer 'fc'"):
        metric(name).measure(Bypassed("skipped"), workload, [(x, torch.tensor([0, 1]))], COLUMNS)


@pytest.mark.parametrize("name", METRICS)
def test_exempt_products_are_left_out(name, everything):
    model, _, batches = everything
    workload = extract(model, batches[0][0][:1], exempt=sorted(PRODUCTS - {"matmul"}))
    table = metric(name).measure(model, workload, batches, COLUMNS)
    assert set(table.layers) == LAYERS - PRODUCTS | {"matmul"}


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
