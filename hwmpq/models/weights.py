"""Trained weights from files, read without running anything in them."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hwmpq.errors import Problem, SpecError
from hwmpq.shipped import missing_file

_SHADOW = ".parametrizations.weight.original"
_RUN_WEIGHTS = "weights.safetensors"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, a torch state dict, or the shadow weights of a run directory.

    Raises:
        SpecError: missing, or neither of the formats.
    """
    file = path / _RUN_WEIGHTS if (path / _RUN_WEIGHTS).is_file() else path
    if not file.is_file():
        raise missing_file(file)
    try:
        if file.suffix == ".safetensors":
            found: object = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        rule = f"holds no weights that can be read safely: {str(error).partition(chr(10))[0]}"
        fix = "Save a state dict with safetensors, or with torch.save(model.state_dict(), ...)."
        raise SpecError(str(file), [Problem("file", rule, fix=fix)]) from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        rule = "must hold a state dict of tensors"
        raise SpecError(str(file), [Problem("file", rule, type(found).__name__)])
    return {name.replace(_SHADOW, ".weight"): tensor for name, tensor in found.items()}


def load_weights(model: nn.Module, path: Path) -> None:
    """Put weights from a file into a network, in place.

    Entries of quantisers, which a float network lacks, are left out; everything that the network
    has must be there in the same shape.

    Raises:
        SpecError: the file is unreadable, or tensors are missing or of another shape.
    """
    found = read_weights(path)
    wanted = model.state_dict()
    problems = [
        Problem(name, "is missing", fix="Is this a checkpoint of the same network?")
        for name in wanted
        if name not in found
    ]
    problems += [
        Problem(
            name,
            f"must have shape {tuple(tensor.shape)}",
            str(tuple(found[name].shape)),
        )
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        raise SpecError(str(path), problems)
    model.load_state_dict({name: found[name] for name in wanted})
