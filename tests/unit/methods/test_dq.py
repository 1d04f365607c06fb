from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch import nn

from hwmpq.allocate.budget import Budget
from hwmpq.codesign.plan import make_plan
from hwmpq.codesign.train import cross_entropy_step
from hwmpq.data.base import load_data
from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.methods.base import Task
from hwmpq.methods.dq import DQ
from hwmpq.precision import Precision, precisions
from hwmpq.quant.learned_powers import LearnedPowers
from hwmpq.quant.learned_uniform import LearnedUniform

PINNED = Precision(8, 8)
LN2 = torch.log(torch.tensor(2.0))


def network():
    torch.manual_seed(0)
    layers = [nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def plans(data):
    return {
        limit: make_plan(
            network(),
            data,
            "bitfusion-edge",
            budget=Budget(weight_memory=limit),
            candidates=precisions([2, 3, 4, 6], [2, 4, 6]),
        )
        for limit in ("0.3x", "1.0x")
    }


@pytest.fixture
def session(plans, data):
    def prepared(limit="1.0x", **settings):
        question = plans[limit].question
        task = Task(
            workload=question.workload,
            data=data,
            costs=question.costs,
            resources=question.resources(),
            candidates=question.candidates,
            fixed=question.fixed,
            seed=0,
        )
        found = DQ(**settings).prepare(network(), task)
        found.begin_epoch("search")
        return found

    return prepared


def batch(data):
    return next(islice(data.train.batches(64), 1))


def test_schedule_snaps_once_and_then_trains():
    schedule = DQ().schedule(24)
    assert schedule.allocate_after == (18,)
    assert schedule.start == "float"
    assert DQ().schedule(2).allocate_after == (1,)
    with pytest.raises(TrainingError, match="dq needs at least 2 epochs, but got 1"):
        DQ().schedule(1)


def test_an_unknown_parametrisation_is_refused():
    with pytest.raises(UnsupportedError, match="dq learns step_range, bits_step, bits_range, but"):
        DQ(parametrization="range_step")


def test_an_unknown_quantiser_and_free_ends_are_refused():
    with pytest.raises(UnsupportedError, match="dq quantises by uniform, power_of_two, but the"):
        DQ(quantizer="logarithmic")
    with pytest.raises(UnsupportedError, match="needs quantizer='uniform'"):
        DQ(quantizer="power_of_two", power_of_two_step=False)


@pytest.mark.parametrize("quantizer", ["uniform", "power_of_two"])
@pytest.mark.parametrize("parametrization", ["step_range", "bits_step", "bits_range"])
def test_learning_starts_at_four_bits_and_pins_stay(session, data, parametrization, quantizer):
    found = session(parametrization=parametrization, quantizer=quantizer)
    found.model.module(batch(data)[0])
    assert found.model.assignment == {"1": PINNED, "3": Precision(4, 4), "5": PINNED}


def test_penalty_is_by_the_cost_of_the_learned_bits(session, data):
    found = session("0.3x", penalty_weight=10.0)
    cross_entropy_step(found.model.module, batch(data))
    # 1024 and 160 weights at 8 bits, 256 at 4, against 0.3 of 1440 weights at 8.
    spent = (1184 * 8 + 256 * 4) / (0.3 * 1440 * 8)
    penalty = found.loss_penalty()
    assert float(penalty.detach()) == pytest.approx(10 * (spent - 1) ** 2)
    penalty.backward()
    weight = found.model.layer("3").weight
    # One bit less saves 256 bits: the range is pulled in and the step pushed out.
    slope = 10 * 2 * (spent - 1) * 256 / (0.3 * 1440 * 8)
    by_range = slope / (8 * torch.log(torch.tensor(2.0)) * weight.grid(torch.ones(1)).step)
    assert float(weight.learned_range.grad) == pytest.approx(float(by_range), rel=1e-5)
    assert float(weight.learned_step.grad) < 0
    assert found.model.layer("1").weight.learned_range.grad is None


def test_powers_of_two_are_learned_where_nothing_is_pinned(session, data):
    found = session(quantizer="power_of_two")
    found.model.module(batch(data)[0])
    free = found.model.layer("3")
    assert isinstance(free.weight, LearnedPowers)
    assert (free.weight.signed, free.weight.zero) == (True, False)
    assert (free.activation.signed, free.activation.zero) == (False, True)
    for name in ("1", "5"):
        pinned = found.model.layer(name)
        assert isinstance(pinned.weight, LearnedUniform)
        assert isinstance(pinned.activation, LearnedUniform)


def test_penalty_reaches_the_ends_of_power_of_two_grids(session, data):
    found = session("0.3x", penalty_weight=10.0, quantizer="power_of_two")
    cross_entropy_step(found.model.module, batch(data))
    penalty = found.loss_penalty()
    # Bits are priced alike, whatever they encode.
    spent = (1184 * 8 + 256 * 4) / (0.3 * 1440 * 8)
    assert float(penalty.detach()) == pytest.approx(10 * (spent - 1) ** 2)
    penalty.backward()
    weight = found.model.layer("3").weight
    smallest, largest = (float(end.detach()) for end in weight.grid_parameters())
    octaves = torch.log2(torch.tensor(largest / smallest))
    # d bits = d octaves / ((octaves + 1) ln 2), d octaves = d largest / (largest ln 2).
    slope = 10 * 2 * (spent - 1) * 256 / (0.3 * 1440 * 8) / ((octaves + 1) * LN2**2)
    assert float(weight.learned_range.grad) == pytest.approx(float(slope / largest), rel=1e-5)
    assert float(weight.learned_step.grad) == pytest.approx(float(-slope / smallest), rel=1e-5)


def test_the_answer_says_what_the_costs_of_power_of_two_codes_are(session, plans, data):
    for quantizer, count in (("uniform", 0), ("power_of_two", 1)):
        found = session(quantizer=quantizer)
        found.model.module(batch(data)[0])
        question = plans["1.0x"].question
        problem = question.problem(found.sensitivity(question.candidates))
        notes = found.allocator(0).solve(problem).notes
        assert len([note for note in notes if "stand in for shifts" in note]) == count


def test_within_its_budget_the_penalty_is_zero(session, data):
    found = session("1.0x")
    cross_entropy_step(found.model.module, batch(data))
    assert float(found.loss_penalty().detach()) == 0


def test_no_penalty_without_weight_or_after_the_search(session, data):
    assert session("0.3x", penalty_weight=0.0).loss_penalty() is None
    found = session("0.3x")
    found.begin_epoch("fine-tune")
    assert found.loss_penalty() is None


def test_gradients_of_grids_are_clipped_and_slowed(session, data):
    found = session("0.3x", rate=0.5)
    loss = cross_entropy_step(found.model.module, batch(data))
    (1000 * (loss + found.loss_penalty())).backward()
    weight = found.model.layer("3").weight
    step = float(weight.grid(torch.ones(1)).step)
    assert abs(float(weight.learned_range.grad)) > step
    found.before_step()
    assert abs(float(weight.learned_range.grad)) == pytest.approx(0.5 * step)
    shadow = found.model.layer("3").shadow
    assert float(shadow.grad.abs().max()) > 0.5 * step


def test_sensitivity_is_the_distance_from_the_bits_learned(session, data):
    found = session("0.3x")
    found.model.module(batch(data)[0])
    table = found.sensitivity(precisions([2, 4, 6], [4]))
    assert table.metric == "dq"
    assert table.row("3").tolist() == pytest.approx([15, 0, 2 / 64])


def test_note_says_what_snapping_changed(session, data):
    found = session("1.0x")
    found.model.module(batch(data)[0])
    snapped = {"1": PINNED, "3": Precision(2, 4), "5": PINNED}
    note = found.note(snapped)
    assert note.startswith("learned bits spend 0.91 of the weight_memory limit")
    assert note.endswith("snapping changed 1 of 3 layers: 3 4/4 to 2/4")


def test_applied_bits_are_held(session, data):
    found = session()
    found.model.module(batch(data)[0])
    snapped = {"1": PINNED, "3": Precision(2, 6), "5": PINNED}
    assert found.fine_tuning(snapped) is found
    weight = found.model.layer("3").weight
    with torch.no_grad():
        weight.learned_step.fill_(2.0**-8)
    found.after_step()
    assert found.model.assignment == snapped
    assert found.model.layer("3").codes().unique().numel() <= 3


def test_after_a_step_grids_are_back_in_bounds_and_widths_follow_an_epoch(session, data):
    found = session()
    found.model.module(batch(data)[0])
    layer = found.model.layer("3")
    with torch.no_grad():
        layer.weight.learned_step.fill_(-1.0)
        layer.activation.learned_range.fill_(2 * float(layer.activation.learned_range))
    found.after_step()
    assert float(layer.weight.learned_step.detach()) > 0
    found.end_epoch()
    # The widest candidate has 6 bits; twice the range takes one bit more.
    assert layer.precision == Precision(6, 5)
