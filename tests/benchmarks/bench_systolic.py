"""CPU time of systolic arrays beside SCALE-Sim on its own networks.

SCALE-Sim 3.0.0 needs NumPy below 2, so it runs in an environment of its own, ``.venv-scalesim``,
which ``make bench`` makes; ``HWMPQ_SCALESIM_PYTHON`` names another interpreter. Whole networks
take it minutes to a quarter of an hour each. Here it runs the smallest layers of each network up
to a sum of MACs, and what the whole network would take is extrapolated by compute cycles, which
the models agree on. The limit is held to whole networks: ours spends its time on the few
convolutions whose input exceeds the buffer, which a choice of layers weighs too much or little.
Whole networks that SCALE-Sim was left to finish once are stored beside its results.
"""

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.precision import Precision
from hwmpq.workload.layer import Conv2d

HERE = Path(__file__).parent
ROWS = pd.read_csv(HERE.parent / "reference" / "scalesim.csv", comment="#")
TOPOLOGIES = pd.read_csv(HERE / "scalesim_topologies.csv", comment="#")
OWN_PYTHON = HERE.parents[1] / ".venv-scalesim" / "bin" / "python"
TARGET_RATIO = 10_000
MOST_MACS = 65_000_000
"""Of the layers of a network that SCALE-Sim runs: about a quarter of a minute."""
ROUNDS = 20
EIGHT = Precision(8, 8)


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
    figure: Callable, empty_caches: Callable, network: str, rows: int, dataflow: str
) -> None:
    chosen = WHOLE[
        (WHOLE.network == network) & (WHOLE.rows == rows) & (WHOLE.dataflow == dataflow)
    ]
    accelerator = scale_sim_array(dataflow, rows, rows, int(chosen.ifmap_sram_kb.iloc[0]))
    layers = [conv(*map(int, row)) for row in chosen[FIELDS].to_numpy()]
    seconds, _ = ours(layers, accelerator, empty_caches)
    theirs = float((chosen["cpu_s"] * chosen["count"]).sum())
    figure(
        "Whole networks, against the CPU time of SCALE-Sim stored with its results",
        {
            "network": network,
            "array": f"{rows} x {rows}",
            "dataflow": dataflow,
            "SCALE-Sim, CPU s": theirs,
            "hwmpq, CPU ms": 1000 * seconds,
            "times faster": f"{theirs / seconds:,.0f}",
            "at least": f"{TARGET_RATIO:,}",
        },
    )
    assert theirs / seconds > TARGET_RATIO


@pytest.fixture(scope="session")
def scale_sim_python() -> str:
    """An interpreter that can run SCALE-Sim."""
    given = os.environ.get("HWMPQ_SCALESIM_PYTHON") or str(OWN_PYTHON)
    if not Path(given).is_file():
        pytest.skip(f"no SCALE-Sim: {given} is missing, which make bench makes")
    return given


def run_scale_sim(python: str, dataflow: str, layers: list[list[int]]) -> list[tuple[float, int]]:
    """CPU seconds and compute cycles of each layer on a 32 x 32 array with buffers of 256 kB."""
    case = {"dataflow": dataflow, "rows": 32, "cols": 32, "size_kb": 256, "layers": layers}
    done = subprocess.run(
        [python, str(HERE / "scalesim_runner.py")],
        input=json.dumps(case),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(seconds, cycles) for seconds, cycles in json.loads(done.stdout)]


def ours(
    layers: list[Conv2d], accelerator: Accelerator, empty_caches: Callable[[], None]
) -> tuple[float, list[int]]:
    """Median CPU seconds of pricing all layers anew, after a first time, and their cycles."""

    def price() -> list[int]:
        found = [COST_MODEL.layer_cost(layer, [EIGHT], accelerator) for layer in layers]
        return [int(costs.compute_cycles[0]) for costs in found]

    cycles, times = price(), []
    for _ in range(ROUNDS):
        empty_caches()
        start = time.process_time()
        price()
        times.append(time.process_time() - start)
    return median(times), cycles


@pytest.mark.parametrize("network", list(dict.fromkeys(TOPOLOGIES.network)))
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_its_own_networks_side_by_side(
    figure: Callable, empty_caches: Callable, scale_sim_python: str, network: str, dataflow: str
) -> None:
    sizes = TOPOLOGIES[TOPOLOGIES.network == network]
    rows = [[int(value) for value in row] for row in sizes[FIELDS].to_numpy()]
    layers = [conv(*row) for row in rows]
    macs = [layer.macs for layer in layers]
    order = sorted(range(len(rows)), key=macs.__getitem__)
    totals = itertools.accumulate(macs[index] for index in order)
    run = [index for index, total in zip(order, totals, strict=True) if total <= MOST_MACS]
    run = run or order[:1]

    theirs = run_scale_sim(scale_sim_python, dataflow, [rows[index] for index in run])
    accelerator = scale_sim_array(dataflow, 32, 32, 256)
    seconds, cycles = ours([layers[index] for index in run], accelerator, empty_caches)
    assert cycles == [found for _, found in theirs]

    whole_seconds, whole_cycles = ours(layers, accelerator, empty_caches)
    whole = sum(c * int(n) for c, n in zip(whole_cycles, sizes["count"], strict=True))
    their_seconds = sum(spent for spent, _ in theirs)
    extrapolated = their_seconds * whole / sum(cycles)
    figure(
        "SCALE-Sim's own networks, 32 x 32: CPU time of layers run; of whole, theirs extrapolated",
        {
            "network": network,
            "dataflow": dataflow,
            "sizes run": f"{len(run)} of {len(rows)}",
            "SCALE-Sim, s": their_seconds,
            "hwmpq, ms": 1000 * seconds,
            "times": their_seconds / seconds,
            "whole: s": extrapolated,
            "whole: ms": 1000 * whole_seconds,
            "whole: times": f"{extrapolated / whole_seconds:,.0f}",
            "at least": f"{TARGET_RATIO:,}",
        },
    )
    assert extrapolated / whole_seconds > TARGET_RATIO
