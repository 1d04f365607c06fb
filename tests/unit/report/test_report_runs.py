"""Frames about runs: budgets, rounds, comparison and spread over seeds."""

from collections.abc import Callable

import pandas as pd
import pytest

from hwmpq.codesign.folder import Run
from hwmpq.precision import Precision
from hwmpq.report.columns import budget_grid, spread_grid
from hwmpq.report.run_tables import (
    bits_by_column,
    budget_frame,
    comparison_frame,
    round_frame,
    run_names,
    spread_frame,
)


def test_budgets_state_limit_achieved_slack_and_shadow_price(run: Run) -> None:
    row = budget_frame(run.results.allocation, run.manifest.budgets).iloc[0]
    assert row["asked"] == "0.9x"
    assert row["slack"] == row["limit"] - row["achieved"] > 0
    assert row["slack_share"] == pytest.approx(row["slack"] / row["limit"])
    assert row["shadow_price"] == 0.0125
    assert row["held"]


def test_printed_budgets_carry_their_unit(run: Run) -> None:
    grid = budget_grid(budget_frame(run.results.allocation, run.manifest.budgets))
    texts = dict(zip((c.key for c in grid.columns), (c.text for c in grid.rows[0]), strict=True))
    assert texts["limit"].endswith(" cycles")
    assert texts["shadow_price"] == "0.0125 per cycle"
    assert texts["held"] == "yes"


def test_rounds_relate_costs_to_the_reference(run: Run) -> None:
    frame = round_frame(run.history, run.results.reference_totals)
    assert frame["accepted"].tolist() == [True, False, True]
    expected = frame["latency_cycles"] / run.results.reference_totals.latency_cycles
    assert frame["latency_vs_reference"].tolist() == pytest.approx(expected.tolist())


def test_bits_are_laid_out_by_layer_and_column() -> None:
    weights, activations = bits_by_column(
        {"0": {"a": Precision(2, 8)}, "1": {"a": Precision(4, 8), "b": Precision(8, 4)}}
    )
    assert weights.loc["a"].tolist() == [2, 4]
    assert pd.isna(weights.loc["b", "0"])
    assert activations.loc["b", "1"] == 4


def test_equal_folder_names_are_told_apart(build_run: Callable[..., Run]) -> None:
    runs = [build_run("x/run"), build_run("y/run"), build_run("z/run"), build_run("other")]
    assert run_names(runs) == ("run", "run (2)", "run (3)", "other")


def test_comparison_and_spread_over_seeds(build_run: Callable[..., Run]) -> None:
    runs = [
        build_run("a", seed=0, accuracy=0.95),
        build_run("b", seed=1, accuracy=0.97),
        build_run("c", seed=0, accuracy=0.90, method="dq"),
    ]
    comparison = comparison_frame(runs)
    assert comparison["accuracy_change"].tolist() == pytest.approx([-0.025, -0.005, -0.075])
    spread = spread_frame(comparison).set_index("method")
    assert spread.loc["bmpq", "test_accuracy_mean"] == pytest.approx(0.96)
    # Two values 0.02 apart: sample deviation 0.02 / sqrt(2).
    assert spread.loc["bmpq", "test_accuracy_std"] == pytest.approx(0.0141421, rel=1e-5)
    assert spread.loc["bmpq", "seeds"] == 2
    assert pd.isna(spread.loc["dq", "test_accuracy_std"])
    printed = spread_grid(spread_frame(comparison))
    texts = {cell.text for row in printed.rows for cell in row}
    assert "96.00 % ± 1.41 %" in texts
    assert "90.00 %" in texts


def test_runs_with_other_settings_are_no_repeats_of_each_other(build_run) -> None:
    def settings(rate: str, ablation: str) -> dict[str, str]:
        return {"recipe.learning_rate": rate, "ablation": ablation, "method.interval": "2"}

    runs = [
        build_run("a", seed=0, settings=settings("0.1", "None")),
        build_run("b", seed=1, settings=settings("0.1", "None")),
        build_run("c", seed=0, settings=settings("0.1", "reversed")),
        build_run("d", seed=0, settings=settings("0.1", "random"), method="dq"),
        build_run("e", seed=0, settings=settings("0.2", "None"), method="uniform"),
    ]
    named = ["bmpq", "bmpq (ablation reversed)", "dq (ablation random)", "uniform"]
    spread = spread_frame(comparison_frame(runs))
    assert spread["method"].tolist() == named
    assert spread["runs"].tolist() == [2, 1, 1, 1]
