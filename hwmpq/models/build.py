"""Models by the name of their workload, for training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hwmpq.workload.loader import read_workload_file
from hwmpq.workload.torch_file import construct


def build_model(name_or_path: str | Path, *, seed: int) -> nn.Module:
    """Build the network that a workload file names, with weights drawn from a seed.

    The global random state of torch is left as it was.

    Raises:
        NotFoundError: no shipped workload of that name.
        SpecError: the file is no ``torch:`` workload, or its function fails.
    """
    file = read_workload_file(name_or_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return construct(file)
