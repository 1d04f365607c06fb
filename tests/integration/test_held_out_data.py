"""Bits are learned from the training part, networks chosen on the validation part, and the test
part is read when all is decided, whatever the method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq import registry
from hwmpq.allocate.budget import Budget
from hwmpq.codesign.progress import Silent
from hwmpq.codesign.run import optimize
from hwmpq.codesign.train import Recipe
from hwmpq.data.base import from_arrays

pytestmark = pytest.mark.slow
EPOCHS = 6


class Counted:
    """A part of the data that counts how often it is read."""

    def __init__(self, part) -> None:
        self.part, self.passes = part, 0

    def __len__(self) -> int:
        return len(self.part)

    def batches(self, *arguments, **options):
        self.passes += 1
        return self.part.batches(*arguments, **options)


class Ledger(Silent):
    """Notes how often the test part had been read at each training step."""

    def __init__(self, test: Counted) -> None:
        self.test, self.seen = test, set()

    def advance(self, phase, remark="") -> None:  # noqa: ARG002
        self.seen.add(self.test.passes)


@pytest.mark.parametrize("method", sorted(registry.entries("method")))
def test_the_test_part_is_read_once_for_each_network_at_the_end(method, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    inputs = (rng.standard_normal((60, 6)) + 3 * np.eye(6)[labels]).astype(np.float32)
    plain = from_arrays(inputs, labels, name="blobs")
    parts = {name: Counted(getattr(plain, name)) for name in ("validation", "test")}
    data = dataclasses.replace(plain, **parts)
    torch.manual_seed(0)
    ledger = Ledger(parts["test"])
    run = optimize(
        nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3)),
        data,
        "bitfusion-edge",
        method=method,
        budget=Budget(latency="0.8x"),
        out=tmp_path / "run",
        recipe=Recipe(epochs=EPOCHS, batch_size=32),
        fixed={},
        progress=ledger,
    )
    assert ledger.seen == {0}
    # The quantised network and the float baseline.
    assert parts["test"].passes == 2
    # The sample that the network is traced with, every epoch of both, and both at the end.
    assert parts["validation"].passes == 1 + 2 * EPOCHS + 2
    tuned = [e.validation_accuracy for e in run.history.epochs if e.phase == "fine-tune"]
    assert run.results.validation_accuracy == max(tuned)
