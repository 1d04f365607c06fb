"""The same network through torch and through ONNX, by either exporter of torch."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.table import cost_table
from hwmpq.models.bert import Bert
from hwmpq.models.build import build_model
from hwmpq.models.llama import Llama
from hwmpq.models.vit import VisionTransformer
from hwmpq.precision import Precision
from hwmpq.workload.from_onnx import workload_from_onnx
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import without_name

pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore")

NEW = pytest.param(
    True,
    id="new",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("onnxscript") is None,
        reason="torch's newer exporter needs the package onnxscript",
    ),
)
OLD = pytest.param(False, id="old")
both = pytest.mark.parametrize("dynamo", [OLD, NEW])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(level)


def through_both(
    model: nn.Module, inputs: tuple[Tensor, ...], folder: Path, *, dynamo: bool
) -> tuple[Workload, Workload]:
    file = folder / "exported.onnx"
    extra: dict[str, Any] = {"verbose": False} if dynamo else {}
    torch.onnx.export(model.eval(), inputs, str(file), dynamo=dynamo, **extra)
    return extract(model, inputs), workload_from_onnx(file, name="exported")


def assert_same(
    model: nn.Module, inputs: tuple[Tensor, ...], folder: Path, *, dynamo: bool
) -> Workload:
    """Layers, names of what has bits, MACs, weights and costs."""
    expected, found = through_both(model, inputs, folder, dynamo=dynamo)
    names = [layer.name for layer in found.multiply_layers]
    assert names == [layer.name for layer in expected.multiply_layers]
    priced = [without_name(layer) for layer in found.priced_layers]
    assert priced == [without_name(layer) for layer in expected.priced_layers]
    assert (found.macs, found.weight_elements) == (expected.macs, expected.weight_elements)
    machine, precisions = load_accelerator("bitfusion-isca18"), [Precision(8, 8), Precision(4, 2)]
    of_file, of_model = (cost_table(w, machine, precisions) for w in (found, expected))
    for column, values in of_model.columns.items():
        assert (of_file.columns[column] == values).all(), column
    return found


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.act = nn.SiLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(16, 4, 1)
        self.grow = nn.Conv2d(4, 16, 1)
        self.gate = nn.Hardsigmoid()
        self.last = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn(self.conv(x)))
        return self.last(x * self.gate(self.grow(functional.relu(self.reduce(self.pool(x))))))


class Branches(nn.Module):
    """Inception's branches, a dense block, a channel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(8, 4, 1)
        self.wide = nn.Conv2d(8, 4, 5, padding=2)
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.bn = nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 8, 3, padding=2, dilation=2, groups=4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([functional.relu(self.narrow(x)), self.wide(x), self.pool(x)], 1)
        y = self.grouped(functional.relu(self.bn(y)))
        batch, channels, height, width = y.shape
        left, right = y.chunk(2, 1)
        y = torch.cat([right, left], 1).view(batch, 2, channels // 2, height, width)
        y = y.transpose(1, 2).reshape(batch, channels, height, width)
        return functional.interpolate(functional.avg_pool2d(y, 2), scale_factor=2)


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.group = nn.GroupNorm(2, 4)
        self.instance = nn.InstanceNorm2d(4, affine=True)
        self.along = nn.Conv1d(4, 8, 3, padding="same")
        self.mish = nn.Mish()
        self.layer = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(self.group(self.up(x))).flatten(2)
        return self.fc(self.layer(self.mish(self.along(x)).transpose(1, 2)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.fc = nn.Linear(16, 16)
        self.again = nn.Linear(16, 16)
        # Exporters store what is equal once, under one of its names.
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.again.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x + self.attn(x, x, x, need_weights=False)[0])
        return self.again(functional.gelu(self.fc(self.fc(x))))


IMAGE = torch.zeros(1, 8, 8, 8)


@both
@pytest.mark.parametrize(
    ("model", "example"),
    [(SqueezeExcite(), torch.zeros(1, 3, 8, 8)), (Branches(), IMAGE), (Norms(), IMAGE)],
    ids=["squeeze-excite", "branches", "norms"],
)
def test_convolutional_patterns(
    model: nn.Module, example: Tensor, dynamo: bool, tmp_path: Path
) -> None:
    assert_same(model, (example,), tmp_path, dynamo=dynamo)


@pytest.mark.parametrize("dynamo", [NEW])
def test_attention_shared_weights_and_equal_weights(dynamo: bool, tmp_path: Path) -> None:
    """The older exporter does not note that a bare parameter is ``attn.in_proj``."""
    found = assert_same(Attention(), (torch.zeros(2, 6, 16),), tmp_path, dynamo=dynamo)
    assert [layer.name for layer in found.multiply_layers] == [
        "attn.in_proj",
        "attn.qk",
        "attn.av",
        "attn.out_proj",
        "fc",
        "fc#2",
        "again",
    ]


class Spelled(nn.Module):
    """Attention and a product with a bare parameter, spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 16)
        self.key = nn.Linear(16, 16, bias=False)
        self.mix = nn.Parameter(torch.randn(16, 16))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        weights = (x @ self.key(x).transpose(-1, -2) / 4).softmax(-1)
        return torch.einsum("bij,bjd->bid", weights, x @ self.mix)


@pytest.mark.parametrize("dynamo", [NEW])
def test_names_of_functions_and_bare_parameters(dynamo: bool, tmp_path: Path) -> None:
    tokens = torch.zeros(2, 6, dtype=torch.long)
    found = assert_same(Spelled(), (tokens,), tmp_path, dynamo=dynamo)
    assert [layer.name for layer in found.multiply_layers] == ["key", "matmul", "mix", "einsum"]


@pytest.mark.parametrize("dynamo", [NEW])
def test_an_encoder(dynamo: bool, tmp_path: Path) -> None:
    model = Bert(width=32, heads=2, depth=1, vocabulary=50)
    assert_same(model, (torch.zeros(1, 8, dtype=torch.long),), tmp_path, dynamo=dynamo)


@pytest.mark.parametrize("dynamo", [NEW])
def test_one_token_of_a_decoder_with_its_cache(dynamo: bool, tmp_path: Path) -> None:
    """Shared key heads, written caches, root-mean-square norms that the exporter spells out."""
    model = Llama(width=32, heads=4, shared_heads=2, hidden=48, depth=2, vocabulary=50)
    inputs = (torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 2, 2, 2, 16, 8))
    assert_same(model, inputs, tmp_path, dynamo=dynamo)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [NEW])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet-v2", "vit-tiny"])
def test_shipped_networks_by_the_newer_exporter(name: str, dynamo: bool, tmp_path: Path) -> None:
    model = build_model(name, seed=0)
    if isinstance(model, VisionTransformer):
        model.blocks = model.blocks[:2]  # blocks are alike
    assert_same(model, (torch.zeros(1, 3, 224, 224),), tmp_path, dynamo=dynamo)
