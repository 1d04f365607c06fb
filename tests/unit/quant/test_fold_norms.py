"""Batch norms become part of the layer before them: formulas, graph, codes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.quant.fold import (
    batch_norm_pairs,
    channel_scale,
    fold_batch_norms,
    fold_codes,
    folded_bias,
    folded_weight,
)
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.workload.from_torch import extract


def trained(norm: nn.Module) -> nn.Module:
    """Statistics and scales of a norm that has seen data; one scale is negative."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        norm.running_mean.copy_(torch.randn(norm.running_mean.shape, generator=draw))
        norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=draw) + 0.5)
        if norm.weight is not None:
            norm.weight.copy_(torch.linspace(-1, 2, norm.weight.numel()))
            norm.bias.copy_(torch.randn(norm.bias.shape, generator=draw))
    return norm


def test_scale_and_shift_by_hand() -> None:
    norm = nn.BatchNorm2d(1, eps=0.0)
    with torch.no_grad():
        norm.running_mean.fill_(3)
        norm.running_var.fill_(4)
        norm.weight.fill_(6)
        norm.bias.fill_(1)
    # 6 (y - 3) / 2 + 1 = 3 y - 8
    found = channel_scale(norm)
    assert (float(found.scale), float(found.shift)) == (3.0, -8.0)
    layer = nn.Conv2d(1, 1, 1)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 5.0)
    # 3 (2 x + 5) - 8 = 6 x + 7
    assert float(folded_weight(layer, found.scale)) == 6.0
    assert float(folded_bias(layer, found)) == 7.0


LAYERS = {
    "conv": (nn.Conv2d(4, 6, 3, bias=False), (2, 4, 5, 5), nn.BatchNorm2d(6)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5), nn.BatchNorm2d(6)),
    "row": (nn.Conv1d(4, 6, 3), (2, 4, 5), nn.BatchNorm1d(6, affine=False)),
    "linear": (nn.Linear(4, 6), (2, 4), nn.BatchNorm1d(6)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 5, 5), nn.BatchNorm2d(6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_kind_of_layer(name: str) -> None:
    layer, shape, norm = LAYERS[name]
    model = nn.Sequential(layer, trained(norm)).eval()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert batch_norm_pairs(model, x) == {"0": "1"}
    folded = fold_batch_norms(model, x)
    assert isinstance(folded[1], nn.Identity)
    assert isinstance(model[1], nn.modules.batchnorm._BatchNorm)
    assert torch.allclose(folded(x), model(x), atol=1e-5)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.alone, self.alone_bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 1)
        self.first_bn, self.second_bn = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.read, self.read_bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.tokens, self.tokens_bn = nn.Linear(16, 16), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.alone_bn(self.alone(x))
        x = self.second_bn(self.twice(self.first_bn(self.twice(x))))
        y = self.read(x)
        return self.tokens_bn(self.tokens((y + self.read_bn(y)).flatten(2)))


def test_only_norms_that_are_part_of_one_layer_are_folded() -> None:
    model, x = Branches(), torch.randn(2, 3, 4, 4)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            trained(module)
    assert batch_norm_pairs(model, x) == {"alone": "alone_bn"}
    folded = fold_batch_norms(model, x)
    # The graph keeps those norms as operators that are no layer's own.
    assert [layer.name for layer in extract(model, x).layers if layer.op == "batch_norm"] == [
        "read_bn",
        "tokens_bn",
    ]
    assert set(dict(folded.named_modules())) == set(dict(model.named_modules()))


def test_folding_does_not_change_the_workload() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    x = torch.zeros(1, 3, 6, 6)
    assert [
        layer for layer in extract(fold_batch_norms(model, x), x).layers if layer.op != "identity"
    ] == list(extract(model, x).layers)


def test_codes_stay_and_steps_become_the_channels() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), trained(nn.BatchNorm2d(4))
    model, x = nn.Sequential(conv, norm).eval(), torch.randn(2, 3, 5, 5)
    workload = extract(model, x)
    bits = {"0": Precision(4, 32)}
    quantised = insert_quantizers(model, workload, bits, symmetric_and_clip())
    layer = quantised.layers["0"]
    folded = fold_codes(layer, norm)
    assert torch.equal(folded.codes, layer.codes())
    assert folded.codes.abs().max() == 7
    weight = folded.codes * folded.steps.reshape(-1, 1, 1, 1)
    expected = quantised.module(x)
    assert torch.allclose(nn.functional.conv2d(x, weight, folded.bias), expected, atol=1e-5)
    with pytest.raises(UnsupportedError, match="fold before inserting"):
        fold_batch_norms(quantised.module, x)


def test_what_cannot_be_folded() -> None:
    with pytest.raises(UnsupportedError, match="without running statistics"):
        channel_scale(nn.BatchNorm2d(3, track_running_stats=False))
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0))
    nn.init.zeros_(model[0].weight)
    model[1].running_var.zero_()
    with pytest.raises(UnsupportedError, match=r"changes its output by .* variance is near zero"):
        fold_batch_norms(model, torch.ones(1, 1, 2, 2))


def test_a_model_without_weights_is_folded_unchecked() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert isinstance(fold_batch_norms(model, torch.zeros(1, 3, 6, 6))[1], nn.Identity)


class WithAttention(nn.Module):
    """A convolution with its norm before attention and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.conv(x))).flatten(2).transpose(1, 2)
        x = self.attn(x, x, x, need_weights=False)[0]
        return self.fc((x @ x.transpose(1, 2)) @ x).mean(1)


def test_a_folded_network_with_attention_is_quantised_as_before() -> None:
    torch.manual_seed(0)
    model, x = WithAttention().eval(), torch.randn(2, 1, 3, 3)
    trained(model.bn)
    folded = fold_batch_norms(model, x[:1])
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-4)
    workload = extract(folded, x[:1])
    names = [layer.name for layer in workload.multiply_layers]
    assert names == [layer.name for layer in extract(model, x[:1]).multiply_layers]
    assert {"attn.qk", "attn.av", "matmul", "matmul#2"} < set(names)
    wide = dict.fromkeys(names, Precision(16, 16))
    quantised = insert_quantizers(folded, workload, wide, symmetric_and_clip())
    torch.testing.assert_close(quantised.module(x), model(x), rtol=1e-2, atol=1e-2)
