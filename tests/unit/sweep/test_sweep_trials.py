"""What a study is told of a trial."""

import math

import pytest

from hwmpq.sweep.recipe import SearchSpec
from hwmpq.sweep.trials import tell

optuna = pytest.importorskip("optuna")


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_goal_without_a_number_finishes_its_trial_out_of_every_front(value) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    search = SearchSpec(goals=("latency", "area"), trials=2)
    for area in (value, 3.0):
        row = {"status": "optimal", "latency_s": 1.0, "area_mm2": area}
        tell(study, study.ask(), row, search, None)
    first, second = study.trials
    assert first.state == second.state == optuna.trial.TrialState.COMPLETE
    assert (first.constraints, second.constraints) == ({"fits": 1.0}, {"fits": 0.0})
    assert second.values == [1.0, 3.0]
    assert [trial.number for trial in study.best_trials] == [1]
