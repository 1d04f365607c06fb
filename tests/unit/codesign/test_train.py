from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hwmpq.codesign.train import (
    EpochTask,
    Recipe,
    cross_entropy_step,
    epoch_seed,
    evaluate,
    learning_rate,
    make_optimizer,
    reestimate_batch_norm,
    steps_of,
    train_epoch,
)
from hwmpq.data.base import TensorPart
from hwmpq.errors import TrainingError
from hwmpq.methods.base import Hooks
from hwmpq.quant.pact import PactQuantizer


@pytest.fixture
def part():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 4, generator=generator) + 3 * nn.functional.one_hot(labels, 4)
    return TensorPart(inputs, labels)


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def task(model, part, *, epoch=0, hooks=None, step=cross_entropy_step, recipe=None, on_step=None):
    recipe = recipe or Recipe(epochs=4, batch_size=16, learning_rate=0.1)
    return EpochTask(
        model=model,
        part=part,
        optimizer=make_optimizer(model, recipe),
        recipe=recipe,
        epoch=epoch,
        seed=0,
        device="cpu",
        training_step=step,
        hooks=hooks or Hooks(),
        on_step=on_step or (lambda: None),
        what="the network",
    )


def test_training_lowers_the_loss_and_repeats_bit_for_bit(part):
    def trained():
        model = network()
        whole = task(model, part)
        losses = []
        for epoch in range(4):
            losses.append(train_epoch(EpochTask(**{**vars(whole), "epoch": epoch})))
        return losses, model

    first, model = trained()
    second, _ = trained()
    assert first == second
    assert first[-1] < first[0] / 2
    assert evaluate(model, part, batch_size=7, device="cpu") > 0.9


def test_learning_rate_rises_over_the_first_epoch_and_falls_to_one_percent():
    recipe = Recipe(epochs=10, learning_rate=0.2)
    assert learning_rate(recipe, 0, 4) == pytest.approx(0.05)
    assert learning_rate(recipe, 3, 4) == pytest.approx(0.2)
    assert learning_rate(recipe, 4, 4) == pytest.approx(0.2)
    middle = learning_rate(recipe, 4 + 18, 4)
    assert middle == pytest.approx(0.2 * (0.01 + 0.99 / 2))
    assert learning_rate(recipe, 39, 4) < 0.2 * 0.02


def test_seed_of_an_epoch_depends_on_run_and_epoch():
    seeds = {epoch_seed(run, epoch) for run in range(4) for epoch in range(50)}
    assert len(seeds) == 200


def test_weight_decay_spares_norms_biases_and_steps_but_not_clips():
    model = network()
    model.add_module("clip", PactQuantizer(4, signed=False))
    groups = make_optimizer(model, Recipe(weight_decay=0.1)).param_groups
    decayed, spared = ([id(p) for p in group["params"]] for group in groups)
    assert groups[0]["weight_decay"] == 0.1
    assert groups[1]["weight_decay"] == 0
    assert id(model.clip.clip) in decayed
    assert id(model[0].weight) in decayed
    assert id(model[0].bias) in spared
    assert id(model[1].weight) in spared
    assert len(decayed) + len(spared) == len(list(model.parameters()))


def test_a_loss_that_is_not_a_number_names_epoch_and_step_and_a_way_out(part):
    steps = []

    def step(model, batch):
        steps.append(1)
        loss = cross_entropy_step(model, batch)
        return loss * math.nan if len(steps) == 3 else loss

    pattern = r"the network diverged in epoch 2, step 3: .*nan.*Lower the learning rate"
    with pytest.raises(TrainingError, match=pattern):
        train_epoch(task(network(), part, epoch=1, step=step))


def test_an_infinite_gradient_is_caught_before_it_reaches_the_weights(part):
    model = network()
    before = model[0].weight.detach().clone()

    class Explode(Hooks):
        def before_step(self):
            model[0].weight.grad.fill_(math.inf)

    with pytest.raises(TrainingError, match="diverged in epoch 1, step 1"):
        train_epoch(task(model, part, hooks=Explode()))
    assert torch.equal(model[0].weight, before)


def test_hooks_run_in_order_and_passes_accumulate_gradients(part):
    calls = []
    model = network()
    gradients = []

    class Twice(Hooks):
        def passes(self):
            for index in range(2):
                calls.append(f"pass {index}")
                yield

        def loss_penalty(self):
            calls.append("penalty")
            return 1000 * model[0].bias.sum()

        def before_step(self):
            calls.append("before")
            gradients.append(model[0].bias.grad.clone())

        def after_step(self):
            calls.append("after")

    small = TensorPart(part.inputs[:8], part.labels[:8])
    train_epoch(task(model, small, hooks=Twice()))
    assert calls == ["pass 0", "penalty", "pass 1", "penalty", "before", "after"]
    # Two passes, each with a penalty slope of 1000; batch norm removes the rest.
    torch.testing.assert_close(gradients[0], torch.full((8,), 2000.0), rtol=1e-4, atol=1e-2)


def test_gradients_are_clipped_to_the_norm(part):
    recipe = Recipe(
        epochs=1, batch_size=60, learning_rate=1.0, momentum=0, weight_decay=0, gradient_clip=1e-3
    )
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    train_epoch(task(model, part, recipe=recipe))
    moved = sum(
        float((p.detach() - b).square().sum())
        for p, b in zip(model.parameters(), before, strict=True)
    )
    assert math.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


def test_steps_are_announced(part):
    seen = []
    train_epoch(task(network(), part, on_step=lambda: seen.append(1)))
    assert len(seen) == steps_of(part, 16) == 4


def test_dropout_does_not_reach_what_norms_estimate(part):
    plain, dropped = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    reestimate_batch_norm(nn.Sequential(plain), part, batch_size=20, device="cpu")
    model = nn.Sequential(nn.Dropout(0.5), dropped)
    reestimate_batch_norm(model, part, batch_size=20, device="cpu")
    torch.testing.assert_close(dropped.running_var, plain.running_var)


def test_batch_norm_statistics_become_those_of_the_data(part):
    norm = nn.BatchNorm1d(4, momentum=0.1)
    norm.running_mean.fill_(99.0)
    reestimate_batch_norm(nn.Sequential(norm), part, batch_size=20, device="cpu")
    torch.testing.assert_close(norm.running_mean, part.inputs.mean(dim=0))
    assert norm.momentum == 0.1
    batches = part.inputs.split(20)
    expected = torch.stack([batch.var(dim=0) for batch in batches]).mean(dim=0)
    torch.testing.assert_close(norm.running_var, expected)
