"""Networks whose sensitive layers are known by construction.

logits = A(x) + eps * B(x) with A and B alike: only A matters. The budget lets one branch have four
bits, so a score that is worth anything gives them to A.
"""

from __future__ import annotations

import itertools
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.run import allocate
from hwmpq.codesign.run import optimize
from hwmpq.codesign.train import Recipe, cross_entropy_step, evaluate
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.data.base import load_data
from hwmpq.methods.bmpq import BMPQ
from hwmpq.precision import Precision
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.symmetric import SymmetricQuantizer
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.bit_gradient import BitGradient
from hwmpq.sensitivity.fisher import Fisher
from hwmpq.sensitivity.hessian_trace import HessianTrace
from hwmpq.sensitivity.joint_steps import StepOptions
from hwmpq.sensitivity.output_sqnr import OutputSqnr
from hwmpq.sensitivity.step_size import StepSize
from hwmpq.workload.from_torch import extract

LOW, HIGH = Precision(2, 8), Precision(4, 8)
BUDGET = Budget(average_weight_bits=3)
SMALL_EPS = 0.05


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 32)
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


class Planted(nn.Module):
    """Two branches with the weights of ``mix``."""

    def __init__(self, eps: float = SMALL_EPS) -> None:
        super().__init__()
        self.a = Branch()
        self.b = Branch()
        self.register_buffer("mix", torch.tensor([1.0, eps]))

    def forward(self, x):
        x = (x.flatten(1) + 1) / 2  # pixels from 0 to 1
        return self.mix[0] * self.a(x) + self.mix[1] * self.b(x)


def train(model, data, epochs):
    """Plain SGD at 0.1, in an order that the epoch's number decides."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(epoch)
        for batch in data.train.batches(64, generator=generator):
            optimizer.zero_grad()
            cross_entropy_step(model, batch).backward()
            optimizer.step()


def quantizers(site):
    bits = site.precision
    return (
        SymmetricQuantizer(bits.weight_bits),
        PactQuantizer(bits.activation_bits, signed=site.signed_input),
    )


def policy(right: bool) -> dict[str, Precision]:
    good, bad = (HIGH, LOW) if right else (LOW, HIGH)
    return {"a.hidden": good, "a.out": good, "b.hidden": bad, "b.out": bad}


def chosen(metric, model, data):
    workload = extract(model, data.example)
    costs = cost_table(workload, load_accelerator("bitfusion-edge"), (LOW, HIGH))
    scores = metric.measure(model, workload, data, (LOW, HIGH))
    return allocate(costs, scores, BUDGET, reference=HIGH).assignment


def rescaled(model: Planted) -> Planted:
    """The same function: branch B's weights times ten in both layers, its share over a hundred."""
    twin = deepcopy(model)
    with torch.no_grad():
        twin.b.hidden.weight *= 10
        twin.b.hidden.bias *= 10
        twin.b.out.weight *= 10
        twin.b.out.bias *= 100
        twin.mix[1] /= 100
    return twin


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module", params=[0, 1, 2])
def trained(request, digits):
    torch.manual_seed(request.param)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = Planted()
    train(model, digits, 20)
    yield model
    torch.set_num_threads(threads)


INVARIANT = {
    "bit_gradient": BitGradient(),
    "fisher": Fisher(),
    "hessian_trace": HessianTrace(),
    "output_sqnr": OutputSqnr(),
    "step_size": StepSize(),
    "step_size, relative": StepSize(options=StepOptions(indicator="relative")),
    "step_size, relative, learned fast": StepSize(
        options=StepOptions(indicator="relative"), learning_rate=0.05
    ),
}


@pytest.mark.slow
def test_the_rescaled_network_is_the_same_function(trained, digits):
    inputs = digits.example
    torch.testing.assert_close(rescaled(trained)(inputs), trained(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("metric", INVARIANT.values(), ids=INVARIANT)
def test_the_right_branch_is_chosen_before_and_after_a_rescale(trained, digits, metric):
    assert chosen(metric, trained, digits) == policy(right=True)
    assert chosen(metric, rescaled(trained), digits) == policy(right=True)


@pytest.mark.slow
def test_raw_steps_follow_the_scale_of_the_weights(trained, digits):
    raw = StepSize(options=StepOptions(indicator="step"))
    assert chosen(raw, trained, digits) == policy(right=True)
    assert chosen(raw, rescaled(trained), digits) == policy(right=False)


@pytest.mark.slow
def test_the_right_branch_is_worth_more_than_ten_points_of_accuracy(trained, digits):
    accuracy = {}
    for right in (True, False):
        model = deepcopy(trained)
        workload = extract(model, digits.example)
        insert_quantizers(model, workload, policy(right), quantizers)
        train(model, digits, 10)
        accuracy[right] = evaluate(model, digits.test, batch_size=256, device="cpu")
    assert accuracy[True] > 0.9
    assert accuracy[True] - accuracy[False] > 0.1


def solved_by_hand(costs: CostTable, table: SensitivityTable) -> float:
    """Least sensitivity over all assignments within an average of three bits."""
    layers = costs.choosable_layers
    most = costs.total("weight_memory_bits", costs.uniform(HIGH)) * 3 / 4
    sums = [
        sum(table.at(name, bits) for name, bits in zip(layers, choice, strict=True))
        for choice in itertools.product((LOW, HIGH), repeat=len(layers))
        if costs.total("weight_memory_bits", dict(zip(layers, choice, strict=True))) <= most
    ]
    return min(sums)


def swapped_half_way(out, digits, *, epochs, hysteresis):
    """A run by BMPQ whose branches change places in the middle of each training."""
    seen: dict[int, int] = {}
    networks = []

    def step(model, batch):
        if id(model) not in seen:
            networks.append(model)
        seen[id(model)] = seen.get(id(model), 0) + 1
        swapped = seen[id(model)] > epochs // 2 * 19  # steps an epoch
        model.mix.copy_(torch.tensor([SMALL_EPS, 1.0] if swapped else [1.0, SMALL_EPS]))
        return cross_entropy_step(model, batch)

    torch.manual_seed(0)
    run = optimize(
        Planted(),
        digits,
        "bitfusion-edge",
        method=BMPQ(warm_up=2, interval=2, narrow_bits=0),
        budget=BUDGET,
        out=out,
        recipe=Recipe(epochs=epochs, hysteresis=hysteresis),
        candidates=[LOW, HIGH],
        fixed={},
        reference=HIGH,
        training_step=step,
    )
    assert len(networks) == 2
    return run


@pytest.mark.slow
def test_a_gain_below_the_hysteresis_leaves_bits_as_they_are(tmp_path, digits):
    run = swapped_half_way(tmp_path / "run", digits, epochs=16, hysteresis=1.0)
    assert run.results.assignment == policy(right=True)
    kept = [record for record in run.history.rounds if not record.accepted]
    assert kept
    for record in kept:
        # The solver's answer is on record, and so is what stays in force.
        assert record.allocation.assignment != policy(right=True)
        assert record.assignment == policy(right=True)
        assert record.changed_layers == 0


@pytest.mark.slow
def test_when_layers_change_places_half_way_the_policy_follows(tmp_path, digits):
    run = swapped_half_way(tmp_path / "run", digits, epochs=16, hysteresis=0.02)
    first, last = run.history.rounds[0], run.history.rounds[-1]
    assert first.assignment == policy(right=True)
    assert run.results.assignment == last.assignment == policy(right=False)
    for record in run.history.rounds:
        table = SensitivityTable.load(run.folder / record.sensitivity_file)
        best = solved_by_hand(CostTable.load(run.folder / "costs.parquet"), table)
        assert record.allocation.objective == pytest.approx(best, rel=1e-9)
        assert run.costs.total("weight_memory_bits", record.assignment) <= (
            0.75 * run.costs.total("weight_memory_bits", run.costs.uniform(HIGH))
        )
    changed = [record.round for record in run.history.rounds if record.changed_layers]
    assert len(changed) >= 2
    assert np.all([run.history.rounds[index].accepted for index in changed])
