"""Whether measured pairs of layers foretell the loss better than layers one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.codesign.train import cross_entropy_step
from hwmpq.data.base import load_data
from hwmpq.precision import precisions
from hwmpq.sensitivity.interaction import PairwiseLoss
from hwmpq.sensitivity.noise import input_tops, read_only
from hwmpq.sensitivity.perturb import operand_widths, quantised
from hwmpq.sensitivity.probe import hold_batches, probing
from hwmpq.workload.from_torch import extract

COLUMNS = precisions([2, 3, 4], [3, 4])


@pytest.mark.slow
def test_pairs_foretell_the_loss_of_random_assignments_better_than_layers_alone():
    torch.manual_seed(0)
    data = load_data("digits")
    sizes = (64, 32, 32, 32, 10)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    model = nn.Sequential(nn.Flatten(), layers[0])
    for layer in layers[1:]:
        model.extend([nn.ReLU(), layer])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(8):
        for batch in data.train.batches(64, generator=torch.Generator().manual_seed(epoch)):
            optimizer.zero_grad()
            cross_entropy_step(model, batch).backward()
            optimizer.step()
    workload = extract(model, data.example)
    found = PairwiseLoss(batches=2, batch_size=64).measure(model, workload, data, COLUMNS)
    names = found.single.layers
    held = hold_batches(data, batches=2, batch_size=64, seed=0)
    generator = np.random.default_rng(0)
    alone, together = [], []
    with probing(model, workload, seed=0) as probe, torch.no_grad():
        tops = input_tops(probe, held, read_only(probe.operands()))
        for _ in range(60):
            chosen = {name: int(generator.integers(len(COLUMNS))) for name in names}
            bits = {n: COLUMNS[c] for n, c in chosen.items()}
            with quantised(probe, operand_widths(bits), tops, "tensor"):
                losses = [float(probe.loss(batch)) for batch in held]
            true = np.mean(losses) - float(found.single.meta["loss"])
            single = sum(found.single.at(name, bits[name]) for name in names)
            alone.append(abs(single - true))
            together.append(abs(found.predict(chosen) - true))
    assert np.median(together) < 0.6 * np.median(alone)
