"""Two branches of attention, of which only one matters: products get bits where they count.

logits = A(x) + eps * B(x), as in ``test_planted_sensitivity.py``, with attention in both branches.
A product's second operand has the weight bits, so that one budget of bit operations is shared
between stored weights and operands.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwmpq import registry
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.run import allocate
from hwmpq.codesign.train import cross_entropy_step, evaluate
from hwmpq.cost.table import cost_table
from hwmpq.data.base import load_data
from hwmpq.precision import Precision
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.workload.from_torch import extract

pytestmark = pytest.mark.slow
LOW, HIGH = Precision(2, 8), Precision(4, 8)
EPS = 0.05
BLIND = {"weight_mse"}
"""What looks at no data cannot know what a layer is for."""


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 96)
        self.out = nn.Linear(256, 10)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, 2, 16)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(1))


class Planted(nn.Module):
    """Rows of an image are tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.a = Branch()
        self.b = Branch()
        self.place = nn.Parameter(torch.randn(8, 8) / 4)

    def forward(self, x):
        x = x.squeeze(1) + self.place
        return self.a(x) + EPS * self.b(x)


def train(model, data, epochs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.train()
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(epoch)
        for batch in data.train.batches(64, generator=generator):
            optimizer.zero_grad()
            cross_entropy_step(model, batch).backward()
            optimizer.step()


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module", params=[0, 1])
def trained(request, digits):
    torch.manual_seed(request.param)
    model = Planted()
    train(model, digits, 15)
    return model


def policy(right):
    good, bad = (HIGH, LOW) if right else (LOW, HIGH)
    return {
        f"{branch}.{layer}": bits
        for branch, bits in (("a", good), ("b", bad))
        for layer in ("qkv", "qk", "av", "out")
    }


@pytest.mark.parametrize("name", registry.entries("metric"))
def test_products_and_projections_of_the_right_branch_get_the_bits(trained, digits, name):
    workload = extract(trained, digits.example)
    costs = cost_table(workload, load_accelerator("bitfusion-edge"), (LOW, HIGH))
    scores = registry.resolve("metric", name).measure(trained, workload, digits, (LOW, HIGH))
    # All of one branch at four bits and of the other at two spends this exactly.
    found = allocate(costs, scores, Budget(bops="0.75x"), reference=HIGH).assignment
    assert set(found) == set(policy(right=True))
    if name not in BLIND:
        assert found == policy(right=True)


def test_the_right_branch_is_worth_more_than_ten_points_of_accuracy(trained, digits):
    accuracy = {}
    for right in (True, False):
        torch.manual_seed(0)
        model = Planted()
        model.load_state_dict(trained.state_dict())
        workload = extract(model, digits.example)
        insert_quantizers(model, workload, policy(right), symmetric_and_clip())
        train(model, digits, 2)
        accuracy[right] = evaluate(model, digits.test, batch_size=256, device="cpu")
    assert accuracy[True] > 0.9
    assert accuracy[True] - accuracy[False] > 0.1
