"""Every shipped workload: its published figures, an independent counter, and its own source."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hwmpq.models.llama import tinyllama_1_1b
from hwmpq.shipped import shipped_files
from hwmpq.workload.from_torch import extract
from hwmpq.workload.loader import load_workload, read_workload_file
from hwmpq.workload.torch_file import construct, example_inputs

NAMES = sorted(shipped_files("workloads"))
FROM_CODE = [name for name in NAMES if read_workload_file(name).spec.torch]


def rounds_to(count: int, published: int) -> bool:
    """Whether a count rounds to a figure at the figure's last digit that is not zero."""
    unit = 1
    while published % (unit * 10) == 0:
        unit *= 10
    return round(count / unit) * unit == published


def test_rounding_rule() -> None:
    assert rounds_to(1_814_073_344, 1_810_000_000)
    assert not rounds_to(1_814_073_344, 1_820_000_000)
    assert not rounds_to(1_814_073_344, 1_814_073_345)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_names_its_source(name: str) -> None:
    file = read_workload_file(name)
    assert file.source
    assert file.spec.name == name
    assert file.spec.description


@pytest.mark.parametrize("name", FROM_CODE)
def test_published_figures_and_an_independent_counter(name: str) -> None:
    file = read_workload_file(name)
    workload = load_workload(name)
    with torch.device("meta"):
        model = construct(file).eval()
        inputs = example_inputs(file, 1)
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    assert workload.macs == counter.get_total_flops() / 2

    facts = file.spec.facts
    if facts.macs is not None:
        assert rounds_to(workload.macs, facts.macs)
    if facts.weights is not None:
        assert rounds_to(workload.weight_elements, facts.weights)
    if facts.parameters is not None:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert rounds_to(parameters, facts.parameters)


def test_sanity_values_of_residual_networks() -> None:
    # Counted by torch's own counter and in agreement with HAWQ-V3's published 1858 GBOPs (fp32)
    # and LIMPQ's ResNet-50 (stride in the 3 x 3 convolution).
    resnet18, resnet50 = load_workload("resnet18"), load_workload("resnet50")
    assert round(resnet18.macs / 1e9, 3) == 1.814
    assert round(resnet18.macs * 32 * 32 / 1e9) == 1858
    assert round(resnet50.macs / 1e9, 3) == 4.089
    assert round(resnet50.weight_elements / 1e6, 2) == 25.50


def test_weights_are_never_allocated_for_a_billion_parameters() -> None:
    with torch.device("meta"):
        model = tinyllama_1_1b()
    started = time.perf_counter()
    prefill = extract(model, torch.zeros(1, 512, dtype=torch.long))
    cache = torch.zeros((1, 22, 2, 4, 512, 64), device="meta")
    decode = extract(model, (torch.zeros(1, 1, dtype=torch.long), cache))
    assert time.perf_counter() - started < 60
    assert all(parameter.is_meta for parameter in model.parameters())
    assert rounds_to(sum(p.numel() for p in model.parameters()), 1_100_000_000)
    assert prefill.weight_elements == decode.weight_elements == 1_034_420_224
    # One token: each weight once, and twice 32 heads x 64 x 512 tokens a layer.
    assert decode.macs == decode.weight_elements + 22 * 2 * 32 * 64 * 512


def test_own_workload_files_sit_where_the_wheel_takes_them_from() -> None:
    assert all(
        Path(file).parent.name == "workloads" for file in shipped_files("workloads").values()
    )
