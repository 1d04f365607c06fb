"""How long reading a network takes, and how much memory it adds: run with ``make bench``.

Each network is read in a process of its own, since a process keeps the peak of what ran before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

READ = """
import json, resource, sys, time
import torch
from hwmpq.workload.from_torch import extract
from hwmpq.models.{module} import {model}

def peak_mib():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

before = peak_mib()
with torch.device("{device}"):
    model = {model}()
started = time.process_time()
workload = extract(model, torch.zeros({shape}, dtype=torch.{dtype}))
seconds = time.process_time() - started
print(json.dumps([seconds, peak_mib() - before, workload.weight_elements, workload.macs]))
"""
RESNET = ("resnet", "resnet50", "cpu", "1, 3, 224, 224", "float32")
LLAMA = ("llama", "tinyllama_1_1b", "meta", "1, 512", "long")


@pytest.mark.parametrize(
    ("network", "weights", "most_s", "most_mib"),
    [
        (RESNET, 25_502_912, 15, 1024),
        (LLAMA, 1_034_420_224, 60, 1024),  # its weights alone would take 4 GiB
    ],
    ids=["resnet50", "tinyllama_1_1b"],
)
def test_reading(
    figure: Callable, network: tuple[str, ...], weights: int, most_s: float, most_mib: float
) -> None:
    fields = dict(zip(("module", "model", "device", "shape", "dtype"), network, strict=True))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ.format(**fields)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds, grown, found, macs = json.loads(done.stdout)
    figure(
        "Reading a network from torch",
        {
            "network": fields["model"],
            "device": fields["device"],
            "weights": found,
            "MACs": macs,
            "CPU s": seconds,
            "at most": most_s,
            "peak growth, MiB": round(grown),
            "at most, MiB": most_mib,
        },
    )
    assert found == weights
    assert seconds < most_s
    assert grown < most_mib
