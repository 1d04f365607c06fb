"""How long reading a network takes, and how much memory: run with ``make bench``."""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch

from hwmpq.models.llama import tinyllama_1_1b
from hwmpq.models.resnet import resnet50
from hwmpq.workload.from_torch import extract


def peak_mebibytes() -> float:
    """Peak memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def test_resnet50(benchmark: Any) -> None:
    model = resnet50()
    workload = benchmark.pedantic(lambda: extract(model, torch.zeros(1, 3, 224, 224)), rounds=3)
    assert workload.macs == 4_089_184_256
    assert benchmark.stats.stats.max < 15


def test_a_billion_parameters_without_weights(benchmark: Any) -> None:
    before = peak_mebibytes()
    with torch.device("meta"):
        model = tinyllama_1_1b()
    prompt = torch.zeros(1, 512, dtype=torch.long)
    workload = benchmark.pedantic(lambda: extract(model, prompt), rounds=1)
    grown = peak_mebibytes() - before
    benchmark.extra_info["peak_growth_mebibytes"] = round(grown)
    assert workload.weight_elements == 1_034_420_224
    assert benchmark.stats.stats.max < 60
    assert grown < 1024  # the weights alone would take 4 GiB
