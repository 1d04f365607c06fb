"""Every method through the same loop: budget, codes, reloaded accuracy, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.allocate.budget import Budget
from hwmpq.codesign.folder import Run
from hwmpq.codesign.outcome import load_network
from hwmpq.codesign.run import optimize
from hwmpq.codesign.train import Recipe, evaluate
from hwmpq.data.base import load_data
from hwmpq.methods.bsq import BSQ
from hwmpq.methods.dq import DQ
from hwmpq.methods.hawq import HAWQ
from hwmpq.methods.limpq import LIMPQ
from hwmpq.methods.uniform import Uniform
from hwmpq.precision import Precision

pytestmark = pytest.mark.slow

ACCELERATOR = "bitfusion-edge"
CANDIDATES = [Precision(w, a) for w in (2, 4, 8) for a in (2, 4, 8)]
BUDGET = Budget(latency="0.8x", weight_memory="0.75x")
METHODS = {
    "bsq": BSQ(),
    "dq": DQ(),
    "dq-powers": DQ(quantizer="power_of_two"),
    "hawq": HAWQ(),
    "limpq": LIMPQ(search=2),
    "uniform": Uniform(),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 48),
        nn.BatchNorm1d(48),
        nn.ReLU(),
        nn.Linear(48, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def run(out, method, *, progress=None, resume=False, candidates=CANDIDATES) -> Run:
    return optimize(
        network(),
        load_data("digits"),
        ACCELERATOR,
        method=METHODS[method],
        budget=BUDGET,
        out=out,
        recipe=Recipe(epochs=5),
        candidates=candidates,
        progress=progress,
        resume=resume,
    )


@pytest.fixture(scope="module", params=sorted(METHODS))
def finished(request, tmp_path_factory) -> Run:
    return run(tmp_path_factory.mktemp("runs") / request.param, request.param)


def test_budget_holds_and_the_network_has_learned(finished):
    reference = finished.costs.uniform(Precision(8, 8))
    for column, share in (("latency_cycles", 0.8), ("weight_memory_bits", 0.75)):
        limit = share * finished.costs.total(column, reference)
        for record in finished.history.rounds:
            assert finished.costs.total(column, record.assignment) <= limit
        assert finished.costs.total(column, finished.results.assignment) <= limit
    assert finished.results.float_test_accuracy > 0.9
    assert finished.results.test_accuracy > 0.85
    assert len(finished.history.rounds) == 1


def test_saved_network_has_the_bits_and_scores_the_reported_accuracy(finished):
    found = load_network(finished, network())
    for name, precision in finished.results.assignment.items():
        assert found.layer(name).codes().unique().numel() <= 2**precision.weight_bits
    data = load_data("digits")
    accuracy = evaluate(found.module, data.test, batch_size=64, device="cpu")
    assert accuracy == finished.results.test_accuracy


# 19 steps an epoch: in the quantised network's second epoch, and in its last.
@pytest.mark.parametrize("step", [19 * 6 + 5, 19 * 9 + 5])
def test_a_stopped_run_resumes_to_the_identical_result(finished, tmp_path, step, stop_at):
    method = finished.folder.name
    with pytest.raises(stop_at.StoppedError):
        run(tmp_path / "run", method, progress=stop_at(step))
    resumed = run(tmp_path / "run", method, resume=True)
    assert resumed.results.assignment == finished.results.assignment
    losses = [[epoch.train_loss for epoch in r.history.epochs] for r in (resumed, finished)]
    assert losses[0] == losses[1]
    weights = [(r.folder / "weights.safetensors").read_bytes() for r in (resumed, finished)]
    assert weights[0] == weights[1]


def test_uniform_gives_all_free_layers_one_precision(finished):
    free = {
        precision
        for name, precision in finished.results.assignment.items()
        if name not in finished.manifest.fixed
    }
    if finished.manifest.method == "uniform":
        assert len(free) == 1
    if finished.manifest.method == "hawq":
        assert all(precision.weight_bits == precision.activation_bits for precision in free)


def test_limpq_says_how_far_its_steps_moved(tmp_path):
    found = run(tmp_path / "run", "limpq")
    assert "steps moved by up to" in found.history.rounds[0].note
    table = found.sensitivity(0)
    assert set(table.layers) == set(found.costs.choosable_layers) - set(found.manifest.fixed)
    narrow, wide = Precision(2, 2), Precision(8, 8)
    differences = [table.at(name, narrow) - table.at(name, wide) for name in table.layers]
    assert np.all(np.array(differences) > 0)


def test_hawq_needs_a_candidate_with_equal_bits(tmp_path):
    with pytest.raises(Exception, match="hawq gives weights and activations the same bits"):
        run(tmp_path / "run", "hawq", candidates=[Precision(2, 4), Precision(4, 8)])
