"""What each torch operator is to an accelerator: products, vector operators, views, copies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hwmpq.errors import UnsupportedError
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import Conv2d, FreeOp, Linear, MatMul, VectorOp


class Calls(nn.Module):
    """A network given as a function of its modules and its inputs."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def counted(model: nn.Module, *inputs: Tensor) -> float:
    """MACs by torch's own counter; on the meta device, where attention is spelled out."""
    empty = copy.deepcopy(model).eval().to("meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        empty(*(tensor.to("meta") for tensor in inputs))
    return counter.get_total_flops() / 2


def read(forward: Callable[..., Any], *shapes: Sequence[int], **modules: nn.Module) -> Workload:
    model = Calls(forward, **modules)
    inputs = [torch.zeros(tuple(shape)) for shape in shapes]
    workload = extract(model, inputs)
    assert workload.macs == counted(model, *inputs)
    return workload


def sources(workload: Workload, name: str) -> list[str]:
    return [tensor.producer for tensor in workload.inputs_of(name)]


@pytest.mark.parametrize(
    ("convolution", "shape", "expected"),
    [
        (nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5), {"groups": 6}),
        (nn.Conv2d(8, 4, (3, 5), dilation=(2, 1), groups=2), (2, 8, 9, 9), {"dilation": (2, 1)}),
        (nn.Conv2d(4, 4, 3, padding="same"), (1, 4, 5, 5), {"padding": (1, 1)}),
        (nn.Conv2d(4, 4, 3, padding="valid"), (1, 4, 5, 5), {"padding": (0, 0)}),
        (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9), {"in_height": 1, "in_width": 9}),
        (nn.Conv1d(4, 6, 4, padding="same"), (1, 4, 9), {"in_width": 10, "padding": (0, 1)}),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_convolutions(
    convolution: nn.Module, shape: tuple[int, ...], expected: dict[str, Any]
) -> None:
    layer = read(lambda m, x: m.conv(x), shape, conv=convolution).layer("conv")
    assert isinstance(layer, Conv2d)
    assert {key: getattr(layer, key) for key in expected} == expected
    assert layer.output_elements == convolution(torch.zeros(shape)).numel()
    assert layer.weight_elements == convolution.weight.numel()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1), (2, 8, 5, 5)),
        (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (1, 4, 3, 7)),
        (nn.ConvTranspose1d(3, 5, 3), (2, 3, 8)),
    ],
)
def test_a_transposed_convolution_is_a_product_and_an_overlapping_addition(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    workload = read(lambda m, x: m.up(x), shape, up=module)
    product, addition = workload.layers
    assert isinstance(product, Conv2d)
    assert product.weight_elements == module.weight.numel()
    assert isinstance(addition, VectorOp)
    assert addition.name == "up.overlap_add"
    assert addition.operations == product.output_elements
    assert addition.output_elements == module(torch.zeros(shape)).numel()


def test_linear_on_any_rank_counts_rows() -> None:
    layer = read(lambda m, x: m.fc(x), (2, 3, 5, 8), fc=nn.Linear(8, 4)).layer("fc")
    assert layer == Linear(name="fc", batch=30, in_features=8, out_features=4)


def test_attention_is_two_products_and_a_softmax() -> None:
    def forward(_: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v)

    workload = read(forward, (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4))
    assert workload.layer("attention.qk") == MatMul(name="attention.qk", batch=6, m=5, k=8, n=7)
    assert workload.layer("attention.av") == MatMul(name="attention.av", batch=6, m=5, k=7, n=4)
    assert (
        sources(workload, "attention.av") == ["attention.softmax", "input.v"]
        or sources(workload, "attention.av")[0] == "attention.softmax"
    )
    assert not workload.inputs_of("attention.av")[0].signed
    softmax = workload.layer("attention.softmax")
    assert isinstance(softmax, VectorOp)
    assert softmax.operations == 30 * (5 * 7 - 1)


def test_grouped_query_attention_reads_each_key_once() -> None:
    def forward(_: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True)

    workload = read(forward, (1, 8, 5, 4), (1, 2, 5, 4), (1, 2, 5, 4))
    product = workload.layer("attention.qk")
    assert product == MatMul(name="attention.qk", batch=2, m=20, k=4, n=5)
    assert product.input_elements == 8 * 5 * 4 + 2 * 5 * 4
    assert workload.layer("attention.mask").op == "add"


def test_torch_multi_head_attention_keeps_its_layers_names() -> None:
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    workload = read(lambda m, x: m.mha(x, x, x, need_weights=False)[0], (2, 5, 8), mha=module)
    names = [layer.name for layer in workload.multiply_layers]
    assert names == ["mha.in_proj", "mha.qk", "mha.av", "mha.out_proj"]


@pytest.mark.parametrize(
    ("equation", "left", "right", "sizes"),
    [
        ("bti,bsi->bts", (2, 5, 8), (2, 7, 8), (2, 5, 8, 7)),
        ("bhid,bhjd->bhij", (2, 3, 5, 8), (2, 3, 7, 8), (6, 5, 8, 7)),
        ("...i,...j->...ij", (2, 5), (2, 7), (2, 5, 1, 7)),
        ("i,i->i", (5,), (5,), (5, 1, 1, 1)),
    ],
)
def test_einsum_of_activations(
    equation: str, left: tuple[int, ...], right: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    workload = extract(
        Calls(lambda _, a, b: torch.einsum(equation, a, b)),
        (torch.zeros(left), torch.zeros(right)),
    )
    layer = workload.layer("einsum")
    assert isinstance(layer, MatMul)
    assert (layer.batch, layer.m, layer.k, layer.n) == sizes


def test_einsum_that_sums_in_one_operand_is_refused() -> None:
    model = Calls(lambda _, a, b: torch.einsum("ij,k->k", a, b))
    with pytest.raises(UnsupportedError, match=r"sums \['i', 'j'\] in one operand"):
        extract(model, (torch.zeros(2, 3), torch.zeros(4)))


class Parameters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(8, 4))
        self.experts = nn.Parameter(torch.zeros(3, 8, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.table, torch.bmm(x, self.experts)


def test_products_with_stored_operands_have_weights() -> None:
    workload = extract(Parameters(), torch.zeros(3, 5, 8))
    assert workload.layer("table") == Linear(name="table", batch=15, in_features=8, out_features=4)
    experts = workload.layer("experts")
    assert isinstance(experts, Conv2d)
    assert (experts.groups, experts.weight_elements, experts.macs) == (3, 3 * 8 * 4, 3 * 5 * 8 * 4)


def test_broadcast_products_share_the_operand_without_leading_dimensions() -> None:
    workload = read(lambda _, a, b: a @ b, (2, 3, 5, 8), (8, 4))
    assert workload.layer("matmul") == MatMul(name="matmul", m=30, k=8, n=4)


@pytest.mark.parametrize(
    ("function", "kind", "operations", "signed"),
    [
        (functional.relu, "relu", 24, False),
        (functional.relu6, "relu6", 48, False),
        (functional.hardswish, "hard_swish", 120, True),
        (functional.hardsigmoid, "hard_sigmoid", 96, False),
        (torch.sigmoid, "sigmoid", 24, False),
        (functional.silu, "silu", 48, True),
        (functional.gelu, "gelu", 48, True),
        (torch.tanh, "tanh", 24, True),
        (lambda x: x.clamp(min=0), "relu", 24, False),
        (lambda x: x.clamp(0, 6), "relu6", 48, False),
        (lambda x: x.clamp(-1, 1), "elementwise", 48, True),
        (lambda x: x.clamp_max(2), "elementwise", 24, True),
        (lambda x: x.softmax(-1), "softmax", 6 * (5 * 4 - 1), False),
        (lambda x: x + x, "add", 24, True),
        (lambda x: x * 2, "mul", 24, True),
        (lambda x: x / 2, "mul", 24, True),
        (lambda x: x / x, "mul", 48, True),
        (lambda x: x**2, "elementwise", 24, False),
        (lambda x: x.mean(-1), "mean", 24, True),
        (lambda x: x.sum(-1), "elementwise", 18, True),
        (lambda x: torch.cat([x, x]), "concat", 48, True),
        (lambda x: functional.layer_norm(x, (4,)), "layer_norm", 6 * 22, True),
        (lambda x: functional.rms_norm(x, (4,)), "rms_norm", 6 * 14, True),
        (lambda x: functional.group_norm(x, 3), "group_norm", 6 * 22, True),
    ],
)
def test_vector_operators(
    function: Callable[[Tensor], Tensor], kind: str, operations: int, signed: bool
) -> None:
    model = Calls(lambda _, x: function(x) * 1)
    workload = extract(model, torch.zeros(2, 3, 4))
    layer = workload.layers[0]
    assert isinstance(layer, VectorOp)
    assert (layer.op, layer.operations) == (kind, operations)
    assert workload.inputs_of(workload.layers[1].name)[0].signed is signed


@pytest.mark.parametrize(
    ("module", "operations"),
    [
        (nn.MaxPool2d(3, 2, 1), 2 * 16 * 8),
        (nn.AvgPool2d(2), 2 * 16 * 4),
        (nn.AdaptiveAvgPool2d(1), 2 * 64),
        (nn.Upsample(scale_factor=2), 2 * 256),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 2 * 256 * 7),
    ],
)
def test_pooling_and_upsampling(module: nn.Module, operations: int) -> None:
    layer = read(lambda m, x: m.pool(x), (1, 2, 8, 8), pool=module).layer("pool")
    assert isinstance(layer, VectorOp)
    assert layer.operations == operations


def test_embedding_reads_rows_and_stores_the_table() -> None:
    model = Calls(lambda m, x: m.emb(x), emb=nn.Embedding(100, 8))
    layer = extract(model, torch.zeros(2, 5, dtype=torch.long)).layer("emb")
    assert isinstance(layer, VectorOp)
    assert (layer.parameter_elements, layer.weight_elements) == (80, 800)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(2, 12),
        lambda x: x.flatten(1),
        lambda x: x.transpose(1, 2),
        lambda x: x.permute(2, 0, 1),
        lambda x: x[:, 1:],
        lambda x: x[:, 0],
        lambda x: x.unsqueeze(0),
        lambda x: x.chunk(2, dim=-1)[1],
        lambda x: x.expand(5, 2, 3, 4),
        lambda x: functional.pad(x, (1, 1)),
    ],
)
def test_renaming_data_is_free_and_keeps_the_sign(function: Callable[[Tensor], Tensor]) -> None:
    workload = extract(Calls(lambda _, x: function(torch.relu(x))), torch.zeros(2, 3, 4))
    layer = workload.layers[-1]
    assert isinstance(layer, FreeOp)
    tensor = workload.graph.nodes[layer.name]["tensor"]
    assert tensor.shape == tuple(function(torch.zeros(2, 3, 4)).shape)
    assert not tensor.signed


def grouped(keys: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Eight query heads and two key heads, made eight by the given function."""

    def forward(_: nn.Module, query: Tensor, key: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, keys(key), keys(key))

    return forward


def by_expansion(key: Tensor) -> Tensor:
    batch, heads, tokens, width = key.shape
    wide = key[:, :, None].expand(batch, heads, 4, tokens, width)
    return wide.reshape(batch, 4 * heads, tokens, width)


@pytest.mark.parametrize(
    "keys", [by_expansion, lambda key: key.repeat_interleave(4, dim=1)], ids=["expand", "repeat"]
)
def test_repeated_key_heads_share_one_product(keys: Callable[[Tensor], Tensor]) -> None:
    """As transformers repeats them: rows of one product, as with ``enable_gqa``."""
    workload = read(grouped(keys), (1, 8, 6, 4), (1, 2, 6, 4))
    assert [layer for layer in workload.layers if isinstance(layer, MatMul)] == [
        MatMul(name="attention.qk", batch=2, m=24, k=4, n=6),
        MatMul(name="attention.av", batch=2, m=24, k=6, n=4),
    ]


def test_key_heads_that_differ_share_nothing() -> None:
    """``repeat`` puts whole rounds of heads behind each other, not the same head in a row."""
    workload = read(grouped(lambda key: key.repeat(1, 4, 1, 1)), (1, 8, 6, 4), (1, 2, 6, 4))
    assert workload.layer("attention.qk") == MatMul(name="attention.qk", batch=8, m=6, k=4, n=6)


def test_products_with_expanded_operands_are_rows_of_one() -> None:
    def forward(_: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        scaled = by_expansion(y).transpose(2, 3) * 0.5
        return x @ scaled

    workload = read(forward, (1, 8, 6, 4), (1, 2, 5, 4))
    assert workload.layer("matmul") == MatMul(name="matmul", batch=2, m=24, k=4, n=5)


def test_parts_with_nothing_in_them_cost_nothing() -> None:
    """A rotation of all features leaves an empty rest, as in Phi-3."""

    def forward(model: nn.Module, x: Tensor) -> Tensor:
        turned, rest = x[..., :8], x[..., 8:]
        return model.fc(torch.cat([turned.neg(), rest], -1))

    workload = read(forward, (1, 3, 8), fc=nn.Linear(8, 4))
    assert [layer.name for layer in workload.layers] == ["neg", "cat", "fc"]
    moved = workload.layer("cat")
    assert isinstance(moved, VectorOp)
    assert moved.input_sizes == (24,)


def test_a_norm_between_reshapes_as_in_levit() -> None:
    def forward(model: nn.Module, x: Tensor) -> Tensor:
        y = model.fc(x)
        return model.bn(y.flatten(0, 1)).reshape_as(y)

    workload = read(forward, (2, 3, 8), fc=nn.Linear(8, 4), bn=nn.BatchNorm1d(4))
    assert "bn.reshape_as" not in [layer.name for layer in workload.priced_layers]


def test_patches_added_where_they_overlap_as_in_volo() -> None:
    def forward(_: nn.Module, x: Tensor) -> Tensor:
        return functional.fold(x, (4, 4), 3, padding=1, stride=2)

    added = read(forward, (1, 18, 4)).layer("col2im")
    assert isinstance(added, VectorOp)
    assert (added.op, added.operations, added.output_elements) == ("add", 72, 32)


def test_lengths_of_vectors() -> None:
    workload = read(lambda _, x: functional.normalize(x, dim=-1), (2, 8))
    length = workload.layer("linalg_vector_norm")
    assert isinstance(length, VectorOp)
    assert length.operations == 2 * 2 * 7
    assert not workload.inputs_of("clamp_min")[0].signed


def test_a_mean_over_all_pixels_is_a_pooling() -> None:
    workload = read(lambda _, x: x.mean((2, 3), keepdim=True), (1, 4, 5, 5))
    assert [layer.op for layer in workload.layers] == ["avg_pool2d"]
    workload = read(lambda _, x: x.mean((2, 3)), (1, 4, 5, 5))
    assert [layer.op for layer in workload.layers] == ["mean"]
