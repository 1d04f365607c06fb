"""The command line on workloads that need no training."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwmpq.cli.main import VERBS
from hwmpq.cost.table import CSV_COLUMNS
from hwmpq.shipped import shipped_files
from hwmpq.units import format_bits

LAYERS = """
name: two-layers
layers:
  - {name: conv1, op: conv2d, batch: 1, in_channels: 3, in_height: 224, in_width: 224,
     out_channels: 64, kernel_size: [7, 7], stride: [2, 2], padding: [3, 3], dilation: [1, 1],
     groups: 1, im2col: true}
  - {name: fc, op: linear, batch: 1, in_features: 512, out_features: 1000}
  - {name: qk, op: matmul, batch: 12, m: 197, k: 64, n: 197}
"""


@pytest.fixture
def layers_file(tmp_path: Path) -> Path:
    file = tmp_path / "two-layers.yaml"
    file.write_text(LAYERS)
    return file


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_csv_has_the_columns_in_order_one_row_a_layer(cli, layers_file, tmp_path) -> None:
    out = tmp_path / "costs.csv"
    result = cli("evaluate", layers_file, "-a", "bitfusion-isca18", "--csv", out)
    assert result.code == 0, result.err
    header = out.read_text().splitlines()[0].split(",")
    assert tuple(header[: len(CSV_COLUMNS)]) == CSV_COLUMNS
    rows = read(out)
    assert [row["layer"] for row in rows] == ["conv1", "fc", "qk"]
    assert [int(row["macs"]) for row in rows] == [118013952, 512000, 12 * 197 * 64 * 197]
    assert int(rows[0]["compute_cycles"]) == 250880  # 112 x 112 x ceil(147 / 16) x ceil(64 / 32)


def test_all_precisions_gives_every_pair(cli, layers_file, tmp_path) -> None:
    out = tmp_path / "costs.csv"
    result = cli("evaluate", layers_file, "-a", "stripes", "--all-precisions", "--csv", out)
    assert result.code == 0, result.err
    pairs = {(int(r["weight_bits"]), int(r["activation_bits"])) for r in read(out)}
    assert {(w, a) for w in range(1, 9) for a in range(1, 9)} <= pairs


def test_a_policy_prices_every_layer_at_its_own_bits(cli, layers_file, tmp_path) -> None:
    policy = tmp_path / "policy.json"
    bits = {
        "conv1": {"weight_bits": 8, "activation_bits": 8},
        "[fq]*": {"weight_bits": 2, "activation_bits": 4},
    }
    policy.write_text(json.dumps(bits))
    out = tmp_path / "costs.csv"
    arguments = ("evaluate", layers_file, "-a", "bitfusion-isca18", "--policy", policy)
    assert cli(*arguments, "--csv", out).code == 0
    found = [(r["layer"], r["weight_bits"], r["activation_bits"]) for r in read(out)]
    assert found == [("conv1", "8", "8"), ("fc", "2", "4"), ("qk", "2", "4")]


def test_json_totals_are_the_sums_of_the_rows(cli, layers_file) -> None:
    result = cli("evaluate", layers_file, "-a", "systolic-32x32", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    for name in ("latency_cycles", "energy_pj", "dram_read_bits", "weight_memory_bits"):
        rows = sum(row[name] for row in found["layers"])
        assert found["totals"][name] == pytest.approx(rows, rel=1e-12)
    assert all(row["bound_ratio"] >= 1 for row in found["layers"])
    assert found["sources"]


def test_set_changes_the_machine(cli, layers_file) -> None:
    def cycles(*extra: str) -> int:
        result = cli("evaluate", layers_file, "-a", "bitfusion-isca18", "--json", *extra)
        return json.loads(result.out)["totals"]["compute_cycles"]

    assert cycles("--set", "compute.rows=8") > cycles()


def test_batch_multiplies_work_but_not_weights(cli, layers_file) -> None:
    one, four = (
        json.loads(cli("evaluate", layers_file, "-a", "stripes", "--json", "--batch", n).out)
        for n in (1, 4)
    )
    for single, several in zip(one["layers"], four["layers"], strict=True):
        assert several["macs"] == 4 * single["macs"]
        assert several["weight_memory_bits"] == single["weight_memory_bits"]


def test_several_accelerators_are_compared(cli, layers_file, tmp_path) -> None:
    out = tmp_path / "costs.csv"
    pair = ("-a", "stripes", "-a", "bitfusion-isca18")
    result = cli("evaluate", layers_file, *pair, "--json", "--csv", out)
    names = [found["accelerator"] for found in json.loads(result.out)["evaluations"]]
    assert names == ["stripes", "bitfusion-isca18"]
    assert {row["accelerator"] for row in read(out)} == set(names)


def test_a_comparison_prints_totals_and_components_in_one_unit_each(cli, layers_file) -> None:
    printed = cli("evaluate", layers_file, "-a", "stripes", "-a", "bitfusion-isca18").out
    totals, _, components = printed.partition("side by side")[2].partition("Energy by component")
    assert "bound" in totals
    unit = re.search(r"energy, (.J)", components)
    assert unit is not None
    assert components.count(f", {unit[1]}") == 5  # the whole, compute, on-chip, DRAM, leakage


@pytest.mark.parametrize("name", tuple(shipped_files("accelerators")))
def test_every_accelerator_prices_a_layers_file(cli, layers_file, name: str) -> None:
    result = cli("evaluate", layers_file, "-a", name)
    assert result.code == 0, result.err
    assert "conv1" in result.out


def test_costing_never_imports_torch(layers_file) -> None:
    code = (
        "import sys\n"
        "from hwmpq.cli.main import main\n"
        "try:\n"
        f"    main(['evaluate', {str(layers_file)!r}, '-a', 'bitfusion-isca18'])\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_of_every_verb_has_an_example(cli) -> None:
    overview = cli("--help")
    assert overview.code == 0
    for verb in VERBS:
        assert f"  {verb} " in overview.out
        shown = cli(verb, "--help")
        assert shown.code == 0
        assert f"Example:  hwmpq {verb} " in " ".join(shown.out.split(" ")), verb


def test_help_starts_without_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from hwmpq.cli.main import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'pandas', 'numpy', 'plotly', 'ortools'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_verb_is_a_usage_error(cli) -> None:
    outcome = cli("evalute", "resnet18")
    assert outcome.code == 2
    assert "evalute" in outcome.err


def test_list_and_check_know_everything_that_is_shipped(cli) -> None:
    found = json.loads(cli("list", "--json").out)
    assert set(found["accelerators"]) == set(shipped_files("accelerators"))
    assert set(found["workloads"]) == set(shipped_files("workloads"))
    assert "bmpq" in found["methods"]
    files = [*shipped_files("accelerators").values(), *shipped_files("workloads").values()]
    checked = cli("check", *files)
    assert checked.code == 0, checked.err


def test_equal_area_scales_latency_by_the_first_area(cli, layers_file) -> None:
    pair = ("-a", "bitfusion-isca18", "-a", "loom-1b", "--equal-area")
    found = json.loads(cli("evaluate", layers_file, *pair, "--json").out)["evaluations"]
    areas = [body["area_mm2"]["total"] for body in found]
    for body, area in zip(found, areas, strict=True):
        scaled = body["totals"]["latency_s_at_equal_area"]
        assert scaled == pytest.approx(body["totals"]["latency_s"] * area / areas[0])
    assert "latency at equal area" in " ".join(cli("evaluate", layers_file, *pair).out.split())


def test_an_fpga_overlay_compares_at_the_area_of_its_asic_equivalent(cli, layers_file) -> None:
    pair = ("-a", "bismo-16x256x16", "-a", "stripes", "--equal-area")
    outcome = cli("evaluate", layers_file, *pair)
    assert outcome.code == 0, outcome.err
    assert "latency at equal area" in " ".join(outcome.out.split())


def test_area_and_resources_are_printed(cli, layers_file, tmp_path) -> None:
    asked = ("evaluate", layers_file, "-a", "bismo-8x256x8")
    assert json.loads(cli(*asked, "--json").out)["resources"] == {"LUTs": 29678, "block RAMs": 128}
    shown = cli(*asked, "--report", tmp_path).out
    assert "area: 2.024 mm²" in shown
    assert "resources: 29,678 LUTs, 128 block RAMs" in shown
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Resources of bismo-8x256x8: 29,678 LUTs, 128 block RAMs." in page
    other = cli(*asked[:-1], "stripes")
    assert "area: 66.7" in other.out
    assert "resources" not in other.out


def test_one_name_sets_the_columns_of_every_array(cli, layers_file) -> None:
    names = ("bitfusion-isca18", "stripes", "loom-1b", "bismo-8x256x8", "stripes-bitsim")
    for name in (*names, "systolic-32x32"):
        asked = ("evaluate", layers_file, "-a", name, "--json", "--set")
        narrow, wide = (
            json.loads(cli(*asked, f"compute.cols={cols}").out)["totals"]["compute_bound_cycles"]
            for cols in (4, 8)
        )
        assert narrow > wide, name
    outcome = cli("evaluate", layers_file, "-a", "stripes", "--set", "compute.columns=8")
    assert outcome.code == 2
    assert "compute.columns" in outcome.err
    assert "Did you mean 'cols'?" in outcome.err


def test_equal_area_with_an_unknown_area_says_which(cli, layers_file, tmp_path) -> None:
    file = tmp_path / "unmeasured.yaml"
    text = shipped_files("accelerators")["loom-1b"].read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if "area_um2_per_lane" not in line]
    renamed = "\n".join(kept).replace("name: loom-1b", "name: unmeasured", 1)
    file.write_text(renamed, encoding="utf-8")
    pair = ("-a", "bitfusion-isca18", "-a", str(file), "--equal-area")
    outcome = cli("evaluate", layers_file, *pair)
    assert outcome.code == 2
    assert "'unmeasured' cannot be compared at equal area" in outcome.err
    assert "no area is known for compute" in outcome.err


def test_the_peak_of_live_activations_is_printed(cli, layers_file) -> None:
    asked = ("evaluate", layers_file, "-a", "stripes")
    totals = json.loads(cli(*asked, "--json").out)["totals"]
    shown = format_bits(totals["peak_activation_memory_bits"])
    assert f"peak activations {shown}" in cli(*asked).out
