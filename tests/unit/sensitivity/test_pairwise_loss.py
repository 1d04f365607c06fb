from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.interaction import pairwise
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.symmetric import SymmetricQuantizer
from hwmpq.sensitivity.interaction import PairwiseLoss
from hwmpq.workload.from_torch import extract

COLUMNS = precisions([2, 4], [2, 4])


class Net(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(depth)])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def network(depth):
    torch.manual_seed(1)
    return Net(depth)


@pytest.fixture
def batch():
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(2)), torch.arange(20) % 6


def true_loss(model, workload, batch, assignment):
    """Loss with inserted quantisers, which start on the grids that the metric uses."""
    quantised = insert_quantizers(
        model,
        workload,
        assignment,
        lambda site: (
            SymmetricQuantizer(site.precision.weight_bits),
            PactQuantizer(site.precision.activation_bits, signed=site.signed_input),
        ),
    )
    with torch.no_grad():
        # Clipping levels start at what the layers of the float network read.
        float_inputs(network(len(model.layers)), quantised, batch)
        return float(nn.functional.cross_entropy(model(batch[0]), batch[1]))


def float_inputs(model, quantised, batch):
    x = batch[0]
    for index, layer in enumerate(model.layers):
        quantised.layers[f"layers.{index}"].activation(x)
        x = torch.relu(layer(x))


def measured(depth, batch, **settings):
    model = network(depth)
    workload = extract(model, batch[0][:1])
    return PairwiseLoss(**settings).measure(model, workload, [batch], COLUMNS), workload


def test_two_layers_are_predicted_exactly(batch):
    found, workload = measured(2, batch)
    names = [layer.name for layer in workload.multiply_layers]
    exact = float(found.single.meta["loss"])
    seen = []
    for columns in itertools.product(range(len(COLUMNS)), repeat=2):
        chosen = dict(zip(names, columns, strict=True))
        assignment = {name: COLUMNS[column] for name, column in chosen.items()}
        loss = true_loss(network(2), workload, batch, assignment)
        assert exact + found.predict(chosen) == pytest.approx(loss, abs=1e-6)
        seen.append(loss)
    assert max(seen) - min(seen) > 1e-2
    (term,) = found.pairs.values()
    assert np.abs(term).max() > 1e-3


def test_all_pairs_or_those_within_reach(batch):
    every, _ = measured(4, batch)
    assert len(every.pairs) == 6
    near, _ = measured(4, batch, reach=1)
    assert list(near.pairs) == [(f"layers.{i}", f"layers.{i + 1}") for i in range(3)]
    for pair, values in near.pairs.items():
        np.testing.assert_array_equal(values, every.pairs[pair])
    np.testing.assert_array_equal(near.single.values, every.single.values)


def test_reach_must_be_positive(batch):
    with pytest.raises(UnsupportedError, match="reach must be at least 1"):
        measured(2, batch, reach=0)


def test_terms_are_minimised_by_the_allocator(batch):
    found, _ = measured(3, batch)
    table = found.single
    bits = np.array([[p.weight_bits for p in COLUMNS]] * 3)
    problem = AllocationProblem(
        layers=table.layers,
        precisions=COLUMNS,
        sensitivity=table.values,
        allowed=np.ones_like(bits, dtype=bool),
        resources=(Resource(name="bits", costs=bits, constant=0, limit=8, unit="bit"),),
        interactions=pairwise(table.layers, found.pairs),
    )
    answer = ILP().solve(problem)
    best = min(
        found.predict(dict(zip(table.layers, columns, strict=True)))
        for columns in itertools.product(range(len(COLUMNS)), repeat=3)
        if sum(COLUMNS[column].weight_bits for column in columns) <= 8
    )
    assert answer.objective == pytest.approx(best, abs=1e-6)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.head = nn.Linear(6, 6)

    def forward(self, x):
        return self.head(self.fc(torch.relu(self.fc(x))))


def test_uses_of_one_module_share_its_increase(batch):
    torch.manual_seed(0)
    model = Twice()
    workload = extract(model, batch[0][:1])
    found = PairwiseLoss().measure(model, workload, [batch], [Precision(2, 2)])
    assert found.single.layers == ("fc", "fc#2", "head")
    assert found.single.values[0, 0] == found.single.values[1, 0]
    assert list(found.pairs) == [("fc", "head")]
    loss = true_twice(batch, {"fc": 2, "fc#2": 2, "head": 2})
    exact = float(found.single.meta["loss"])
    everything = dict.fromkeys(found.single.layers, 0)
    assert exact + found.predict(everything) == pytest.approx(loss, abs=1e-6)


def true_twice(batch, bits):
    torch.manual_seed(0)
    model = Twice()
    with torch.no_grad():
        reads = [batch[0], torch.relu(model.fc(batch[0]))]
        top = max(float(read.abs().amax()) for read in reads)
        head_top = float(model.fc(reads[1]).abs().amax())
    workload = extract(model, batch[0][:1])
    quantised = insert_quantizers(
        model,
        workload,
        {name: Precision(b, b) for name, b in bits.items()},
        lambda _: (SymmetricQuantizer(2), PactQuantizer(2, signed=True)),
    )
    with torch.no_grad():
        quantised.layers["fc"].activation.clip.fill_(top)
        quantised.layers["head"].activation.clip.fill_(head_top)
        return float(nn.functional.cross_entropy(model(batch[0]), batch[1]))
