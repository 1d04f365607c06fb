"""The main job: a network in, a mixed-precision one inside its budget and a run directory out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from hwmpq import registry
from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.budget import REFERENCE, Budget
from hwmpq.allocate.ties import Tie
from hwmpq.codesign.ablate import Ablation
from hwmpq.codesign.bars import listening
from hwmpq.codesign.checkpoint import Checkpoint
from hwmpq.codesign.folder import MANIFEST, Run, open_run_folder
from hwmpq.codesign.loop import co_optimise
from hwmpq.codesign.outcome import conclude
from hwmpq.codesign.plan import described, make_plan
from hwmpq.codesign.progress import Listener
from hwmpq.codesign.stage import Setting, train_float
from hwmpq.codesign.train import Recipe, TrainingStep, cross_entropy_step
from hwmpq.data.base import Data
from hwmpq.errors import UnsupportedError
from hwmpq.methods.base import Method
from hwmpq.precision import Precision

__all__ = ["Run", "optimize"]


def optimize(
    model: nn.Module | str | Path,
    data: Data | str | Path | None,
    accelerator: Accelerator | str | Path,
    *,
    method: Method | str,
    budget: Budget,
    out: str | Path,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    reference: Precision = REFERENCE,
    candidates: Sequence[Precision] | None = None,
    fixed: Mapping[str, Precision] | None = None,
    groups: Sequence[Tie | Sequence[str]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Listener | bool | None = None,
    ablation: Ablation | None = None,
    recipe: Recipe | None = None,
    training_step: TrainingStep | None = None,
    weights: str | Path | None = None,
    command: str = "",
) -> Run:
    """Train a network to mixed precision for an accelerator, inside a hard budget.

    A float baseline is trained first with the same recipe. The same arguments give the same result
    bit for bit on the same machine, also when the run was killed and resumed in between.

    Args:
        model: a torch module, which is left as it is, or the name or path of a workload.
        data: a data set or its name; None is the one that the workload file names.
        accelerator: an accelerator, or its name or path.
        method: a method or its name.
        budget: hard limits; checked before training.
        out: the run directory.
        epochs: passes over the training data of either network; None leaves it to the recipe.
        seed: of everything random.
        device: torch device.
        threads: CPU threads; one is fastest for small networks.
        reference: the uniform precision that relative limits refer to.
        candidates: precisions to choose from; by default what the accelerator runs from two to
            eight bits.
        fixed: pins by layer name or pattern; by default 8/8 for the first and the last layer.
        groups: layers that share bits; by default those that read the same tensor.
        resume: go on with an unfinished run of the same settings; a finished one is read back.
        overwrite: replace a run that lies in the directory.
        progress: is told of phases and steps; True is bars with the time left on standard error,
            False is silence, and None is bars if that is a terminal or a notebook.
        ablation: allocate by reversed or random scores under the same budget.
        recipe: how both networks are trained.
        training_step: loss of a batch, for networks that are no plain classifiers.
        weights: a float checkpoint to start from, which then is the float baseline as it is: a
            safetensors file, a torch state dict, or a run directory.
        command: the command line, for the manifest.

    Raises:
        InfeasibleError: no assignment meets the budget; says the least that is achievable.
        OutputError: the directory holds another run, or cannot be written.
        TrainingError: training diverged; the directory keeps the last good epoch and no results.
        HwmpqError: something does not exist or does not fit.
    """
    chosen: Method = registry.resolve("method", method) if isinstance(method, str) else method
    recipe = recipe or Recipe()
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    _require_device(device)
    chosen.schedule(recipe.epochs)
    plan = make_plan(
        model,
        data,
        accelerator,
        budget=budget,
        seed=seed,
        reference=reference,
        candidates=candidates,
        fixed=fixed,
        groups=groups,
        weights=None if weights is None else Path(weights),
    )
    question = plan.question
    settings = described("method", chosen) | described("recipe", recipe)
    manifest = plan.manifest(
        method=chosen.name,
        settings=settings | {"ablation": str(ablation)},
        epochs=recipe.epochs,
        device=device,
        threads=threads,
        command=command,
    )
    with listening(progress) as listener:
        listener.budgets(question.intervals(), question.limits(), reference)
        question.require_feasible()
        folder = open_run_folder(
            out,
            manifest,
            resume=resume,
            overwrite=overwrite,
            needed_bytes=_needed_bytes(plan.model),
        )
        if folder.complete:
            return Run.load(folder.root)
        checkpoint = Checkpoint()
        if folder.checkpoint_file.is_file():
            checkpoint = Checkpoint.load(folder.checkpoint_file)
        else:
            folder.write(MANIFEST, manifest)
            folder.write_accelerator(question.accelerator)
            folder.write_costs(question.costs)
        setting = Setting(
            plan=plan,
            method=chosen,
            recipe=recipe,
            training_step=training_step or cross_entropy_step,
            folder=folder,
            listener=listener,
            device=device,
            ablation=ablation,
            float_epochs=recipe.epochs if weights is None else 0,
        )
        with _torch_settings(threads, device):
            checkpoint = train_float(setting, checkpoint)
            return conclude(setting, *co_optimise(setting, checkpoint))


def _require_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        msg = f"device '{device}' cannot be used here ({reason}); try --device cpu"
        raise UnsupportedError(msg) from error


def _needed_bytes(model: nn.Module) -> int:
    # A checkpoint holds the network, its momentum, the best one and the float one, twice while it
    # is replaced; the trained network comes on top.
    sizes = (tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    whole: int = sum(sizes)
    return 10 * whole


@contextmanager
def _torch_settings(threads: int, device: str) -> Iterator[None]:
    """Threads, random state and determinism for a run; as before afterwards."""
    before = torch.get_num_threads()
    deterministic = torch.backends.cudnn.deterministic
    devices: list[int] | None = [] if device == "cpu" else None
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_num_threads(before)
        torch.backends.cudnn.deterministic = deterministic
