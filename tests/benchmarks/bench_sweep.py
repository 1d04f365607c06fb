"""Points a second of sweeps, the gain of a second process, and memory against points.

The two sweeps below are the ones that ``docs/sweeps.md`` states times of. Times are CPU seconds of
all processes, so that other work on the machine does not count.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from hwmpq.precision import precisions
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sweep.execute import LocalProcesses
from hwmpq.sweep.run import run_sweep
from hwmpq.workload.loader import load_workload

FRONT_TARGET_S = 60.0
VARIANTS_TARGET_S = 300.0
CORES = 2
MOST_GROWTH_MIB = 60
LEAST_EFFICIENCY = 0.7


def save_scores(name: str, file: Path, widths: tuple[int, ...]) -> None:
    """Made-up scores that fall with every bit; the solver does not care whose they are."""
    layers = tuple(layer.name for layer in load_workload(name).multiply_layers)
    columns = precisions(widths, widths)
    bits = np.array([4.0**-p.weight_bits + 4.0**-p.activation_bits for p in columns])
    scale = np.random.default_rng(0).uniform(0.5, 2.0, (len(layers), len(columns)))
    SensitivityTable(
        layers=layers, precisions=columns, values=scale * bits, metric="made up"
    ).save(file)


def write_recipe(folder: Path, name: str, widths: tuple[int, ...], **fields: object) -> Path:
    save_scores(name, folder / "scores.parquet", widths)
    recipe = folder / "recipe.yaml"
    common = {
        "workload": name,
        "sensitivity": str(folder / "scores.parquet"),
        "precisions": {"weight_bits": list(widths), "activation_bits": list(widths)},
    }
    recipe.write_text(yaml.safe_dump(common | fields), encoding="utf-8")
    return recipe


def front_recipe(folder: Path, budgets: int) -> Path:
    """Budgets on one accelerator: ResNet-50 on Stripes, 25 precisions."""
    return write_recipe(
        folder,
        "resnet50",
        (2, 3, 4, 6, 8),
        accelerator="stripes",
        budget={"latency": {"from": "0.65x", "to": "1x", "steps": budgets}},
    )


def variant_recipe(folder: Path, variants: int) -> Path:
    """Variants of one accelerator at ten budgets: ResNet-18 on Bit Fusion, 9 precisions."""
    return write_recipe(
        folder,
        "resnet18",
        (2, 4, 8),
        accelerator="bitfusion-isca18",
        set={
            "compute.rows": [4, 8, 12, 16, 20, 24, 28, 32, 40, 48],
            "dram.bandwidth_bits_per_cycle": {
                "from": 32,
                "to": 32 + 4 * (variants // 10 - 1),
                "steps": variants // 10,
            },
        },
        budget={"latency": {"from": "0.45x", "to": "0.9x", "steps": 10}},
    )


@pytest.mark.parametrize(
    ("recipe", "tried", "whole", "points", "target_s"),
    [
        (front_recipe, 100, 1000, 1, FRONT_TARGET_S),
        (variant_recipe, 40, 2000, 10, VARIANTS_TARGET_S),
    ],
    ids=["1000 budgets", "2000 variants x 10 budgets"],
)
def test_points_a_second(
    figure: Callable,
    cpu_seconds: Callable[[], float],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    recipe: Callable[[Path, int], Path],
    tried: int,
    whole: int,
    points: int,
    target_s: float,
) -> None:
    file = recipe(tmp_path, tried)
    run_sweep(file, tmp_path / "warm")
    started = cpu_seconds()
    run_sweep(file, tmp_path / "timed")
    seconds = cpu_seconds() - started
    a_point = seconds / (tried * points)
    predicted = a_point * whole * points / CORES
    figure(
        "Sweeps: points a second of CPU, and the whole sweep on two idle cores from it",
        {
            "sweep": request.node.callspec.id,
            "points run": tried * points,
            "CPU s": seconds,
            "points a CPU s": 1 / a_point,
            "whole, s": predicted,
            "at most": target_s,
        },
    )
    assert predicted < target_s


def cpu_seconds_with_workers() -> float:
    """CPU time of this process and of its children that are still there, as workers are."""
    process = psutil.Process()
    spent = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(times.user + times.system for times in spent)


def test_efficiency_of_two_processes(figure: Callable, tmp_path: Path) -> None:
    """Wall time tells the efficiency on idle cores only; CPU time what a second process adds."""
    budgets = 400
    file = front_recipe(tmp_path, budgets)
    wall, cpu = {}, {}
    for jobs in (1, 2):
        run_sweep(file, tmp_path / f"warm-{jobs}", executor=LocalProcesses(jobs=jobs))
        started, used = time.perf_counter(), cpu_seconds_with_workers()
        run_sweep(file, tmp_path / str(jobs), executor=LocalProcesses(jobs=jobs))
        wall[jobs] = time.perf_counter() - started
        cpu[jobs] = cpu_seconds_with_workers() - used
        figure(
            f"A sweep of {budgets} budgets by one and by two processes",
            {
                "processes": jobs,
                "wall s": wall[jobs],
                "points a wall s": budgets / wall[jobs],
                "efficiency by wall": f"{wall[1] / (jobs * wall[jobs]):.2f}",
                "CPU s": cpu[jobs],
                "efficiency by CPU": f"{cpu[1] / cpu[jobs]:.2f}",
                "at least": f"{LEAST_EFFICIENCY:.2f}",
            },
        )
    assert cpu[1] / cpu[2] > LEAST_EFFICIENCY


SWEEP_AND_PEAK = """
import resource, sys
from pathlib import Path
from hwmpq.sweep.run import run_sweep
run_sweep(Path(sys.argv[1]), Path(sys.argv[2]))
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
"""


def test_memory_is_flat(figure: Callable, tmp_path: Path) -> None:
    """Each sweep in a process of its own, since a process keeps its peak."""
    peaks = {}
    for variants in (20, 200):
        recipe = variant_recipe(tmp_path, variants)
        done = subprocess.run(
            [sys.executable, "-c", SWEEP_AND_PEAK, str(recipe), str(tmp_path / str(variants))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks[variants] = float(done.stdout.splitlines()[-1])
        figure(
            "Peak memory of a sweep against its points",
            {
                "points": variants * 10,
                "peak, MiB": peaks[variants],
                "more than the first, MiB": f"{peaks[variants] - peaks[20]:.0f}",
                "at most": MOST_GROWTH_MIB,
            },
        )
    assert peaks[200] - peaks[20] < MOST_GROWTH_MIB
