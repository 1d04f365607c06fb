"""One network in training: epochs that are recorded, selected on validation data and saved."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from hwmpq.codesign.ablate import Ablation
from hwmpq.codesign.checkpoint import (
    Checkpoint,
    Standing,
    load_optimizer_state,
    network_state,
    optimizer_state,
)
from hwmpq.codesign.folder import HISTORY, RunFolder
from hwmpq.codesign.plan import Plan
from hwmpq.codesign.progress import Listener
from hwmpq.codesign.record import EpochRecord, Phase
from hwmpq.codesign.train import (
    EpochTask,
    Recipe,
    TrainingStep,
    evaluate,
    make_optimizer,
    steps_of,
    train_epoch,
)
from hwmpq.methods.base import Hooks, Method


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What both stages of a run share.

    Attributes:
        plan: network, data, costs and rules.
        method: how bits are found.
        recipe: how networks are trained.
        training_step: loss of a batch.
        folder: the run directory.
        listener: is told of the progress.
        device: torch device.
        ablation: wrong scores on purpose, if any.
        float_epochs: epochs of the float baseline; none where trained weights were given.
    """

    plan: Plan
    method: Method
    recipe: Recipe
    training_step: TrainingStep
    folder: RunFolder
    listener: Listener
    device: str
    ablation: Ablation | None
    float_epochs: int


class Stage:
    """A network, its optimiser, and what is known of it; taken up where a checkpoint left it.

    Attributes:
        model: the network in training.
        optimizer: its optimiser.
        standing: epochs done, history, bits in force, best accuracy.
        best: state of the network at its best accuracy.
        float_state: the trained float baseline, once there is one.
        rate: share of the recipe's learning rate.
    """

    def __init__(
        self,
        setting: Setting,
        name: Literal["float", "quantised"],
        model: nn.Module,
        hooks: Hooks,
        checkpoint: Checkpoint,
        rate: float = 1.0,
    ) -> None:
        self.setting = setting
        self.rate = rate
        self.name = name
        self.standing = checkpoint.standing
        self.best = dict(checkpoint.section("best"))
        self.float_state = checkpoint.section("float")
        self.announced: set[Phase] = set()
        self.replace_network(model)
        if network := checkpoint.section("network"):
            self.model.load_state_dict(dict(network))
            load_optimizer_state(self.optimizer, checkpoint.section("optimizer"))
            hooks.load_state(checkpoint.section("session"))

    def replace_network(self, model: nn.Module) -> None:
        """Train another network from now on, with a fresh optimiser."""
        self.model = model.to(self.setting.device)
        self.refresh_optimizer()

    def refresh_optimizer(self) -> None:
        """Begin with a fresh optimiser, without momentum."""
        self.optimizer: torch.optim.Optimizer = make_optimizer(self.model, self.setting.recipe)

    def announce(self, phase: Phase, epochs: range) -> None:
        """Tell the listener how many steps a phase takes."""
        if phase not in self.announced and len(epochs):
            self.announced.add(phase)
            steps = steps_of(self.setting.plan.data.train, self.setting.recipe.batch_size)
            done = max(0, self.standing.epochs - epochs.start)
            self.setting.listener.start(phase, len(epochs) * steps, done * steps)

    def run_epoch(self, phase: Phase, hooks: Hooks, *, selectable: bool) -> None:
        """Train one epoch, record it, keep the network if it is the best, and save.

        Args:
            phase: of the epoch.
            hooks: the method's.
            selectable: whether the network after this epoch may be the one that is kept.
        """
        setting, recipe, data = self.setting, self.setting.recipe, self.setting.plan.data
        history = self.standing.history
        records = history.float_epochs if self.name == "float" else history.epochs
        remark = f"validation {records[-1].validation_accuracy:.3f}" if records else ""
        begun = time.perf_counter()
        loss = train_epoch(
            EpochTask(
                model=self.model,
                part=data.train,
                optimizer=self.optimizer,
                recipe=recipe,
                epoch=self.standing.epochs,
                seed=setting.plan.seed,
                device=setting.device,
                training_step=setting.training_step,
                hooks=hooks,
                on_step=lambda: setting.listener.advance(phase, remark),
                what=f"the {self.name} network",
                rate=self.rate,
            )
        )
        rate = self.optimizer.param_groups[0]["lr"]
        hooks.end_epoch()
        if hooks.wants_fresh_optimizer():
            self.refresh_optimizer()
        accuracy = self.accuracy()
        record = EpochRecord(
            epoch=self.standing.epochs,
            phase=phase,
            train_loss=loss,
            validation_accuracy=accuracy,
            learning_rate=rate,
            seconds=time.perf_counter() - begun,
        )
        field = "float_epochs" if self.name == "float" else "epochs"
        changes: dict[str, object] = {
            "epochs": self.standing.epochs + 1,
            "history": history.model_copy(update={field: (*records, record)}),
        }
        # Of equal accuracies the later epoch is kept: its learning rate was lower.
        if selectable and accuracy >= self.standing.best_accuracy:
            self.best = network_state(self.model)
            changes["best_accuracy"] = accuracy
        self.standing = self.standing.model_copy(update=changes)
        self.save(hooks)

    def accuracy(self) -> float:
        """Accuracy on the validation part."""
        return evaluate(
            self.model,
            self.setting.plan.data.validation,
            batch_size=self.setting.recipe.batch_size,
            device=self.setting.device,
        )

    def save(self, hooks: Hooks) -> None:
        """Write the checkpoint, then the history for those who look on."""
        checkpoint = Checkpoint(
            self.standing,
            {
                "network": network_state(self.model),
                "optimizer": optimizer_state(self.optimizer),
                "session": hooks.state(),
                "best": self.best,
                "float": self.float_state,
            },
        )
        checkpoint.save(self.setting.folder.checkpoint_file)
        self.setting.folder.write(HISTORY, self.standing.history)


def train_float(setting: Setting, checkpoint: Checkpoint) -> Checkpoint:
    """Train the float baseline; what comes back begins the quantised stage.

    The network of the epoch with the best validation accuracy is kept under ``float``; without any
    epoch, that is the network as it was given.
    """
    if checkpoint.standing.stage == "quantised":
        return checkpoint
    hooks = Hooks()
    stage = Stage(setting, "float", setting.plan.copy_network(), hooks, checkpoint)
    stage.best = stage.best or network_state(stage.model)
    stage.announce("float", range(setting.float_epochs))
    while stage.standing.epochs < setting.float_epochs:
        stage.run_epoch("float", hooks, selectable=True)
    standing = Standing(stage="quantised", history=stage.standing.history)
    return Checkpoint(standing, {"float": stage.best})
