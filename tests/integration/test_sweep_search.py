"""Search over accelerator parameters, with the allocation solved inside each trial."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hwmpq.sweep.answers import find_fronts
from hwmpq.sweep.execute import LocalProcesses
from hwmpq.sweep.run import run_sweep
from hwmpq.sweep.store import CHUNKS

pytest.importorskip("optuna")

AXES = {
    "compute.rows": [2, 4, 8, 16],
    "compute.columns": [2, 4, 8],
    "dram.bandwidth_bits_per_cycle": [32, 64],
}


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_stopped_search_ends_with_the_rows_of_an_undisturbed_one(
    sweep_files, tmp_path: Path, sampler: str
) -> None:
    recipe = sweep_files.recipe(
        set=AXES,
        budget={"latency": "0.6x"},
        area_of="bitfusion-edge",
        area_tolerance=1.0,
        search={
            "sampler": sampler,
            "trials": 15,
            "population": 5,
            "goals": ["sensitivity", "latency", "area"],
        },
    )
    out = tmp_path / "out"
    sweep = run_sweep(recipe, out)
    before = sweep.to_pandas()
    assert len(before) == 15
    assert before["key"].is_unique
    (out / CHUNKS / "0000001.parquet").unlink()
    (out / CHUNKS / "0000002.parquet").unlink()
    after = run_sweep(recipe, out, resume=True)
    pd.testing.assert_frame_equal(before, after.to_pandas())
    excluded = before[before["status"] == "excluded"]
    assert np.all(excluded["area_mm2"] > sweep.plan.area_limit_mm2)
    (front,) = find_fronts(sweep)
    assert front.quantities == ("sensitivity", "latency", "area")
    assert set(front.rows["status"]) == {"optimal"}
    row = dict(before.iloc[3])
    assert sweep.point(row).variant == row["variant"]


def test_a_search_finds_the_grid_s_best(sweep_files, tmp_path: Path) -> None:
    changes = {"set": AXES, "budget": {"weight_memory": "0.95x"}}
    grid = run_sweep(sweep_files.recipe("grid", **changes), tmp_path / "grid").to_pandas()
    search = sweep_files.recipe(
        "search",
        **changes,
        search={"sampler": "tpe", "trials": 24, "population": 6, "goals": "latency"},
    )
    found = run_sweep(search, tmp_path / "search", executor=LocalProcesses(jobs=1)).to_pandas()
    assert len(grid) == 24
    assert found["latency_s"].min() <= grid["latency_s"].quantile(0.2)
