from __future__ import annotations

import pytest

from hwmpq.errors import TrainingError
from hwmpq.methods.hawq import HAWQ
from hwmpq.methods.limpq import LIMPQ


def test_limpq_allocates_once_after_the_joint_training():
    schedule = LIMPQ().schedule(24)
    assert schedule.allocate_after == (4,)
    assert schedule.start == "float"
    assert [schedule.phase(epoch) for epoch in (0, 3, 4, 23)] == [
        "search",
        "search",
        "fine-tune",
        "fine-tune",
    ]


def test_limpq_needs_an_epoch_after_the_search():
    with pytest.raises(TrainingError, match="limpq needs at least 4 epochs, but got 3"):
        LIMPQ(search=3).schedule(3)


def test_hawq_allocates_on_the_float_network():
    schedule = HAWQ().schedule(3)
    assert schedule.allocate_after == (0,)
    assert schedule.start == "float"
