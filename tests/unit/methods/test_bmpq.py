from __future__ import annotations

import pytest

from hwmpq.errors import TrainingError
from hwmpq.methods.bmpq import BMPQ
from hwmpq.methods.uniform import Uniform


def test_schedule_has_the_papers_shares():
    # 200 epochs: every 20 from the end of the warm-up on, none in the last quarter.
    schedule = BMPQ().schedule(200)
    assert schedule.warm_up == 20
    assert schedule.allocate_after == (40, 60, 80, 100, 120, 140)
    assert schedule.start == "scratch"


def test_phases_cover_all_epochs():
    schedule = BMPQ(warm_up=3, interval=2).schedule(12)
    assert schedule.allocate_after == (5, 7, 9)
    phases = [schedule.phase(epoch) for epoch in range(12)]
    assert phases == ["warm-up"] * 3 + ["search"] * 6 + ["fine-tune"] * 3
    for phase in ("warm-up", "search", "fine-tune"):
        assert [e for e in range(12) if phases[e] == phase] == list(schedule.epochs_of(phase))


@pytest.mark.parametrize("epochs", range(4, 60))
def test_every_length_leaves_epochs_for_fine_tuning(epochs):
    schedule = BMPQ().schedule(epochs)
    assert 0 < schedule.warm_up < schedule.allocate_after[0]
    assert schedule.allocate_after[-1] < epochs


def test_too_few_epochs_say_what_is_needed():
    with pytest.raises(TrainingError, match=r"warm-up .1., an interval .1. and frozen epochs .1."):
        BMPQ().schedule(2)
    with pytest.raises(TrainingError, match="uniform needs at least 1 epochs, but got 0"):
        Uniform().schedule(0)


def test_uniform_chooses_before_it_trains():
    schedule = Uniform().schedule(5)
    assert schedule.allocate_after == (0,)
    assert [schedule.phase(epoch) for epoch in range(5)] == ["fine-tune"] * 5
    assert list(schedule.epochs_of("fine-tune")) == [0, 1, 2, 3, 4]
