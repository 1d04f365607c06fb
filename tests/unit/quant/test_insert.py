from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.quant.insert import freeze, insert_empty, insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.symmetric import SymmetricQuantizer
from hwmpq.workload.from_torch import extract


class Small(nn.Module):
    """A convolution that sees signs, a shared linear layer and a last one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.shared = nn.Linear(16, 16)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x)))
        x = x.flatten(2).mean(1)
        x = torch.relu(self.shared(x))
        x = torch.relu(self.shared(x))
        return self.fc(x)


def quantizers(site):
    bits = site.precision
    return (
        SymmetricQuantizer(bits.weight_bits, narrow_bits=2),
        PactQuantizer(bits.activation_bits, signed=site.signed_input),
    )


@pytest.fixture
def quantised():
    torch.manual_seed(0)
    model = Small()
    workload = extract(model, torch.zeros(1, 1, 4, 4))
    start = {layer.name: Precision(8, 8) for layer in workload.multiply_layers}
    return insert_quantizers(model, workload, start, quantizers)


@pytest.fixture
def images():
    return torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_names_and_shadow_weights_stay(quantised):
    fresh = dict(Small().named_modules())
    assert set(fresh) <= set(dict(quantised.module.named_modules()))
    assert quantised.layers["conv"].shadow.shape == (4, 1, 3, 3)


def test_signs_come_from_the_graph(quantised):
    assert quantised.layers["conv"].activation.signed
    assert not quantised.layers["fc"].activation.signed


def test_a_module_used_twice_is_one_layer_with_two_names(quantised):
    assert quantised.layers["shared"].names == ("shared", "shared#2")
    assert quantised.layer("shared#2") is quantised.layers["shared"]


def test_bits_switch_in_place_and_keep_shadow_weights(quantised, images):
    before = quantised.layers["conv"].shadow.detach().clone()
    wide = quantised.module(images)
    low = dict.fromkeys(quantised.assignment, Precision(2, 2))
    quantised.apply(low)
    narrow = quantised.module(images)
    assert quantised.assignment == low
    assert not torch.allclose(wide, narrow)
    assert torch.equal(quantised.layers["conv"].shadow, before)
    for layer in quantised.layers.values():
        assert layer.codes().unique().numel() <= 4
        assert layer.module.weight.unique().numel() <= 4
    quantised.apply(dict.fromkeys(low, Precision(8, 8)))
    quantised.module.eval()
    quantised.module.train()
    assert torch.allclose(quantised.module(images), wide, atol=1e-6)


def test_contradicting_uses_are_refused(quantised):
    wanted = dict(quantised.assignment) | {"shared#2": Precision(4, 8)}
    with pytest.raises(UnsupportedError, match=r"layer 'shared' needs one precision.*4/8, 8/8"):
        quantised.apply(wanted)


def test_an_unknown_layer_without_entry_is_refused(quantised):
    with pytest.raises(UnsupportedError, match="but the assignment gives none"):
        quantised.apply({})


def test_second_insertion_is_refused(quantised):
    workload = extract(Small(), torch.zeros(1, 1, 4, 4))
    with pytest.raises(UnsupportedError, match="'conv' already has quantisers"):
        insert_quantizers(quantised.module, workload, quantised.assignment, quantizers)


def test_a_copy_is_independent(quantised, images):
    quantised.module(images)
    twin = copy.deepcopy(quantised)
    twin.apply(dict.fromkeys(twin.assignment, Precision(2, 2)))
    assert quantised.layers["fc"].precision == Precision(8, 8)
    quantised.module.eval()
    twin.module.eval()
    assert not torch.allclose(twin.module(images), quantised.module(images))


def test_frozen_network_is_exactly_the_same_and_can_be_loaded_into_an_empty_one(quantised, images):
    quantised.module(images)
    mixed = dict(quantised.assignment) | {"fc": Precision(2, 4), "conv": Precision(4, 8)}
    quantised.apply(mixed)
    quantised.module.eval()
    expected = quantised.module(images)
    frozen = freeze(quantised)
    assert torch.equal(frozen.module(images), expected)
    assert frozen.assignment == mixed
    with pytest.raises(UnsupportedError, match="keeps its bits"):
        frozen.apply(dict.fromkeys(mixed, Precision(3, 3)))

    loaded = insert_empty(Small(), mixed)
    loaded.module.load_state_dict(frozen.module.state_dict())
    loaded.module.eval()
    assert torch.equal(loaded.module(images), expected)
    assert not loaded.layers["fc"].activation.signed
    assert torch.equal(loaded.layers["fc"].codes(), frozen.layers["fc"].codes())


def test_empty_quantisers_need_the_right_network():
    with pytest.raises(UnsupportedError, match="no layer 'head' with a weight"):
        insert_empty(Small(), {"head": Precision(8, 8)})


def test_a_product_takes_no_quantiser_of_stored_tensors():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(x) @ x.transpose(0, 1)

    model = Functional()
    workload = extract(model, torch.zeros(2, 4))
    start = {layer.name: Precision(8, 8) for layer in workload.multiply_layers}
    with pytest.raises(UnsupportedError, match=r"'matmul' is a product .* SymmetricQuantizer"):
        insert_quantizers(model, workload, start, quantizers)


def test_a_weight_that_is_computed_is_refused():
    class Computed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x @ torch.diag(self.scale)

    model = Computed()
    workload = extract(model, torch.zeros(2, 4))
    with pytest.raises(UnsupportedError, match=r"'matmul' .* no module with a weight"):
        insert_quantizers(model, workload, {"matmul": Precision(8, 8)}, quantizers)
