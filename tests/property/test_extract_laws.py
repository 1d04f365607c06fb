"""Laws of the torch front end over random small networks."""

from __future__ import annotations

import math

import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hwmpq.precision import Precision
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pairs import symmetric_and_clip
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import MatMul

FLOAT, BYTES = Precision(32, 32), Precision(8, 8)
CHANNELS = st.sampled_from([2, 4, 6])


class Branches(nn.Module):
    """A residual addition or a concatenation around a convolution."""

    def __init__(self, channels: int, *, join: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return torch.cat([x, y], 1) if self.join == "concat" else functional.relu(x + y)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.fc2 = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * functional.hardsigmoid(scale)


class Mixer(nn.Module):
    """Attention over pixels, as products of activations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        scores = torch.einsum("bic,bjc->bij", query, key) * channels**-0.5
        mixed = scores.softmax(-1) @ value
        return x + mixed.transpose(1, 2).reshape(batch, channels, height, width)


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, ...]]:
    """A stack of random modules, and the shape of an input that fits."""
    channels = draw(CHANNELS)
    shape = (draw(st.integers(1, 3)), channels, draw(st.integers(6, 9)), draw(st.integers(6, 9)))
    modules: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(
            st.sampled_from(
                [
                    "conv",
                    "depthwise",
                    "up",
                    "add",
                    "concat",
                    "se",
                    "mixer",
                    "norm",
                    "act",
                    "linear",
                ]
            )
        )
        if kind == "conv":
            outputs = draw(CHANNELS)
            groups = draw(st.sampled_from([1, 2]))
            modules.append(
                nn.Conv2d(
                    channels,
                    outputs,
                    (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
                    stride=draw(st.integers(1, 2)),
                    padding=2,  # so that the widest dilated kernel fits even one pixel
                    dilation=draw(st.integers(1, 2)),
                    groups=groups,
                )
            )
            channels = outputs
        elif kind == "depthwise":
            modules.append(nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=channels))
            channels *= 2
        elif kind == "up":
            outputs = draw(CHANNELS)
            modules.append(nn.ConvTranspose2d(channels, outputs, 3, stride=2, padding=1))
            channels = outputs
        elif kind in ("add", "concat"):
            modules.append(Branches(channels, join=kind))
            channels *= 2 if kind == "concat" else 1
        elif kind == "se":
            modules.append(SqueezeExcitation(channels))
        elif kind == "mixer":
            modules.append(Mixer(channels))
        elif kind == "norm":
            modules.append(
                draw(st.sampled_from([nn.BatchNorm2d, lambda c: nn.GroupNorm(2, c)]))(channels)
            )
        elif kind == "linear":
            head = nn.Sequential(nn.Flatten(2), nn.LazyLinear(5), nn.Unflatten(2, (5, 1)))
            modules.append(head)
        else:
            modules.append(draw(st.sampled_from([nn.ReLU, nn.SiLU, nn.Hardswish, nn.GELU]))())
        if draw(st.booleans()):
            modules.append(nn.ReLU(inplace=True))
    model = nn.Sequential(*modules).eval()
    if any(isinstance(module, nn.LazyLinear) for module in model.modules()):
        model(torch.zeros(shape))
    return model, shape


def counted(model: nn.Module, shape: tuple[int, ...]) -> float:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.to("meta")(torch.zeros(shape))
    return counter.get_total_flops() / 2


def check_edges(workload: Workload) -> None:
    for layer in workload.layers:
        inputs = workload.inputs_of(layer.name)
        assert inputs
        if isinstance(layer, MatMul):
            assert sum(tensor.elements for tensor in inputs) == layer.input_elements
        elif layer.op in ("conv2d", "linear"):
            assert inputs[0].elements == layer.input_elements
        tensor = workload.graph.nodes[layer.name]["tensor"]
        assert tensor.elements == layer.output_elements


@settings(max_examples=20, deadline=None)
@given(networks())
def test_macs_weights_edges_and_names(drawn: tuple[nn.Sequential, tuple[int, ...]]) -> None:
    model, shape = drawn
    workload = extract(model, torch.zeros(shape))
    check_edges(workload)

    owners = {name for name, module in model.named_modules() if hasattr(module, "weight")}
    named = [layer for layer in workload.multiply_layers if layer.weight_elements]
    assert {layer.name for layer in named} <= owners
    weights = {name: model.get_submodule(name).weight.numel() for name in owners}
    assert all(layer.weight_elements == weights[layer.name] for layer in named)

    empty = extract(model.to("meta"), torch.zeros(shape))
    assert empty.layers == workload.layers
    assert workload.macs == counted(model, shape)


@settings(max_examples=6, deadline=None)
@given(networks(), st.integers(2, 3))
def test_samples_multiply_macs_and_not_weights(
    drawn: tuple[nn.Sequential, tuple[int, ...]], factor: int
) -> None:
    model, shape = drawn
    one = extract(model, torch.zeros(shape))
    more = extract(model, torch.zeros((factor * shape[0], *shape[1:])))
    assert more.macs == factor * one.macs
    assert more.weight_elements == one.weight_elements


@settings(max_examples=15, deadline=None)
@given(networks(), st.integers(0, 99))
def test_quantised_in_32_bits_is_the_network_and_in_8_close(
    drawn: tuple[nn.Sequential, tuple[int, ...]], seed: int
) -> None:
    model, shape = drawn
    images = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    workload = extract(model, images)
    assume(workload.multiply_layers)
    with torch.no_grad():
        expected = model(images.clone())
        wide = dict.fromkeys((layer.name for layer in workload.multiply_layers), FLOAT)
        quantised = insert_quantizers(model, workload, wide, symmetric_and_clip())
        assert torch.equal(quantised.module(images.clone()), expected)
        quantised.apply(dict.fromkeys(wide, BYTES))
        found = quantised.module(images.clone())
    # An 8-bit grid rounds by at most 1/254 of the largest magnitude; a few layers add up.
    error = float((found - expected).norm() / expected.norm().clamp(min=1e-6))
    event(f"error below {10.0 ** math.ceil(math.log10(max(error, 1e-9)))}")
    assert error < 0.15
    assert set(quantised.assignment) == set(wide)
    assert all(not layer.weight.passes for layer in quantised.layers.values())
