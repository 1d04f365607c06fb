"""The main job on a network with attention: products and pins reach allocation and training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hwmpq.allocate.budget import Budget
from hwmpq.codesign.folder import Run
from hwmpq.codesign.outcome import load_network
from hwmpq.codesign.run import optimize
from hwmpq.codesign.train import evaluate
from hwmpq.data.base import Data, from_arrays
from hwmpq.data.digits import digit_images, normalised
from hwmpq.methods.base import Method
from hwmpq.methods.bmpq import BMPQ
from hwmpq.methods.dq import DQ
from hwmpq.methods.limpq import LIMPQ
from hwmpq.methods.uniform import Uniform
from hwmpq.precision import Precision, precisions

pytestmark = pytest.mark.slow
BUDGET = Budget(bops="0.7x")
ATTENTION = {"block.self_attn.qk", "block.self_attn.av"}


class Reader(nn.Module):
    """The rows of an image are tokens of one transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x.squeeze(1))).mean(1))


@pytest.fixture(scope="module")
def digits() -> Data:
    images, labels = digit_images()
    return from_arrays(normalised(images), labels, name="digits")


def run(method: Method, data: Data, out: Path, **options: object) -> Run:
    torch.manual_seed(0)
    return optimize(
        Reader(),
        data,
        "bitfusion-edge",
        method=method,
        budget=BUDGET,
        candidates=precisions([2, 4, 8], [4, 8]),
        out=out,
        **options,
    )


@pytest.mark.parametrize("method", [BMPQ(), DQ(), LIMPQ(), Uniform()], ids=lambda m: m.name)
def test_every_layer_of_attention_gets_bits(method: Method, digits: Data, tmp_path: Path) -> None:
    finished = run(method, digits, tmp_path / "run", epochs=6)
    bits = finished.results.assignment
    assert set(bits) > ATTENTION
    assert bits["embed"] == bits["head"] == Precision(8, 8)
    assert set(finished.results.codes_per_layer) == set(bits) - ATTENTION
    torch.manual_seed(0)
    network = load_network(finished, Reader())
    found = evaluate(network.module, digits.test, batch_size=64, device="cpu")
    assert found == finished.results.test_accuracy
    assert found > 0.3  # ten classes


def test_patterns_pin_attention(digits: Data, tmp_path: Path) -> None:
    pins = {"block.self_attn.*": Precision(8, 8), "*.av": Precision(4, 8)}
    finished = run(BMPQ(), digits, tmp_path / "run", epochs=4, fixed=pins)
    bits = finished.results.assignment
    assert bits["block.self_attn.in_proj"] == bits["block.self_attn.qk"] == Precision(8, 8)
    assert bits["block.self_attn.av"] == Precision(4, 8)
