"""Points a second of sweeps, the gain of a second process, and memory against points.

The two sweeps below are the ones that ``docs/sweeps.md`` states times of. Times are CPU seconds of
all processes, so that other work on the machine does not count; on two idle cores the wall time is
what ``two_processes_s`` predicts from the measured efficiency.
"""

import os
import resource
import time
from pathlib import Path

import numpy as np
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


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


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
    benchmark, tmp_path: Path, recipe, tried: int, whole: int, points: int, target_s: float
) -> None:
    file = recipe(tmp_path, tried)
    runs = iter(range(100))

    def run() -> float:
        started = time.process_time()
        run_sweep(file, tmp_path / str(next(runs)))
        return time.process_time() - started

    seconds = benchmark.pedantic(run, rounds=1, warmup_rounds=1)
    a_point = seconds / (tried * points)
    benchmark.extra_info["points_per_cpu_second"] = round(1 / a_point, 1)
    benchmark.extra_info["two_processes_s"] = round(a_point * whole * points / CORES, 1)
    assert a_point * whole * points / CORES < target_s


def test_efficiency_of_two_processes(benchmark, tmp_path: Path) -> None:
    file = front_recipe(tmp_path, 200)
    used = {}
    for jobs in (1, 2):
        run_sweep(file, tmp_path / f"warm-{jobs}", executor=LocalProcesses(jobs=jobs))
        started = time.perf_counter()
        run_sweep(file, tmp_path / str(jobs), executor=LocalProcesses(jobs=jobs))
        used[jobs] = time.perf_counter() - started
    benchmark.extra_info["wall_s"] = {jobs: round(seconds, 2) for jobs, seconds in used.items()}
    benchmark.extra_info["efficiency"] = round(used[1] / (2 * used[2]), 2)
    benchmark.pedantic(lambda: None, rounds=1)


def test_memory_is_flat(benchmark, tmp_path: Path) -> None:
    def peak_kib() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    run_sweep(variant_recipe(tmp_path, 20), tmp_path / "few")
    before = peak_kib()
    run_sweep(variant_recipe(tmp_path, 200), tmp_path / "many")
    grown = peak_kib() - before
    benchmark.extra_info["grown_kib_over_1800_points"] = grown
    benchmark.pedantic(lambda: None, rounds=1)
    assert grown < 60 * 1024
