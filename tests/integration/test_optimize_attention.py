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
from hwmpq.methods.bsq import BSQ
from hwmpq.methods.dq import DQ
from hwmpq.methods.hawq import HAWQ
from hwmpq.methods.limpq import LIMPQ
from hwmpq.methods.uniform import Uniform
from hwmpq.precision import Precision, precisions
from hwmpq.sensitivity.hessian_trace import HessianTrace

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


METHODS = {
    method.name: method
    for method in (
        BMPQ(),
        BSQ(),
        DQ(),
        HAWQ(trace=HessianTrace(most_probes=4, batches=1)),
        LIMPQ(),
        Uniform(),
    )
}


@pytest.fixture(scope="module", params=METHODS)
def finished(request, digits: Data, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / request.param
    return run(METHODS[request.param], digits, out, epochs=4)


def test_every_layer_of_attention_gets_bits(finished: Run, digits: Data) -> None:
    bits = finished.results.assignment
    assert set(bits) > ATTENTION
    assert bits["embed"] == bits["head"] == Precision(8, 8)
    assert set(finished.results.codes_per_layer) == set(bits) - ATTENTION
    torch.manual_seed(0)
    network = load_network(finished, Reader())
    found = evaluate(network.module, digits.test, batch_size=64, device="cpu")
    assert found == finished.results.test_accuracy
    assert found > 0.3  # ten classes
    if finished.manifest.method == "bsq":
        # Operands are activations, which have four bits where the budget leaves them.
        assert {str(bits[name]) for name in ATTENTION} == {"4/4"}


def test_a_run_that_is_stopped_twice_ends_as_if_it_had_not_been(
    finished: Run, digits: Data, tmp_path: Path, stop_at
) -> None:
    method, out = METHODS[finished.manifest.method], tmp_path / "run"
    # 19 steps an epoch: four float epochs, then in the second and in the last quantised one.
    with pytest.raises(stop_at.StoppedError):
        run(method, digits, out, epochs=4, progress=stop_at(19 * 5 + 5))
    with pytest.raises(stop_at.StoppedError):
        run(method, digits, out, epochs=4, progress=stop_at(19 * 2 + 5), resume=True)
    resumed = run(method, digits, out, epochs=4, resume=True)
    assert resumed.results.assignment == finished.results.assignment
    weights = [(r.folder / "weights.safetensors").read_bytes() for r in (resumed, finished)]
    assert weights[0] == weights[1]


def test_patterns_pin_attention(digits: Data, tmp_path: Path) -> None:
    pins = {"block.self_attn.*": Precision(8, 8), "*.av": Precision(4, 8)}
    finished = run(BMPQ(), digits, tmp_path / "run", epochs=4, fixed=pins)
    bits = finished.results.assignment
    assert bits["block.self_attn.in_proj"] == bits["block.self_attn.qk"] == Precision(8, 8)
    assert bits["block.self_attn.av"] == Precision(4, 8)
