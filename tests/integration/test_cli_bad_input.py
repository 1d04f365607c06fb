"""Bad input: one clear message, the right exit code, no traceback, nothing half-written."""

from pathlib import Path

import pytest

GOOD_LAYERS = """
name: small
layers:
  - {name: fc1, op: linear, in_features: 64, out_features: 32}
  - {name: fc2, op: linear, in_features: 32, out_features: 10}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(GOOD_LAYERS)
    return file


def refused(outcome, *words: str, code: int = 2) -> None:
    assert outcome.code == code, (outcome.out, outcome.err)
    assert "Traceback" not in outcome.err + outcome.out
    for word in words:
        assert word in outcome.err, outcome.err


def test_missing_workload_file(cli, tmp_path) -> None:
    outcome = cli("evaluate", tmp_path / "none.yaml", "-a", "stripes")
    refused(outcome, "none.yaml", "there is no such file")


def test_unknown_workload_and_accelerator_suggest_the_nearest(cli, good) -> None:
    refused(cli("evaluate", "resnet81", "-a", "stripes"), "Did you mean 'resnet18'?")
    outcome = cli("evaluate", good, "-a", "bitfusion-isca81")
    refused(outcome, "no accelerator called", "Did you mean 'bitfusion-isca18'?")


def test_a_file_here_is_suggested_for_its_stem(cli, good, tmp_path, monkeypatch) -> None:
    (tmp_path / "my-chip.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    refused(cli("evaluate", good, "-a", "my-chip"), "Did you mean 'my-chip.yaml'?")


def test_names_with_brackets_are_printed_as_they_are(cli, tmp_path) -> None:
    file = tmp_path / "odd.yaml"
    layer = '{name: "[bold]fc[/x]", op: linear, batch: 1, in_features: 8, out_features: 4}'
    file.write_text(f'name: "a[/b]"\nlayers: [{layer}]\n')
    for outcome in (cli("extract", file), cli("evaluate", file, "-a", "stripes")):
        assert outcome.code == 0, outcome.err
        assert "[bold]fc[/x]" in outcome.out
        assert "a[/b]" in outcome.out


def test_long_values_are_shown_by_their_start(cli, tmp_path) -> None:
    file = tmp_path / "prose.yaml"
    file.write_text("word " * 1000)
    outcome = cli("evaluate", file, "-a", "stripes")
    refused(outcome, "must be a mapping", "word ...")
    assert len(outcome.err) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", ("not YAML",)),
        ("", ("is empty",)),
        ("name: a\nname: b\nlayers: []\n", ("name (line 2)", "appears twice")),
        ("name: a\nlayers: []\n", ("layers",)),
        ("name: a\n", ("layers", "torch", "onnx")),
        (
            "name: a\nlayers:\n  - {name: f, op: linear, in_features: -3, out_features: 2}\n",
            ("layers[0].in_features", "-3"),
        ),
        (
            "name: a\nlayers:\n  - {name: f, op: linear, in_feature: 3, out_features: 2}\n",
            ("layers[0].in_feature", "Did you mean 'in_features'?", "is missing"),
        ),
        (
            "name: a\nlayers:\n  - {name: f, op: lstm, in_features: 3, out_features: 2}\n",
            ("layers[0]", "lstm"),
        ),
        (
            "name: a\nlayers:\n"
            "  - {name: f, op: linear, in_features: 3, out_features: 2}\n"
            "  - {name: f, op: linear, in_features: 2, out_features: 2}\n",
            ("layers[1].name", "f"),
        ),
    ],
)
def test_broken_workloads(cli, tmp_path, text: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    out = tmp_path / "costs.csv"
    refused(cli("evaluate", file, "-a", "stripes", "--csv", out), "broken.yaml", *words)
    refused(cli("check", file), "broken.yaml", *words)
    assert not out.exists()


def test_check_reports_every_file(cli, tmp_path, good) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("x: 1\ny: 2\n")
    outcome = cli("check", tmp_path / "a.yaml", good, tmp_path / "b.yaml")
    refused(outcome, "a.yaml", "b.yaml")
    assert "small.yaml: workload ok" in outcome.out


def test_an_unsupported_precision_names_what_is_supported(cli, good) -> None:
    outcome = cli("evaluate", good, "-a", "stripes", "--weight-bits", 60)
    refused(outcome, "has no mode for 60/8")


def test_set_that_leads_nowhere(cli, good) -> None:
    outcome = cli("evaluate", good, "-a", "stripes", "--set", "compute.rowz=3")
    refused(outcome, "compute.rowz")
    refused(cli("evaluate", good, "-a", "stripes", "--set", "compute.rows"), "KEY=VALUE")


def test_policies_that_do_not_fit(cli, good, tmp_path) -> None:
    policy = tmp_path / "policy.json"
    arguments = ("evaluate", good, "-a", "stripes", "--policy", policy)
    refused(cli(*arguments), "policy.json")
    policy.write_text('{"fc1": {"weight_bits": 4, "activation_bits": 4}}')
    refused(cli(*arguments), "fc2")
    policy.write_text('{"*": {"weight_bits": 4}}')
    refused(cli(*arguments), "activation_bits")
    policy.write_text('{"*": {"weight_bits": 4, "activation_bits": 4}, "conv9": {')
    refused(cli(*arguments), "policy.json")


def test_a_folder_that_cannot_be_written(cli, good, tmp_path) -> None:
    blocked = tmp_path / "taken"
    blocked.write_text("")
    target = blocked / "costs.csv"
    refused(cli("evaluate", good, "-a", "stripes", "--csv", target), "cannot write")
    assert blocked.read_text() == ""


def test_a_full_disk(cli, good, tmp_path, monkeypatch) -> None:
    def full(part, *arguments, **options) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    out = tmp_path / "costs.csv"
    refused(cli("evaluate", good, "-a", "stripes", "--csv", out), "No space left")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["small.yaml"]


BUDGETS = [
    ("0x", "must be"),
    ("0", "must be"),
    ("-0.5x", "must be"),
    ("fast", "quantity"),
    ("3parsec", "parsec"),
    ("nanx", ""),
]


@pytest.mark.parametrize(("budget", "word"), BUDGETS)
def test_budgets_that_make_no_sense(cli, tmp_path, budget: str, word: str) -> None:
    run = tmp_path / "run"
    outcome = cli(
        *("optimize", "resnet8-digits", "-a", "bitfusion-edge", "-m", "bmpq"),
        *("--latency", budget, "-o", run),
    )
    refused(outcome, word)
    assert not run.exists()


def test_an_impossible_budget_exits_3_and_names_the_least(cli, tmp_path) -> None:
    run = tmp_path / "run"
    outcome = cli(
        *("optimize", "resnet20-digits", "-a", "bitfusion-isca18", "-m", "bmpq"),
        *("--latency", "0.1x", "-o", run),
    )
    refused(outcome, "latency", "least", code=3)
    assert not (run / "results.json").exists()


def test_optimize_without_a_budget_or_method(cli, tmp_path) -> None:
    arguments = ("optimize", "resnet8-digits", "-a", "bitfusion-edge", "-o", tmp_path / "run")
    refused(cli(*arguments, "-m", "bmpq"), "--latency")
    refused(cli(*arguments, "-m", "bmpk", "--latency", "0.5x"), "Did you mean 'bmpq'?")


def test_report_of_what_is_no_run(cli, tmp_path) -> None:
    refused(cli("report", tmp_path), str(tmp_path))
    refused(cli("report", tmp_path / "none"), "none")


def test_a_model_with_an_unsupported_operator(cli, tmp_path, monkeypatch) -> None:
    (tmp_path / "odd_model.py").write_text(
        "import torch\n"
        "class Odd(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(8, 8)\n"
        "    def forward(self, x):\n"
        "        return torch.linalg.inv(self.fc(x))\n"
        "def build():\n"
        "    return Odd()\n"
    )
    file = tmp_path / "odd.yaml"
    file.write_text("name: odd\ntorch: odd_model:build\ninput_shape: [8, 8]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    outcome = cli("evaluate", file, "-a", "stripes")
    refused(outcome, "inv", "odd_model.py")
