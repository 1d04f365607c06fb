"""The main job through the command line, from a network's name to a page one can look at."""

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

JOB = """
workload: resnet8-digits
accelerator: bitfusion-edge
method: bmpq
budget: {{latency: 0.4x}}
training: {{learning_rate: {rate}, epochs: 4}}
weight_bits: [2, 4, 8]
activation_bits: [4, 8]
fix: {{conv1: 8/8, fc: 8/8}}
seed: 3
"""


@pytest.fixture(scope="module")
def job_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("job") / "job.yaml"
    file.write_text(JOB.format(rate=0.1))
    return file


@pytest.fixture(scope="module")
def finished(job_file, tmp_path_factory) -> Path:
    from hwmpq.cli.main import main

    run = tmp_path_factory.mktemp("runs") / "a"
    with pytest.raises(SystemExit) as stopped:
        main(["optimize", str(job_file), "-o", str(run)])
    assert not stopped.value.code
    return run


def read(file: Path):
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_run_directory_holds_everything_that_is_promised(finished: Path) -> None:
    expected = {
        "manifest.json",
        "history.json",
        "results.json",
        "policy.json",
        "weights.safetensors",
        "accelerator.json",
        "costs.parquet",
        "report.html",
        "report.md",
    }
    assert expected <= {file.name for file in finished.iterdir()}
    assert (finished / "rounds" / "00" / "sensitivity.parquet").is_file()
    manifest = read(finished / "manifest.json")
    assert manifest["seed"] == 3
    assert manifest["budgets"] == {"latency": "0.4x"}
    assert manifest["versions"]["torch"]
    assert not list(finished.rglob("*.part"))


def test_the_page_is_one_file_that_loads_nothing(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "resnet8-digits" in page
    assert not re.search(
        r"<(script|img|link|iframe)[^>]+(src|href)\s*=\s*[\"']?(https?:)?//", page
    )


def test_evaluating_the_policy_gives_the_recorded_costs(cli, finished: Path) -> None:
    policy = finished / "policy.json"
    found = cli("evaluate", "resnet8-digits", "-a", "bitfusion-edge", "--policy", policy, "--json")
    assert found.code == 0, found.err
    totals = json.loads(found.out)["totals"]
    recorded = read(finished / "results.json")["totals"]
    for name, value in recorded.items():
        assert totals[name] == pytest.approx(value, rel=1e-12), name
    assert (
        totals["latency_cycles"]
        <= 0.4 * read(finished / "results.json")["reference_totals"]["latency_cycles"]
    )


def test_pins_and_candidates_are_kept(finished: Path) -> None:
    policy = read(finished / "policy.json")
    for layer, bits in policy.items():
        pinned = layer in {"conv1", "fc"}
        assert bits["weight_bits"] in ({8} if pinned else {2, 4, 8})
        assert bits["activation_bits"] in ({8} if pinned else {4, 8})


def test_allocating_by_the_runs_scores_gives_its_last_objective(cli, finished: Path) -> None:
    outcome = cli(
        *("allocate", "resnet8-digits", "-a", "bitfusion-edge", "-s", finished),
        *("--latency", "0.4x", "--weight-bits", "2,4,8", "--activation-bits", "4,8", "--json"),
    )
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    last = read(finished / "history.json")["rounds"][-1]["allocation"]
    assert found["status"] == "optimal"
    assert found["objective"] == pytest.approx(last["objective"], rel=1e-9)
    assert found["next_bits"]


def test_trained_weights_can_be_measured_and_untrained_are_refused(cli, finished: Path) -> None:
    arguments = ("allocate", "resnet8-digits", "-a", "bitfusion-edge", "-s", "bit-gradient")
    limits = ("--latency", "0.4x", "--weight-bits", "2,8", "--activation-bits", "8")
    refused = cli(*arguments, *limits)
    assert refused.code == 2
    assert "--random-weights" in refused.err
    measured = cli(*arguments, *limits, "--weights", finished, "--json")
    assert measured.code == 0, measured.err
    assert json.loads(measured.out)["status"] == "optimal"


def test_runs_are_compared(cli, finished: Path, tmp_path: Path) -> None:
    outcome = cli("report", finished, finished, "-o", tmp_path / "both")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "both" / "report.html").is_file()
    assert (tmp_path / "both" / "runs.csv").is_file()


def test_a_finished_run_is_kept_and_can_be_read_again(cli, job_file, finished: Path) -> None:
    before = (finished / "results.json").read_bytes()
    refused = cli("optimize", job_file, "-o", finished)
    assert refused.code == 2
    assert "--resume" in refused.err or "resume" in refused.err
    again = cli("optimize", job_file, "-o", finished, "--resume", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["results"]["test_accuracy"]
    assert (finished / "results.json").read_bytes() == before


def test_the_feasible_interval_is_printed_before_an_impossible_budget_is_refused(
    cli, job_file, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = cli("optimize", job_file, "--set", "budget.latency=0.05x", "-o", run)
    assert outcome.code == 3
    assert "Feasible interval" in outcome.out
    assert "least achievable" in outcome.err
    assert not run.exists()


def test_a_loss_that_is_not_a_number_is_one_message(cli, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB.format(rate="1.0e+12"))
    outcome = cli("optimize", file, "-o", tmp_path / "run")
    assert outcome.code == 2
    assert "diverged in epoch" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("metod=bmpq", ("metod", "Did you mean 'method'?")),
        ("training.learning_rat=0.1", ("learning_rat", "Did you mean 'learning_rate'?")),
        ("training.momentum=fast", ("momentum", "must be like its default")),
        ("budget.latenzy=0.5x", ("latenzy", "budgets are latency")),
        ("epochs=0", ("epochs", "greater than 0")),
        ("method=[]", ("method", "at least 1 item")),
        ("seed=-1", ("seed", "greater than or equal to 0")),
        ("ablation=upside-down", ("ablation", "upside-down")),
        ("fix={nothing: 8/8}", ("nothing",)),
        ("data=digit", ("Did you mean 'digits'?",)),
    ],
)
def test_mistakes_in_a_job_are_refused_before_anything_is_written(
    cli, job_file, tmp_path: Path, change: str, words: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    outcome = cli("optimize", job_file, "--set", change, "-o", run)
    assert outcome.code == 2, outcome.out
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    assert not run.exists()


def test_a_float_checkpoint_is_the_baseline_as_it_is(cli, finished: Path, tmp_path: Path) -> None:
    from hwmpq.codesign.train import evaluate
    from hwmpq.data.base import load_data
    from hwmpq.models.build import build_model
    from hwmpq.models.weights import load_weights

    outcome = cli(
        *("optimize", "resnet8-digits", "-a", "bitfusion-edge", "-m", "hawq", "--epochs", "3"),
        *("--latency", "0.5x", "--weights", finished, "-o", tmp_path / "run", "--json"),
    )
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)["results"]
    assert read(tmp_path / "run" / "history.json")["float_epochs"] == []
    network = build_model("resnet8-digits", seed=0)
    load_weights(network, finished)
    test = load_data("digits", seed=0).test
    accuracy = evaluate(network, test, batch_size=64, device="cpu")
    assert results["float_test_accuracy"] == pytest.approx(accuracy, abs=1e-12)


def test_methods_are_run_and_compared_in_one_command(cli, tmp_path: Path) -> None:
    outcome = cli(
        *("optimize", "resnet8-digits", "-a", "bitfusion-edge", "-m", "bmpq", "-m", "uniform"),
        *("--latency", "0.5x", "--epochs", "4", "-o", tmp_path / "both"),
    )
    assert outcome.code == 0, outcome.err
    for method in ("bmpq", "uniform"):
        assert read(tmp_path / "both" / method / "manifest.json")["method"] == method
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert "bmpq" in page
    assert "uniform" in page
    assert (tmp_path / "both" / "runs.csv").is_file()


def test_seeds_are_run_and_their_spread_is_reported(cli, tmp_path: Path) -> None:
    outcome = cli(
        *("optimize", "resnet8-digits", "-a", "bitfusion-edge", "-m", "uniform", "--epochs", "2"),
        *("--latency", "0.5x", "--seeds", "0,1", "-o", tmp_path / "both"),
    )
    assert outcome.code == 0, outcome.err
    seeds = [read(tmp_path / "both" / f"seed-{n}" / "manifest.json")["seed"] for n in (0, 1)]
    assert seeds == [0, 1]
    page = (tmp_path / "both" / "report.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines()]
    (row,) = (cells for cells in rows if cells[1:4] == ["uniform", "2", "2"])
    assert "±" in row[4]
    side_by_side, _, spread = outcome.out.partition("Side by side")[2].partition("over seeds")
    assert [f"seed-{n}" in side_by_side for n in (0, 1)] == [True, True]
    assert re.search(r"uniform +│ +2 │ +[\d.]+ % ± ", spread)


def test_a_job_of_power_of_two_grids_says_what_its_costs_are(cli, tmp_path: Path) -> None:
    file, run = tmp_path / "job.yaml", tmp_path / "run"
    text = JOB.format(rate=0.1).replace("method: bmpq", "method: dq")
    file.write_text(text + "settings: {quantizer: power_of_two}\n")
    outcome = cli("optimize", file, "-o", run)
    assert outcome.code == 0, outcome.err
    (note,) = read(run / "results.json")["allocation"]["notes"]
    assert "stand in for shifts" in note
    for text in (outcome.out, *((run / f"report.{kind}").read_text() for kind in ("html", "md"))):
        assert "stand in for shifts" in " ".join(text.split())
    results = read(run / "results.json")
    assert (
        results["totals"]["latency_cycles"] <= 0.4 * results["reference_totals"]["latency_cycles"]
    )
    for layer, bits in results["assignment"].items():
        assert results["codes_per_layer"][layer] <= 2 ** bits["weight_bits"]


def test_ablations_are_named_in_the_manifest(cli, tmp_path: Path) -> None:
    outcome = cli(
        *("optimize", "resnet8-digits", "-a", "bitfusion-edge", "-m", "bmpq", "--epochs", "4"),
        *("--latency", "0.5x", "--ablation", "reversed", "-o", tmp_path / "run"),
    )
    assert outcome.code == 0, outcome.err
    assert read(tmp_path / "run" / "manifest.json")["settings"]["ablation"] == "reversed"


def test_an_option_beside_a_job_file_is_refused_and_not_lost(cli, job_file, tmp_path) -> None:
    for option, change in (("--epochs", "epochs="), ("--latency", "budget.latency=")):
        outcome = cli("optimize", job_file, option, "3", "-o", tmp_path / "run")
        assert outcome.code == 2
        assert f"--set {change}" in outcome.err
    assert not (tmp_path / "run").exists()
