"""What methods make of a product of two activations: nothing is stored, both operands pass by."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwmpq.allocate.base import AllocationProblem, Resource
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.codesign.plan import make_plan
from hwmpq.data.base import load_data
from hwmpq.methods.base import Task
from hwmpq.methods.bsq import BSQ
from hwmpq.methods.fixed_activations import FixedActivations
from hwmpq.precision import Precision, precisions
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.sensitivity.bit_gradient import BitGradientRecorder, normalised_bit_gradient
from hwmpq.sensitivity.joint_steps import JointSteps, StepOptions, table_from_steps
from hwmpq.workload.from_torch import extract

WIDTHS = precisions([2, 4, 8], [2, 4, 8])
PRODUCTS = {"attention.qk", "attention.av"}


class Rows(nn.Module):
    """Attention over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(64, 10)
        self.skip = False

    def forward(self, x):
        q, k, v = self.qkv(x.squeeze(1))[:, None].chunk(3, dim=-1)
        mixed = q if self.skip else functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.flatten(1))


def network():
    torch.manual_seed(0)
    return Rows()


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def batch(data):
    return next(iter(data.train.batches(16)))


@pytest.fixture(scope="module")
def task(data):
    question = make_plan(
        network(),
        data,
        "bitfusion-edge",
        budget=Budget(latency="0.7x"),
        candidates=WIDTHS,
        fixed={},
    ).question
    return Task(
        workload=question.workload,
        data=data,
        costs=question.costs,
        resources=question.resources(),
        candidates=question.candidates,
        fixed=question.fixed,
        seed=0,
        schedule=BSQ().schedule(8),
    )


def test_bsq_gives_both_operands_the_activations_width(task):
    session = BSQ().prepare(network(), task)
    found = session.model.assignment
    assert {str(found[name]) for name in PRODUCTS} == {"4/4"}
    assert {str(found[name]) for name in ("qkv", "out")} == {"8/4"}
    table = session.sensitivity(WIDTHS)
    # Short of the wanted width, noise; beyond it, a 64th a bit; both operands alike.
    assert [table.at("attention.qk", Precision(b, 4)) for b in (2, 4, 8)] == [15, 0, 4 / 64]
    assert [table.at("attention.qk", Precision(4, b)) for b in (2, 4, 8)] == [15, 0, 4 / 64]
    assert session.allocator(0) == FixedActivations(
        bits=4, solver=ILP(seed=0), products=frozenset(PRODUCTS)
    )
    free = BSQ(activation_bits=None).prepare(network(), task)
    assert set(free.model.assignment.values()) == {Precision(8, 8)}
    assert free.sensitivity(WIDTHS).at("attention.av", Precision(2, 8)) == 16 + 4**-4


def test_products_take_no_share_of_what_a_plane_costs(task):
    session = BSQ().prepare(network(), task)
    (row,) = task.resources
    columns = [task.costs.precision_index(Precision(w, 4)) for w in (2, 4, 8)]
    names = list(task.costs.choosable_layers)
    saving = {}
    for name in ("qkv", "out"):
        costs = row.costs[names.index(name), columns].tolist()
        saving[name] = max((costs[2] - costs[0]) / 6, (costs[2] - costs[1]) / 4)
    for name in ("qkv", "out"):
        assert session.factors[name] == pytest.approx(7 * saving[name] / sum(saving.values()))
    assert session.factors["attention.qk"] == 0


def test_both_operands_are_fixed_where_activations_are():
    pairs = precisions([2, 4, 8], [4, 8])
    costs = [[p.weight_bits * p.activation_bits for p in pairs]] * 2
    problem = AllocationProblem(
        layers=("fc", "qk"),
        precisions=pairs,
        sensitivity=-torch.tensor(costs, dtype=torch.float64).numpy(),
        allowed=torch.ones(2, len(pairs), dtype=torch.bool).numpy(),
        resources=(Resource(name="bops", unit="", costs=torch.tensor(costs).numpy(), limit=1e3),),
    )
    solver = FixedActivations(bits=4, solver=ILP(), products=frozenset({"qk"}))
    assert solver.solve(problem).assignment == {"fc": Precision(8, 4), "qk": Precision(4, 4)}
    # Where no candidate has the width for the second operand, the first keeps it.
    narrow = replace(problem, allowed=problem.allowed & [p.weight_bits != 4 for p in pairs])
    assert solver.solve(narrow).assignment["qk"] == Precision(8, 4)


def scored(batch):
    model = network()
    workload = extract(model, batch[0][:1])
    start = {layer.name: Precision(4, 4) for layer in workload.multiply_layers}
    quantised = insert_quantizers(model, workload, start, symmetric_and_clip())
    recorder = BitGradientRecorder(quantised)
    keys = quantised.layer("attention.qk").weight
    seen = []
    observe = keys.observer

    def look(gradient):
        seen.append(gradient)
        observe(gradient)

    keys.observer = look
    functional.cross_entropy(quantised.module(batch[0]), batch[1]).backward()
    recorder.close_batch()
    return recorder, keys, seen[0]


def test_bit_gradients_of_operands_count_the_features_of_one_sample(batch):
    recorder, keys, gradient = scored(batch)
    assert gradient.shape == (16, 1, 8, 8)
    step = float(keys.clip.detach()) / 127
    expected = normalised_bit_gradient(float(gradient.norm()), step, 8, 64)
    assert recorder.scores.mean("weights", "attention.qk") == pytest.approx(expected, rel=1e-5)


def test_a_layer_that_a_batch_skips_is_not_started_by_its_score(batch):
    model = network()
    workload = extract(model, batch[0][:1])
    start = {layer.name: Precision(4, 4) for layer in workload.multiply_layers}
    quantised = insert_quantizers(model.train(), workload, start, symmetric_and_clip())
    recorder = BitGradientRecorder(quantised)
    quantised.module.skip = True
    functional.cross_entropy(quantised.module(batch[0]), batch[1]).backward()
    recorder.close_batch()
    assert float(quantised.layer("attention.qk").weight.clip.detach()) == 0
    assert recorder.scores.mean("weights", "attention.qk") == 0
    assert recorder.scores.mean("weights", "qkv") > 0


def test_steps_of_operands_are_scaled_by_the_operands_and_not_by_alpha(batch):
    model = network()
    workload = extract(model, batch[0][:1])
    joint = JointSteps(model, workload, precisions([4], [8]), {}, 0)
    joint.start_steps(batch)
    keys = []
    probe = joint.model.layer("attention.qk").weight
    handle = probe.register_forward_pre_hook(lambda _, given: keys.append(given[0]))
    scales = joint.scales(batch)
    handle.remove()
    expected = float(keys[0].square().mean().sqrt())
    assert scales["attention.qk", "weights"] == pytest.approx(expected)
    assert min(scales.values()) > 1e-3
    steps = joint.steps()
    options = StepOptions(alpha=3.0, indicator="step")
    table = table_from_steps(joint, [Precision(4, 8)], options)
    for name, alpha in (("attention.qk", 1), ("qkv", 3)):
        expected = steps[name, "activations", 8] + alpha * steps[name, "weights", 4]
        assert table.at(name, Precision(4, 8)) == pytest.approx(expected)
