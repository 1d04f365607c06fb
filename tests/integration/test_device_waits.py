"""A training step must not ask the device for numbers: each answer makes the host wait.

No GPU is needed to see it: reading a tensor as a Python number is an operator of its own.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hwmpq import registry
from hwmpq.allocate.budget import Budget
from hwmpq.codesign.plan import make_plan
from hwmpq.codesign.train import (
    EpochTask,
    Recipe,
    cross_entropy_step,
    make_optimizer,
    train_epoch,
)
from hwmpq.data.base import from_arrays
from hwmpq.methods.base import Task


class Waits(TorchDispatchMode):
    """Counts tensors that are read as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def plan():
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    inputs = (rng.standard_normal((150, 6)) + 3 * np.eye(6)[labels]).astype(np.float32)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 16))
    model.extend([nn.ReLU(), nn.Linear(16, 3)])
    data = from_arrays(inputs, labels, name="blobs")
    return make_plan(model, data, "bitfusion-edge", budget=Budget(latency="0.6x"), fixed={})


@pytest.mark.parametrize("method", sorted(registry.entries("method")))
def test_a_step_reads_no_number_from_the_device(plan, method):
    question, chosen = plan.question, registry.resolve("method", method)
    model = plan.copy_network()
    task = Task(
        workload=question.workload,
        data=plan.data,
        costs=question.costs,
        resources=question.resources(),
        candidates=question.candidates,
        fixed=question.fixed,
        seed=0,
        float_state=model.state_dict(),
        schedule=chosen.schedule(12),
    )
    session = chosen.prepare(model, task)
    recipe = Recipe(epochs=12, batch_size=16)
    waits = []
    for epoch in range(2):
        session.begin_epoch("search")
        epoch_task = EpochTask(
            model=session.model.module,
            part=plan.data.train,
            optimizer=make_optimizer(session.model.module, recipe),
            recipe=recipe,
            epoch=epoch,
            seed=0,
            device="cpu",
            training_step=cross_entropy_step,
            hooks=session,
            on_step=lambda: None,
            what="the network",
        )
        with Waits() as seen:
            train_epoch(epoch_task)
        waits.append(seen.count)
    # Quantisers start in the first steps; afterwards nothing is asked.
    assert waits[1] == 0
