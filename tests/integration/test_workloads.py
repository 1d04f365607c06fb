"""Every shipped workload: its published figures, an independent counter, and its own source."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.table import cost_table
from hwmpq.models.llama import Llama, tinyllama_1_1b
from hwmpq.precision import Precision
from hwmpq.shipped import shipped_files
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import read_workload_file
from hwmpq.workload.torch_file import construct, example_inputs, workload_from_file

Shipped = Callable[[str], Workload]
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


def macs_and_weights(name: str, shipped: Shipped) -> tuple[int, int]:
    """Of a shipped workload; of 30 alike blocks from one and two, which takes a tenth as long."""
    if not name.startswith("smollm2"):
        return shipped(name).macs, shipped(name).weight_elements
    file = read_workload_file(name)
    one, two = (
        workload_from_file(
            replace(file, spec=file.spec.model_copy(update={"arguments": {"depth": depth}})),
            batch=1,
            exempt=(),
        )
        for depth in (1, 2)
    )
    return (
        one.macs + 29 * (two.macs - one.macs),
        one.weight_elements + 29 * (two.weight_elements - one.weight_elements),
    )


@pytest.mark.parametrize("name", FROM_CODE)
def test_published_figures_and_an_independent_counter(name: str, shipped: Shipped) -> None:
    file = read_workload_file(name)
    macs, weights = macs_and_weights(name, shipped)
    with torch.device("meta"):
        model = construct(file).eval()
        inputs = example_inputs(file, 1)
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    assert macs == counter.get_total_flops() / 2
    assert weights == sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    )

    facts = file.spec.facts
    if facts.macs is not None:
        assert rounds_to(macs, facts.macs)
    if facts.weights is not None:
        assert rounds_to(weights, facts.weights)
    if facts.parameters is not None:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert rounds_to(parameters, facts.parameters)


def test_sanity_values_of_residual_networks(shipped: Shipped) -> None:
    # Counted by torch's own counter and in agreement with HAWQ-V3's published 1858 GBOPs (fp32)
    # and LIMPQ's ResNet-50 (stride in the 3 x 3 convolution).
    resnet18, resnet50 = shipped("resnet18"), shipped("resnet50")
    assert round(resnet18.macs / 1e9, 3) == 1.814
    assert round(resnet18.macs * 32 * 32 / 1e9) == 1858
    assert round(resnet50.macs / 1e9, 3) == 4.089
    assert round(resnet50.weight_elements / 1e6, 2) == 25.50


@pytest.mark.parametrize("name", FROM_CODE)
def test_every_network_states_how_many_macs_it_should_have(name: str) -> None:
    """The digits networks alone have no counterpart that was published."""
    assert (read_workload_file(name).spec.facts.macs is not None) != name.endswith("-digits")


def test_resnet20_row_by_row(shipped: Shipped) -> None:
    """The table in Distiller's documentation, without its two rows of 1 x 1 shortcuts."""
    stem, wide, down, head = (442_368, 432), 2_359_296, 1_179_648, (640, 640)
    rows = [
        stem,
        *[(wide, 2_304)] * 6,
        (down, 4_608),
        *[(wide, 9_216)] * 5,
        (down, 18_432),
        *[(wide, 36_864)] * 5,
        head,
    ]
    found = [(layer.macs, layer.weight_elements) for layer in shipped("resnet20").multiply_layers]
    assert found == rows
    # Distiller's total, with the shortcuts.
    assert sum(macs for macs, _ in rows) + 2 * 131_072 == 40_813_184


def test_bert_has_the_parameters_of_one_with_another_vocabulary() -> None:
    with torch.device("meta"):
        model = construct(read_workload_file("bert-base"))
        other = type(model)(vocabulary=21_128)
    assert sum(p.numel() for p in other.parameters()) == 102_267_648
    assert sum(p.numel() for p in model.parameters()) == 102_267_648 + (30_522 - 21_128) * 768


def test_decoder_macs_from_the_published_configuration() -> None:
    width, hidden, heads, shared, size, depth, tokens = 576, 1536, 9, 3, 64, 30, 128
    block = 2 * width * width + 2 * width * shared * size + 3 * width * hidden
    head = width * 49_152
    attention = depth * 2 * heads * size
    prompt, decode = (
        read_workload_file(name).spec.facts for name in ("smollm2-135m", "smollm2-135m-decode")
    )
    assert prompt.weights == decode.weights == depth * block + head
    # The last token of a prompt alone is scored.
    assert prompt.macs == tokens * depth * block + head + attention * tokens * tokens
    assert decode.macs == depth * block + head + attention * 1024


def test_the_decoder_at_the_size_of_a_published_count() -> None:
    """calflops' README: llama2-7b on 128 tokens has 850 GMACs and 6,738,415,616 parameters."""
    shape = {"width": 4096, "heads": 32, "shared_heads": 32, "hidden": 11008, "vocabulary": 32000}
    with torch.device("meta"):
        one, two, whole = (Llama(depth=depth, **shape) for depth in (1, 2, 32))
    assert sum(p.numel() for p in whole.parameters()) == 6_738_415_616
    prompt = torch.zeros(1, 128, dtype=torch.long)
    small, large = extract(one, prompt).macs, extract(two, prompt).macs
    # There every token is scored, here the last one.
    macs = small + 31 * (large - small) + 127 * 4096 * 32000
    assert round(macs / 1e9, 2) == 850.00


def test_weights_are_never_allocated_for_a_billion_parameters() -> None:
    with torch.device("meta"):
        model = tinyllama_1_1b()
    cache = torch.zeros((1, 22, 2, 4, 512, 64), device="meta")
    started = time.process_time()
    decode = extract(model, (torch.zeros(1, 1, dtype=torch.long), cache))
    assert time.process_time() - started < 60
    assert all(parameter.is_meta for parameter in model.parameters())
    assert rounds_to(sum(p.numel() for p in model.parameters()), 1_100_000_000)
    assert decode.weight_elements == 1_034_420_224
    # One token: each weight once, and twice 32 heads x 64 x 512 tokens a layer.
    assert decode.macs == decode.weight_elements + 22 * 2 * 32 * 64 * 512
    costs = cost_table(decode, load_accelerator("systolic-32x32"), [Precision(8, 8)])
    assert costs.columns["weight_memory_bits"].sum() >= 8 * decode.weight_elements


def test_a_prompt_of_a_billion_parameters_adds_up_block_by_block() -> None:
    """Blocks are alike, so the whole is read off two depths; `bench_extract.py` reads it whole."""
    shape = {"width": 2048, "heads": 32, "shared_heads": 4, "hidden": 5632, "vocabulary": 32000}
    with torch.device("meta"):
        one, two = (Llama(depth=depth, **shape) for depth in (1, 2))
        whole = tinyllama_1_1b()
    prompt = torch.zeros(1, 512, dtype=torch.long)
    small, large = extract(one, prompt), extract(two, prompt)
    macs = small.macs + 21 * (large.macs - small.macs)
    head, block = 2048 * 32000, large.weight_elements - small.weight_elements
    assert small.weight_elements + 21 * block == head + 22 * block == 1_034_420_224
    # 512 tokens see each weight of a block; the last one alone is scored.
    assert macs == 512 * 22 * block + head + 22 * 2 * 32 * 64 * 512 * 512
    assert sum(p.numel() for p in whole.parameters()) == 1_034_420_224 + head + 45 * 2048
    with FlopCounterMode(display=False) as counter:
        whole(prompt.to("meta"))
    assert macs == counter.get_total_flops() / 2


def test_own_workload_files_sit_where_the_wheel_takes_them_from() -> None:
    assert all(
        Path(file).parent.name == "workloads" for file in shipped_files("workloads").values()
    )
