"""What DQ and BSQ learn on a small network for digits, and that they end inside any budget."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.allocate.budget import Budget
from hwmpq.codesign.outcome import load_network
from hwmpq.codesign.plan import make_plan
from hwmpq.codesign.run import optimize
from hwmpq.codesign.train import (
    EpochTask,
    Recipe,
    cross_entropy_step,
    evaluate,
    make_optimizer,
    train_epoch,
)
from hwmpq.data.base import from_arrays, load_data
from hwmpq.methods.base import Hooks, Task
from hwmpq.methods.bsq import BSQ
from hwmpq.methods.dq import DQ
from hwmpq.methods.limpq import LIMPQ
from hwmpq.precision import Precision, precisions

pytestmark = pytest.mark.slow
EPOCHS = 12
LAYERS = ("c1", "c2", "c3", "c4", "f1", "f2")


class DigitsNet(nn.Module):
    """1-8-16-pool-16-32-pool-64-10: 72 weights in the first layer, 8192 in the fifth."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 8, 16, 16, 32)
        for i in range(4):
            conv = nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=False)
            setattr(self, f"c{i + 1}", conv)
            setattr(self, f"n{i + 1}", nn.BatchNorm2d(widths[i + 1]))
        self.f1, self.n5, self.f2 = nn.Linear(128, 64), nn.BatchNorm1d(64), nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.n1(self.c1(x)))
        x = nn.functional.max_pool2d(torch.relu(self.n2(self.c2(x))), 2)
        x = torch.relu(self.n3(self.c3(x)))
        x = nn.functional.max_pool2d(torch.relu(self.n4(self.c4(x))), 2)
        return self.f2(torch.relu(self.n5(self.f1(x.flatten(1)))))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def train(model, data, hooks, epochs):
    """So many of a recipe's epochs, as the loop trains them."""
    recipe = Recipe(epochs=EPOCHS)
    optimizer = make_optimizer(model, recipe)
    for epoch in range(epochs):
        hooks.begin_epoch("search")
        train_epoch(
            EpochTask(
                model=model,
                part=data.train,
                optimizer=optimizer,
                recipe=recipe,
                epoch=epoch,
                seed=0,
                device="cpu",
                training_step=cross_entropy_step,
                hooks=hooks,
                on_step=lambda: None,
                what="the network",
            )
        )
        hooks.end_epoch()
        if hooks.wants_fresh_optimizer():
            optimizer = make_optimizer(model, recipe)


@pytest.fixture(scope="module")
def trained(one_thread, digits):
    torch.manual_seed(0)
    model = DigitsNet()
    train(model, digits, Hooks(), EPOCHS)
    assert evaluate(model, digits.test, batch_size=256, device="cpu") > 0.97
    return model


@pytest.fixture(scope="module")
def search(trained, digits):
    """Learns bits and returns the session after the search, with its network's accuracy."""

    def searched(method, budget, candidates):
        plan = make_plan(
            trained, digits, "bitfusion-edge", budget=budget, fixed={}, candidates=candidates
        )
        question, schedule = plan.question, method.schedule(EPOCHS)
        task = Task(
            workload=question.workload,
            data=digits,
            costs=question.costs,
            resources=question.resources(),
            candidates=question.candidates,
            fixed=question.fixed,
            seed=0,
            schedule=schedule,
        )
        model = deepcopy(trained)
        session = method.prepare(model, task)
        train(model, digits, session, schedule.allocate_after[-1])
        return session, evaluate(model, digits.test, batch_size=256, device="cpu")

    return searched


def weight_bits(session):
    return {name: p.weight_bits for name, p in session.model.assignment.items()}


def mean_bits(session):
    bits = weight_bits(session)
    counts = {name: session.model.layer(name).shadow.numel() for name in LAYERS}
    return sum(bits[name] * counts[name] for name in LAYERS) / sum(counts.values())


@pytest.fixture(scope="module")
def bsq(search):
    """BSQ's bits and accuracy; on a budget of weight memory re-weighting is the paper's."""

    @cache
    def found(alpha, reweighting="accelerator"):
        method = BSQ(alpha=alpha, reweighting=reweighting, activation_bits=8)
        return search(method, Budget(average_weight_bits=4), precisions(range(2, 9), [8]))

    return found


def test_bsq_bits_fall_strictly_with_alpha(bsq):
    unpressed, _ = bsq(0.0)
    assert weight_bits(unpressed) == dict.fromkeys(LAYERS, 8)
    means = [mean_bits(unpressed)]
    for alpha in (0.1, 0.3):
        session, accuracy = bsq(alpha)
        means.append(mean_bits(session))
        assert accuracy > 0.95
    assert means[0] == 8 > means[1] > means[2]
    assert means[2] < 6


def test_bsq_reweighting_flips_the_order_of_the_smallest_and_the_largest_layer(bsq):
    weighted = weight_bits(bsq(0.3)[0])
    plain = weight_bits(bsq(0.3, "none")[0])
    assert weighted["f1"] < weighted["c1"]
    assert plain["c1"] < plain["f1"]


def dq(search, **settings):
    budget = Budget(average_weight_bits=2.2)
    return search(DQ(**settings), budget, precisions(range(2, 9), [8]))


def test_dq_meets_its_budget_before_snapping(search):
    session, accuracy = dq(search)
    assert mean_bits(session) <= 2.2
    # Nine short epochs, before any at final bits.
    assert accuracy > 0.9
    # What is large pays: the small first layer keeps more bits than the largest.
    bits = weight_bits(session)
    assert bits["f1"] < bits["c1"]


def test_dq_without_penalty_overshoots_its_budget(search):
    session, _ = dq(search, penalty_weight=0.0)
    assert mean_bits(session) > 4


def test_dq_of_powers_of_two_is_pressed_to_its_budget(search):
    session, accuracy = dq(search, quantizer="power_of_two")
    # The largest layer, more than half of all weights, goes to and fro between two bits and
    # three: an octave is all the difference. Snapping decides.
    assert mean_bits(session) < 2.6
    assert accuracy > 0.9
    for name, precision in session.model.assignment.items():
        weight = session.model.layer(name).module.weight.detach()
        assert weight.unique().numel() <= 2**precision.weight_bits
        assert torch.equal(weight.abs().log2(), weight.abs().log2().round())
    free, _ = dq(search, quantizer="power_of_two", penalty_weight=0.0)
    assert mean_bits(free) > 3.5


@pytest.fixture(scope="module")
def tiny():
    """Sixty samples and a network that trains in no time; budgets do not care for accuracy."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    inputs = (rng.standard_normal((60, 6)) + 3 * np.eye(6)[labels]).astype(np.float32)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 16), nn.ReLU()
    )
    model.append(nn.Linear(16, 3))
    return model, from_arrays(inputs, labels, name="blobs")


@pytest.mark.parametrize(
    "method",
    [DQ(), DQ(quantizer="power_of_two"), BSQ(), BSQ(activation_bits=None), LIMPQ()],
    ids=["dq", "dq-powers", "bsq", "bsq-all", "limpq"],
)
def test_twenty_of_twenty_random_budgets_are_met(method, tiny, tmp_path):
    model, data = tiny
    rng = np.random.default_rng(1)
    quantities = ("latency", "energy", "weight_memory", "bops")
    for trial in range(20):
        chosen = quantities[trial % 4]
        reference = make_plan(
            model, data, "bitfusion-edge", budget=Budget(**{chosen: "1x"}), fixed={}
        ).question
        (interval,) = reference.intervals()
        limit = float(interval.least + rng.uniform() * (interval.reference - interval.least))
        run = optimize(
            model,
            data,
            "bitfusion-edge",
            method=method,
            budget=Budget(**{chosen: limit}),
            out=tmp_path / str(trial),
            recipe=Recipe(epochs=2, batch_size=32),
            fixed={},
        )
        report = run.results.allocation.budget(chosen)
        assert report.achieved <= report.limit == pytest.approx(limit)
        for name, precision in run.results.assignment.items():
            assert run.results.codes_per_layer[name] <= 2**precision.weight_bits


def test_runs_say_what_learning_chose_and_what_snapping_changed(tiny, tmp_path):
    model, data = tiny
    run = optimize(
        model,
        data,
        "bitfusion-edge",
        method="dq",
        budget=Budget(weight_memory="0.4x"),
        out=tmp_path / "run",
        recipe=Recipe(epochs=4, batch_size=32),
        candidates=[Precision(w, a) for w in (2, 8) for a in (2, 8)],
    )
    (record,) = run.history.rounds
    assert "of the weight_memory limit; snapping changed" in record.note
    assert "4/4 to " in record.note


class Attention(nn.Module):
    """Rows of an image attend to each other; two products of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.query, self.key = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.classes = nn.Linear(16, 10)

    def forward(self, x):
        x = self.embed(x.flatten(1, 2))
        scores = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) / 4, dim=-1)
        return self.classes((x + scores @ x).mean(1))


@pytest.mark.parametrize(
    "method",
    [DQ(), DQ(quantizer="power_of_two"), BSQ()],
    ids=["dq", "dq-powers", "bsq"],
)
def test_products_of_activations_take_part(method, digits, tmp_path):
    torch.manual_seed(0)
    run = optimize(
        Attention(),
        digits,
        "bitfusion-edge",
        method=method,
        budget=Budget(weight_memory="0.6x", bops="0.5x"),
        out=tmp_path / "run",
        recipe=Recipe(epochs=2),
    )
    assert "matmul" in run.results.assignment
    found = load_network(run, Attention()).module
    accuracy = evaluate(found, digits.test, batch_size=64, device="cpu")
    assert accuracy == run.results.test_accuracy
    for report in run.results.allocation.budgets:
        assert report.achieved <= report.limit
