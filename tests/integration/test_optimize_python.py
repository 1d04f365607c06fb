"""The main job through Python, on a small network that trains in seconds."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hwmpq.allocate.budget import Budget
from hwmpq.codesign.folder import Run
from hwmpq.codesign.outcome import load_network
from hwmpq.codesign.progress import Silent
from hwmpq.codesign.run import optimize
from hwmpq.codesign.train import Recipe, cross_entropy_step, evaluate
from hwmpq.cost.table import CostTable
from hwmpq.data.base import TensorPart, from_arrays, load_data
from hwmpq.data.digits import digit_images, normalised
from hwmpq.errors import InfeasibleError, OutputError, SpecError, TrainingError
from hwmpq.methods.bmpq import BMPQ
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable

pytestmark = pytest.mark.slow

ACCELERATOR = "bitfusion-edge"
EPOCHS = 6
BUDGET = Budget(latency="0.8x", weight_memory="0.75x")
CANDIDATES = [Precision(w, a) for w in (2, 4, 8) for a in (2, 4, 8)]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 48),
        nn.ReLU(),
        nn.Linear(48, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def digits(labels=None):
    images, truth = digit_images()
    return from_arrays(normalised(images), truth if labels is None else labels, name="digits")


def run(out, *, data=None, **changes) -> Run:
    settings = {
        "method": BMPQ(),
        "budget": BUDGET,
        "epochs": EPOCHS,
        "candidates": CANDIDATES,
        **changes,
    }
    return optimize(network(), data or digits(), ACCELERATOR, out=out, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return run(tmp_path_factory.mktemp("runs") / "a")


def timeless(value):
    """JSON without what a clock decides."""
    if isinstance(value, dict):
        clocks = ("seconds", "seconds_allocating", "created", "command")
        return {
            key: timeless(item)
            for key, item in value.items()
            if key not in clocks and not key.startswith("seconds")
        }
    return [timeless(item) for item in value] if isinstance(value, list) else value


def same_outcome(first: Path, second: Path) -> None:
    for name in ("history.json", "results.json", "policy.json", "manifest.json"):
        contents = [json.loads((folder / name).read_text()) for folder in (first, second)]
        assert timeless(contents[0]) == timeless(contents[1]), name
    assert (first / "weights.safetensors").read_bytes() == (
        second / "weights.safetensors"
    ).read_bytes()


def resolved_by_hand(costs: CostTable, table: SensitivityTable, run: Run) -> float:
    """Least sensitivity over every assignment that meets the budgets, tried one by one."""
    layers = costs.choosable_layers
    fixed = run.manifest.fixed
    choices = [[fixed[name]] if name in fixed else run.manifest.candidates for name in layers]
    limits = {b.name: b.limit for b in run.results.allocation.budgets}
    columns = {"latency": "latency_cycles", "weight_memory": "weight_memory_bits"}
    best = np.inf
    for combination in itertools.product(*choices):
        assignment = dict(zip(layers, combination, strict=True))
        if any(costs.total(columns[name], assignment) > limit for name, limit in limits.items()):
            continue
        score = sum(
            table.at(name, precision)
            for name, precision in assignment.items()
            if name not in fixed
        )
        best = min(best, score)
    return best


def test_run_is_complete_and_reads_back(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "accelerator.json",
        "costs.parquet",
        "history.json",
        "manifest.json",
        "policy.json",
        "results.json",
        "rounds",
        "weights.safetensors",
    }
    again = Run.load(finished.folder)
    assert again.results == finished.results
    assert again.history == finished.history
    assert again.manifest.split_sizes == {"train": 1168, "validation": 270, "test": 359}
    policy = json.loads((finished.folder / "policy.json").read_text())
    assert policy["1"] == {"weight_bits": 8, "activation_bits": 8}
    assert len(finished.history.float_epochs) == len(finished.history.epochs) == EPOCHS
    assert [r.epoch for r in finished.history.rounds] == [2, 3, 4]


def test_values_introduce_themselves_in_a_line(finished):
    for value in (finished, finished.costs, finished.sensitivity(-1)):
        assert len(repr(value)) < 200
        assert "\n" not in repr(value)
    assert "by bmpq, test accuracy 0." in repr(finished)


def test_network_learns_in_both_forms(finished):
    assert finished.results.float_test_accuracy > 0.9
    assert finished.results.test_accuracy > 0.85


def test_budget_holds_at_every_allocation_and_in_the_final_policy(finished):
    reference = finished.costs.uniform(Precision(8, 8))
    for column, share in (("latency_cycles", 0.8), ("weight_memory_bits", 0.75)):
        limit = share * finished.costs.total(column, reference)
        for record in finished.history.rounds:
            assert finished.costs.total(column, record.allocation.assignment) <= limit
            assert finished.costs.total(column, record.assignment) <= limit
        assert finished.costs.total(column, finished.results.assignment) <= limit
    last = [record for record in finished.history.rounds if record.accepted][-1]
    assert finished.results.assignment == last.assignment
    assert finished.results.totals.latency_cycles == finished.costs.total(
        "latency_cycles", finished.results.assignment
    )


def test_saved_tables_solved_again_give_the_recorded_objective(finished):
    costs = CostTable.load(finished.folder / "costs.parquet")
    for record in finished.history.rounds:
        table = SensitivityTable.load(finished.folder / record.sensitivity_file)
        best = resolved_by_hand(costs, table, finished)
        assert record.allocation.objective == pytest.approx(best, rel=1e-9)


def test_saved_layers_hold_at_most_two_to_the_bits_codes(finished):
    network_found = load_network(finished, network())
    for name, precision in finished.results.assignment.items():
        layer = network_found.layer(name)
        count = layer.codes().unique().numel()
        assert count <= 2**precision.weight_bits
        assert layer.module.weight.unique().numel() <= 2**precision.weight_bits
        assert count == finished.results.codes_per_layer[name]
        assert layer.precision == precision
    assert any(p.weight_bits < 8 for p in finished.results.assignment.values())


def test_reloaded_run_scores_exactly_the_reported_accuracy(finished):
    found = load_network(finished, network())
    data = digits()
    for part, reported in (
        (data.test, finished.results.test_accuracy),
        (data.validation, finished.results.validation_accuracy),
    ):
        accuracy = evaluate(found.module, part, batch_size=64, device="cpu")
        assert accuracy == reported


def test_selection_is_by_validation_of_epochs_with_final_bits(finished):
    tuned = [e for e in finished.history.epochs if e.phase == "fine-tune"]
    assert len(tuned) == 2
    best = max(epoch.validation_accuracy for epoch in tuned)
    assert finished.results.validation_accuracy == best


def test_weights_of_another_network_are_refused(finished):
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(Exception, match=r"no layer '4' with a weight"):
        load_network(finished, other)


def test_same_seed_repeats_bit_for_bit_and_another_does_not(finished, tmp_path):
    run(tmp_path / "b")
    same_outcome(finished.folder, tmp_path / "b")
    other = run(tmp_path / "c", seed=1)
    losses = [[e.train_loss for e in r.history.epochs] for r in (finished, other)]
    assert losses[0] != losses[1]


# 19 steps an epoch: in the first float epoch, between stages, in the search, in the last epoch.
@pytest.mark.parametrize("steps", [[5], [19 * 6, 3], [19 * 8 + 7], [19 * 11 + 2]])
def test_a_stopped_run_resumes_to_the_identical_result(finished, tmp_path, steps, stop_at):
    out = tmp_path / "run"
    for step in steps:
        with pytest.raises(stop_at.StoppedError):
            run(out, progress=stop_at(step), resume=True)
        assert not (out / "results.json").exists()
    resumed = run(out, resume=True)
    same_outcome(finished.folder, out)
    assert not (resumed.folder / "checkpoint").exists()


def test_a_killed_process_leaves_a_run_that_resumes(finished, tmp_path):
    out = tmp_path / "run"
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_optimize_python as here
        here.run({str(out)!r})
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    history = out / "history.json"
    begun = time.monotonic()
    while not (history.exists() and len(json.loads(history.read_text())["epochs"]) >= 1):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() - begun < 120
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists()
    with pytest.raises(SpecError, match="has not finished"):
        Run.load(out)
    run(out, resume=True)
    same_outcome(finished.folder, out)


def test_a_finished_run_is_not_touched_unless_told(finished, tmp_path):
    with pytest.raises(OutputError, match="holds a finished run; resume it"):
        run(finished.folder)
    assert run(finished.folder, resume=True).results == finished.results
    with pytest.raises(OutputError, match=r"other settings .*epochs was 6 and is now 7"):
        run(finished.folder, resume=True, epochs=7)


def test_overwriting_replaces_a_run(tmp_path):
    first = run(tmp_path / "run", epochs=4)
    second = run(tmp_path / "run", epochs=5, overwrite=True)
    assert len(first.history.epochs) == 4
    assert len(Run.load(tmp_path / "run").history.epochs) == 5
    assert len(second.history.rounds) == len(list((tmp_path / "run" / "rounds").iterdir()))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds other files \(thesis.tex\)"):
        run(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_impossible_budget_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InfeasibleError) as refused:
        run(tmp_path / "run", budget=Budget(latency="0.01x"))
    assert refused.value.exit_code == 3
    assert refused.value.shortfalls[0].least > refused.value.shortfalls[0].limit
    assert not (tmp_path / "run").exists()


def test_a_path_through_a_file_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run(tmp_path / "file" / "run")


def test_a_full_disk_is_refused_before_training_and_leaves_nothing(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="are needed and 0 MiB are free"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_a_number_leaves_no_results(tmp_path):
    calls = []

    def step(model, batch):
        calls.append(1)
        loss = cross_entropy_step(model, batch)
        return loss * float("nan") if len(calls) == 19 * 7 + 4 else loss

    with pytest.raises(TrainingError, match=r"quantised network diverged in epoch 2, step 4"):
        run(tmp_path / "run", training_step=step)
    assert not (tmp_path / "run" / "results.json").exists()
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert not list((tmp_path / "run").rglob("*.part"))


def test_shuffled_labels_score_about_chance(tmp_path):
    _, truth = digit_images()
    shuffled = np.random.default_rng(0).permutation(truth)
    found = run(tmp_path / "run", data=digits(shuffled)).results
    # 359 test images, ten classes: four standard deviations around chance.
    assert abs(found.test_accuracy - 0.1) < 4 * (0.1 * 0.9 / 359) ** 0.5


def test_unchanged_arguments(finished, tmp_path):
    model, data = network(), digits()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    optimize(
        model,
        data,
        ACCELERATOR,
        method="bmpq",
        budget=BUDGET,
        out=tmp_path / "run",
        recipe=Recipe(epochs=4),
    )
    assert all(torch.equal(before[n], tensor) for n, tensor in model.state_dict().items())
    assert set(dict(model.named_modules())) == set(dict(network().named_modules()))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("ablation", ["reversed", "random"])
def test_ablations_meet_the_same_budget_by_other_scores(finished, tmp_path, ablation):
    found = run(tmp_path / "run", ablation=ablation)
    limit = 0.8 * finished.costs.total("latency_cycles", finished.costs.uniform(Precision(8, 8)))
    assert found.results.totals.latency_cycles <= limit
    assert found.manifest.settings["ablation"] == ablation
    tables = [found.sensitivity(0), finished.sensitivity(0)]
    assert sorted(tables[0].values[:, 0]) == sorted(tables[1].values[:, 0])
    dealt = [table.values[:, 0].tolist() for table in tables]
    # With two free layers a random deal may leave both their own scores; a reversed one cannot.
    assert (dealt[0] != dealt[1]) or ablation == "random"
    assert tables[0].meta["ablation"] == ablation


class Recorder(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.phases: dict[str, list[int]] = {}

    def start(self, phase, total, done=0) -> None:
        self.phases[phase] = [total, done]

    def advance(self, phase, remark="") -> None:  # noqa: ARG002
        self.phases[phase][1] += 1


def test_progress_announces_every_step(tmp_path):
    seen = Recorder()
    run(tmp_path / "run", progress=seen)
    assert seen.phases == {
        "float": [114, 114],
        "warm-up": [19, 19],
        "search": [57, 57],
        "fine-tune": [38, 38],
    }


def test_too_few_epochs_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TrainingError, match="the training has 2 epochs; train longer"):
        run(tmp_path / "run", epochs=2)
    assert not (tmp_path / "run").exists()


def test_saved_weights_are_plain_tensors(finished):
    state = load_file(finished.folder / "weights.safetensors")
    assert state["1.parametrizations.weight.original"].shape == (32, 64)
    assert state["1.parametrizations.weight.0.fixed_step"].ndim == 0


def test_data_set_by_name(tmp_path):
    data = load_data("digits")
    assert isinstance(data.train, TensorPart)
    found = optimize(
        network(),
        "digits",
        ACCELERATOR,
        method=BMPQ(interval=1),
        budget=Budget(weight_memory="0.75x"),
        out=tmp_path / "run",
        epochs=4,
    )
    assert found.manifest.data == "digits"
    assert found.manifest.inputs["data"] == data.fingerprint
