"""A plain training loop: one epoch, an accuracy, batch-norm statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from hwmpq.data.base import Batch, Part
from hwmpq.data.loss import classes_second, cross_entropy
from hwmpq.errors import TrainingError
from hwmpq.methods.base import Hooks
from hwmpq.quant.base import FakeQuantizer

TrainingStep: TypeAlias = Callable[[nn.Module, Batch], Tensor]
"""Forward pass of a batch: network and batch in, mean loss of the batch out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How networks are trained; the float baseline and the quantised network share it.

    Attributes:
        epochs: passes over the training data, of each of the two.
        batch_size: samples of a mini-batch.
        learning_rate: at its highest; it rises over the first epoch and falls along a cosine.
        momentum: Nesterov momentum of SGD.
        weight_decay: of weights with at least two dimensions.
        gradient_clip: largest norm of all gradients together.
        hysteresis: an allocation replaces the one in force if it lowers the sensitivity under
            current scores by more than this share.
    """

    epochs: int = 24
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    gradient_clip: float = 5.0
    hysteresis: float = 0.02


def cross_entropy_step(model: nn.Module, batch: Batch) -> Tensor:
    """The usual training step of a classifier, of samples or of tokens."""
    inputs, labels = batch
    return cross_entropy(model(inputs), labels)


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of everything random in an epoch, so that an epoch can be repeated alone."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD whose weight decay spares norms, biases and quantiser parameters.

    Quantisers that want to decay, as PACT's clipping level does, say so.
    """
    spared: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            decays = module.decays if isinstance(module, FakeQuantizer) else parameter.ndim > 1
            (decayed if decays else spared).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step: linear over the first epoch, then half a cosine down to 1 %."""
    total, rise = recipe.epochs * steps_per_epoch, steps_per_epoch
    if step < rise:
        return recipe.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, total - rise)
    return recipe.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True, kw_only=True)
class EpochTask:
    """One epoch to train.

    Attributes:
        model: the network.
        part: training data.
        optimizer: of the network's parameters.
        recipe: how to train.
        epoch: counted from 0.
        seed: of the run.
        device: torch device.
        training_step: loss of a batch.
        hooks: the method's hooks.
        on_step: is told of each finished step.
        what: what is trained, for messages.
        rate: share of the recipe's learning rate.
    """

    model: nn.Module
    part: Part
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    epoch: int
    seed: int
    device: str
    training_step: TrainingStep
    hooks: Hooks
    on_step: Callable[[], None]
    what: str
    rate: float = 1.0


def steps_of(part: Part, batch_size: int) -> int:
    """Mini-batches of an epoch."""
    return math.ceil(len(part) / batch_size)


def train_epoch(task: EpochTask) -> float:
    """Train one epoch; returns the mean loss.

    Raises:
        TrainingError: the loss is not finite; names epoch and step.
    """
    seed = epoch_seed(task.seed, task.epoch)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    recipe = task.recipe
    count = steps_of(task.part, recipe.batch_size)
    parameters = [p for group in task.optimizer.param_groups for p in group["params"]]
    task.model.train()
    total = 0.0
    batches = task.part.batches(recipe.batch_size, generator=generator)
    for step, (inputs, labels) in enumerate(batches):
        batch = (inputs.to(task.device), labels.to(task.device))
        rate = task.rate * learning_rate(recipe, task.epoch * count + step, count)
        for group in task.optimizer.param_groups:
            group["lr"] = rate
        task.optimizer.zero_grad(set_to_none=True)
        # Losses of the passes, then the gradient's norm and the last loss without penalty.
        seen: list[Tensor] = []
        for _ in task.hooks.passes():
            loss = task.training_step(task.model, batch)
            penalty = task.hooks.loss_penalty()
            whole = loss if penalty is None else loss + penalty
            whole.backward()  # type: ignore[no-untyped-call]
            seen.append(whole.detach())
        task.hooks.before_step()
        seen.append(nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip))
        seen.append(loss.detach())
        # Read together: each reading makes the host wait for the device.
        *checked, loss_value = torch.stack(seen).tolist()
        _require_finite(checked, task, step, rate)
        task.optimizer.step()
        task.hooks.after_step()
        task.on_step()
        total += loss_value * len(labels)
    return total / len(task.part)


def _require_finite(values: list[float], task: EpochTask, step: int, rate: float) -> None:
    for value in values:
        if not math.isfinite(value):
            msg = (
                f"training of {task.what} diverged in epoch {task.epoch + 1}, step {step + 1}: "
                f"loss or gradient became {value} at a learning rate of {rate:.3g}. Lower the "
                "learning rate, widen the candidates, or check the data and the training step"
            )
            raise TrainingError(msg)


@torch.no_grad()
def evaluate(model: nn.Module, part: Part, *, batch_size: int, device: str) -> float:
    """Share of labels, one a sample or one a token, that have the highest score."""
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    total = 0
    for inputs, labels in part.batches(batch_size):
        known = labels.to(device)
        predicted = classes_second(model(inputs.to(device)), known).argmax(dim=1)
        correct += (predicted == known).sum()
        total += known.numel()
    return int(correct) / total


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, part: Part, *, batch_size: int, device: str) -> None:
    """Replace running statistics by their mean over one pass of the data, in order.

    Bits that change shift what a norm sees; training's moving average would lag behind. All but
    the norms run as in evaluation: dropout would widen what a norm sees then.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = cast("float", None)  # a cumulative mean
        norm.train()
    for inputs, _ in part.batches(batch_size):
        model(inputs.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
