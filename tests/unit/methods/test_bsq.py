from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from hwmpq.allocate.budget import Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.codesign.plan import make_plan
from hwmpq.data.base import load_data
from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.methods.base import Task
from hwmpq.methods.bsq import BSQ
from hwmpq.methods.fixed_activations import FixedActivations
from hwmpq.precision import Precision, precisions

WIDTHS = precisions(range(2, 9), [2, 4, 8])


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 10)
    )


ELEMENTS = {"1": 64 * 48, "3": 48 * 16, "5": 160}


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def tasks(data):
    def made(**limits):
        question = make_plan(
            network(),
            data,
            "bitfusion-edge",
            budget=Budget(**limits),
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

    return {
        "memory": made(weight_memory="0.5x"),
        "two": made(weight_memory="0.5x", average_weight_bits=3),
        "latency": made(latency="0.5x"),
        "activations": made(average_activation_bits=4),
    }


def test_schedule_trims_once_and_then_trains():
    assert BSQ().schedule(24).allocate_after == (18,)
    assert BSQ().schedule(24).start == "float"
    with pytest.raises(TrainingError, match="bsq needs at least 2 epochs, but got 1"):
        BSQ().schedule(1)


def test_an_unknown_reweighting_is_refused():
    with pytest.raises(UnsupportedError, match="bsq re-weights by accelerator, parameters, none"):
        BSQ(reweighting="latency")


def test_planes_start_at_the_widest_candidate_and_activations_at_four_bits(tasks):
    session = BSQ().prepare(network(), tasks["memory"])
    assert set(session.model.assignment.values()) == {Precision(8, 4)}
    narrow = replace(tasks["memory"], candidates=precisions([2, 4], [2, 8]))
    assert set(BSQ().prepare(network(), narrow).model.assignment.values()) == {Precision(4, 8)}
    free = BSQ(activation_bits=None).prepare(network(), tasks["memory"])
    assert set(free.model.assignment.values()) == {Precision(8, 8)}


@pytest.mark.parametrize(
    ("task", "reweighting"),
    [
        ("memory", "parameters"),
        ("memory", "accelerator"),
        ("two", "accelerator"),
    ],
)
def test_on_weight_memory_the_accelerators_share_is_the_papers(tasks, task, reweighting):
    session = BSQ(reweighting=reweighting).prepare(network(), tasks[task])
    total = sum(ELEMENTS.values())
    # P_l n_l / P with seven planes.
    expected = {name: count * 7 / total for name, count in ELEMENTS.items()}
    assert session.factors == pytest.approx(expected)


def test_on_latency_the_share_is_that_of_the_cycles_a_plane_costs(tasks):
    task = tasks["latency"]
    session = BSQ().prepare(network(), task)
    (row,) = task.resources
    columns = [task.costs.precision_index(Precision(w, 4)) for w in range(2, 9)]
    savings = []
    for costs in row.costs[:, columns].tolist():
        savings.append(max((costs[6] - costs[i]) / (6 - i) for i in range(6)))
    expected = [7 * saving / sum(savings) for saving in savings]
    assert list(session.factors.values()) == pytest.approx(expected)


def test_where_planes_cost_nothing_the_lasso_is_nothing(tasks):
    session = BSQ().prepare(network(), tasks["activations"])
    assert set(session.factors.values()) == {0}
    assert float(session.loss_penalty().detach()) == 0


def test_penalty_is_the_weighted_lasso_of_free_layers(tasks):
    task = replace(tasks["memory"], fixed={"1": Precision(8, 8)})
    session = BSQ(alpha=0.5).prepare(network(), task)
    assert session.model.assignment["1"] == Precision(8, 8)
    free = {name: session.model.layer(name).weight for name in ("3", "5")}
    expected = sum(0.5 * session.factors[n] * float(p.lasso().detach()) for n, p in free.items())
    penalty = session.loss_penalty()
    assert float(penalty.detach()) == pytest.approx(expected)
    penalty.backward()
    assert session.model.layer("1").weight.positive.grad is None
    assert BSQ(alpha=0.0).prepare(network(), task).loss_penalty() is None


def test_precision_is_adjusted_every_interval_and_at_the_end_of_the_search(tasks):
    session = BSQ(interval=4).prepare(network(), tasks["memory"])
    asked = []
    for _ in range(6):
        session.end_epoch()
        asked.append(session.wants_fresh_optimizer())
    assert asked == [False, False, False, True, False, True]


def test_dropped_planes_change_bits_and_factors(tasks):
    session = BSQ(interval=1).prepare(network(), tasks["memory"])
    planes = session.model.layer("3").weight
    with torch.no_grad():
        planes.positive[4:] = 0
        planes.negative[4:] = 0
    session.end_epoch()
    assert session.model.assignment["3"] == Precision(5, 4)
    total = sum(ELEMENTS.values())
    assert session.factors["3"] == pytest.approx(ELEMENTS["3"] * 4 / total)


def test_state_brings_epochs_and_factors_back(tasks):
    session = BSQ(interval=1).prepare(network(), tasks["memory"])
    with torch.no_grad():
        session.model.layer("3").weight.positive[3:] = 0
        session.model.layer("3").weight.negative[3:] = 0
    session.end_epoch()
    again = BSQ(interval=1).prepare(network(), tasks["memory"])
    again.model.module.load_state_dict(session.model.module.state_dict())
    again.load_state(session.state())
    assert again.epochs == 1
    assert again.factors == session.factors
    assert again.model.assignment == session.model.assignment


def test_activations_are_measured_from_the_width_they_have(tasks):
    session = BSQ().prepare(network(), tasks["memory"])
    table = session.sensitivity(WIDTHS)
    assert [table.at("3", Precision(8, a)) for a in (2, 4, 8)] == [15, 0, 4 / 64]
    free = BSQ(activation_bits=None).prepare(network(), tasks["memory"]).sensitivity(WIDTHS)
    assert [free.at("3", Precision(8, a)) for a in (2, 4, 8)] == [16, 1, 4**-4]
    assert session.allocator(0) == FixedActivations(bits=4, solver=ILP(seed=0))
    free = BSQ(activation_bits=None).prepare(network(), tasks["memory"])
    assert free.allocator(1) == ILP(seed=1)


def test_fine_tuning_has_float_weights_and_the_assigned_bits(tasks):
    session = BSQ().prepare(network(), tasks["memory"])
    assignment = dict.fromkeys(ELEMENTS, Precision(4, 2))
    tuned = session.fine_tuning(assignment)
    assert tuned is not session
    assert tuned.model.assignment == assignment
    kept = {name.rpartition(".")[2] for name, _ in tuned.model.module.named_parameters()}
    assert kept == {"original", "bias", "4", "clip"}


def test_note_says_what_trimming_changed(tasks):
    session = BSQ().prepare(network(), tasks["memory"])
    note = session.note(dict.fromkeys(ELEMENTS, Precision(4, 4)))
    assert note.startswith("learned bits spend 2.00 of the weight_memory limit")
    assert "snapping changed 3 of 3 layers: 1 8/4 to 4/4" in note
