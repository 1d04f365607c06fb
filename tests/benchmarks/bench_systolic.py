"""CPU time of systolic arrays: full cost tables, and SCALE-Sim side by side.

SCALE-Sim 3.0.0 needs NumPy below 2, so it runs in an environment of its own: the interpreter that
``HWMPQ_SCALESIM_PYTHON`` names, or one made here with pip. Its time on whole networks, minutes
to a quarter of an hour each, was measured once and is stored beside its results.
"""

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import pandas as pd
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost import systolic_dram
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.precision import Precision, precisions
from hwmpq.workload.layer import Conv2d
from hwmpq.workload.loader import load_workload

HERE = Path(__file__).parent
ROWS = pd.read_csv(HERE.parent / "reference" / "scalesim.csv", comment="#")
TABLE_TARGET_S = 1.0
TARGET_RATIO = 10_000
EIGHT = Precision(8, 8)


@pytest.mark.parametrize("network", ["mobilenet-v2", "resnet50"])
@pytest.mark.parametrize(
    "name", ["systolic-32x32", "systolic-realistic", "systolic-psma", "tpu-like"]
)
def test_full_table(benchmark, network: str, name: str) -> None:
    workload, accelerator = load_workload(network), load_accelerator(name)
    pairs = precisions(range(1, 9), range(1, 9))

    def price() -> CostTable:
        return cost_table(workload, accelerator, pairs)

    start = time.process_time()
    table = price()
    assert time.process_time() - start < TABLE_TARGET_S
    benchmark(price)
    assert table.latency_cycles.shape[1] == 64


def scale_sim_array(dataflow: str, rows: int, cols: int, size_kb: int) -> Accelerator:
    sizes = {
        f"memories.{name}.size_bits": size_kb * 8192
        for name in ("ifmap_buffer", "filter_buffer", "ofmap_buffer")
    }
    array = {"compute.dataflow": dataflow, "compute.rows": rows, "compute.cols": cols}
    return load_accelerator("systolic-32x32", {**array, **sizes})


def conv(height, width, kernel_height, kernel_width, channels, filters, stride) -> Conv2d:
    return Conv2d(
        name="layer",
        in_channels=channels,
        in_height=height,
        in_width=width,
        out_channels=filters,
        kernel_size=(kernel_height, kernel_width),
        stride=stride,
    )


FIELDS = ["ifmap_h", "ifmap_w", "filt_h", "filt_w", "C", "K", "stride"]
WHOLE = ROWS[(ROWS["count"] > 0) & ROWS["rows"].isin([32, 128])]


@pytest.mark.parametrize(
    ("network", "rows", "dataflow"),
    sorted({(row.network, row.rows, row.dataflow) for row in WHOLE.itertuples()}),
)
def test_whole_networks_against_scale_sims_stored_time(
    benchmark, network: str, rows: int, dataflow: str
) -> None:
    chosen = WHOLE[
        (WHOLE.network == network) & (WHOLE.rows == rows) & (WHOLE.dataflow == dataflow)
    ]
    accelerator = scale_sim_array(dataflow, rows, rows, int(chosen.ifmap_sram_kb.iloc[0]))
    layers = [conv(*map(int, values)) for values in chosen[FIELDS].to_numpy()]

    def price() -> None:
        systolic_dram.input_reads.cache_clear()
        for layer in layers:
            COST_MODEL.layer_cost(layer, [EIGHT], accelerator)

    price()
    start = time.process_time()
    price()
    ours = time.process_time() - start
    benchmark(price)
    theirs = float((chosen["cpu_s"] * chosen["count"]).sum())
    benchmark.extra_info["scale_sim_cpu_s"] = theirs
    benchmark.extra_info["times_faster"] = round(theirs / ours)
    assert theirs / ours > TARGET_RATIO


@pytest.fixture(scope="session")
def scale_sim_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that can run SCALE-Sim."""
    given = os.environ.get("HWMPQ_SCALESIM_PYTHON")
    if given:
        return given
    folder = tmp_path_factory.mktemp("scalesim")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "scalesim==3.0.0", "numpy<2"]
    made = subprocess.run(install, capture_output=True, text=True, check=False)
    if made.returncode:
        last = made.stderr.strip().splitlines()[-1:]
        pytest.skip(f"SCALE-Sim 3.0.0 cannot be installed here: {last}")
    return python


SMALL = [(197, 64, 1, 64, 1, 197, 1), (197, 197, 1, 197, 1, 64, 1), (16, 16, 3, 3, 8, 16, 1)]
"""Both products of a ViT-S attention head, and a small convolution."""


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_side_by_side(benchmark, scale_sim_python: str, dataflow: str) -> None:
    case = {"dataflow": dataflow, "rows": 32, "cols": 32, "size_kb": 256, "layers": SMALL}
    done = subprocess.run(
        [scale_sim_python, str(HERE / "scalesim_runner.py")],
        input=json.dumps(case),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"SCALE-Sim does not run in {scale_sim_python}: {last}")
    theirs = json.loads(done.stdout)
    accelerator = scale_sim_array(dataflow, 32, 32, 256)
    layers = [conv(*values) for values in SMALL]

    def price() -> list[int]:
        found = [COST_MODEL.layer_cost(layer, [EIGHT], accelerator) for layer in layers]
        return [int(costs.compute_cycles[0]) for costs in found]

    assert benchmark(price) == [cycles for _, cycles in theirs]
    start = time.process_time()
    price()
    ours = time.process_time() - start
    benchmark.extra_info["scale_sim_cpu_s"] = sum(seconds for seconds, _ in theirs)
    benchmark.extra_info["times_faster"] = round(sum(s for s, _ in theirs) / ours)
    sys.stderr.write(f"\n{dataflow}: {benchmark.extra_info['times_faster']} times faster\n")
