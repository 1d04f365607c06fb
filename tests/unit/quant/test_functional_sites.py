"""Quantisers where no module stands: products, attention, bare weights, tables."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.quant.attention import OperandQuantizers, attention
from hwmpq.quant.insert import QuantizedModel, freeze, insert_empty, insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.pairs import learned_steps, symmetric_and_clip
from hwmpq.workload.from_torch import extract

WIDE = Precision(8, 8)


def quantise(
    model: nn.Module, *inputs: Tensor, bits: Precision = WIDE, exempt: tuple[str, ...] = ()
) -> QuantizedModel:
    workload = extract(model.eval(), inputs, exempt=exempt)
    start = {layer.name: bits for layer in workload.multiply_layers}
    return insert_quantizers(model, workload, start, symmetric_and_clip())


def on_grid(values: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Rounded to a grid whose last code is the largest magnitude: PACT's before it has learned."""
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    step = values.abs().max() / high
    return (values / step).clamp(-high if signed else 0, high).round() * step


class Products(nn.Module):
    """``softmax(q k) v`` by a function of choice, on positive queries."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        query, key = functional.relu(self.query(x)), self.key(x)
        turned = key.transpose(1, 2)
        if self.how == "matmul":
            return torch.matmul(query, turned)
        if self.how == "operator":
            return query @ turned
        if self.how == "method":
            return query.bmm(turned)
        if self.how == "keyword":
            return torch.bmm(query, mat2=turned)
        if self.how == "added":
            return torch.baddbmm(torch.zeros(1, 3, 3), query, turned)
        return torch.einsum("bic,bjc->bij", query, key)


PRODUCTS = {
    "matmul": "matmul",
    "operator": "matmul",
    "method": "bmm",
    "keyword": "bmm",
    "added": "baddbmm",
    "einsum": "einsum",
}


@pytest.mark.parametrize("how", PRODUCTS)
def test_operands_of_products_have_their_own_bits_and_signs(how: str) -> None:
    torch.manual_seed(0)
    model, x = Products(how), torch.randn(2, 3, 4)
    query, key = functional.relu(model.query(x)), model.key(x)
    quantised = quantise(model, x)
    assert set(quantised.layers) == {"query", "key", PRODUCTS[how]}
    product = quantised.layer(PRODUCTS[how])
    assert (product.weight.signed, product.activation.signed) == (True, False)
    # Linear layers in float, so that the product's operands are known.
    floats = dict.fromkeys(quantised.assignment, Precision(32, 32))
    quantised.apply(floats | {PRODUCTS[how]: Precision(3, 2)})
    expected = on_grid(query, 2, signed=False) @ on_grid(key, 3, signed=True).transpose(1, 2)
    assert torch.allclose(quantised.module(x), expected, atol=1e-6)


def test_a_list_of_operands_is_an_einsum_too() -> None:
    class Listed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("ij,kj->ik", [x, x])

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    quantised = quantise(Listed(), x, bits=Precision(2, 2))
    rounded = on_grid(x, 2, signed=True)
    assert torch.allclose(quantised.module(x), rounded @ rounded.T)


class Heads(nn.Module):
    """Attention in one call."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, mask, **self.options)


def heads(count: int = 4, shared: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    queries = torch.randn(2, count, 5, 8, generator=draw)
    return queries, *(torch.randn(2, shared, 5, 8, generator=draw) for _ in "kv")


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_attention_spelled_out_is_torchs(options: dict[str, object]) -> None:
    inputs = heads(shared=2 if "enable_gqa" in options else 4)
    expected = functional.scaled_dot_product_attention(*inputs, **options)
    wide = [PactQuantizer(24, signed=True) for _ in range(4)]
    found = attention(
        OperandQuantizers(*wide[:2]), OperandQuantizers(*wide[2:]), *inputs, **options
    )
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks_reach_the_scores(kind: str) -> None:
    keep = torch.ones(5, 5, dtype=torch.bool).tril()
    mask = keep if kind == "bool" else torch.zeros(5, 5).masked_fill(~keep, -torch.inf)
    wide = [PactQuantizer(24, signed=True) for _ in range(4)]
    pairs = OperandQuantizers(*wide[:2]), OperandQuantizers(*wide[2:])
    expected = functional.scaled_dot_product_attention(*heads(), mask)
    assert torch.allclose(attention(*pairs, *heads(), mask), expected, atol=1e-5)


def test_softmax_is_unsigned_and_rounded() -> None:
    quantised = quantise(Heads(), *heads())
    assert list(quantised.layers) == ["attention.qk", "attention.av"]
    assert not quantised.layer("attention.av").activation.signed
    quantised.apply({"attention.qk": Precision(32, 32), "attention.av": Precision(32, 2)})
    query, key, value = heads()
    weights = (query @ key.transpose(-2, -1) / 8**0.5).softmax(-1)
    expected = on_grid(weights, 2, signed=False) @ value
    assert torch.allclose(quantised.module(query, key, value), expected, atol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_module(need_weights: bool) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(x, x, x, need_weights=need_weights)[0]

    torch.manual_seed(0)
    model, x = Block(), torch.randn(2, 3, 8)
    expected = model.eval()(x).detach()
    quantised = quantise(model, x)
    products = {"attn.bmm", "attn.bmm#2"} if need_weights else {"attn.qk", "attn.av"}
    assert set(quantised.layers) == {"attn.in_proj", "attn.out_proj", *products}
    found = quantised.module(x)
    assert not torch.equal(found, expected)
    assert torch.allclose(found, expected, atol=0.05 * float(expected.abs().max()))
    # Each of the eight quantisers acts: halving the bits of any one changes the output.
    for name in quantised.layers:
        for bits in (Precision(3, 8), Precision(8, 3)):
            quantised.apply(dict.fromkeys(quantised.assignment, WIDE) | {name: bits})
            assert not torch.equal(quantised.module(x), found), (name, bits)


def test_gradients_reach_what_functions_use() -> None:
    model, x = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), torch.randn(3, 2, 8)
    workload = extract(model, x)
    start = {layer.name: Precision(4, 4) for layer in workload.multiply_layers}
    quantised = insert_quantizers(model, workload, start, learned_steps([Precision(4, 4)]))
    quantised.module.train()(x).square().sum().backward()
    for name, layer in quantised.layers.items():
        for quantizer in (layer.weight, layer.activation):
            (step,) = quantizer.parameters()
            assert step.grad is not None, name
            assert float(step.grad) != 0, name
        if not layer.is_product:
            assert layer.shadow.grad is not None


class Bare(nn.Module):
    """A parameter of its own, transposed; a layer that is never called; one table for two ends."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(4, 4))
        self.fc = nn.Linear(4, 4)
        self.table = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) @ self.mix.t()
        return self.head(functional.linear(x, self.fc.weight, bias=self.fc.bias))


def test_weights_that_functions_use() -> None:
    torch.manual_seed(0)
    tokens = torch.tensor([[0, 3, 5]])
    model = Bare()
    quantised = quantise(model, tokens, bits=Precision(4, 4))
    assert set(quantised.layers) == {"mix", "fc", "head"}
    assert model.mix.unique().numel() <= 15
    x = on_grid(model.table.weight[tokens], 4, signed=True) @ model.mix.t()
    x = functional.linear(on_grid(x, 4, signed=True), model.fc.weight, model.fc.bias)
    expected = on_grid(x, 4, signed=True) @ model.head.weight.t()
    assert torch.allclose(quantised.module(tokens), expected, atol=1e-5)


def test_a_table_that_is_a_layers_weight_is_stored_once() -> None:
    model = Bare()
    quantised = quantise(model, torch.tensor([[0, 3, 5]]), bits=Precision(2, 8))
    assert torch.equal(model.table.weight, model.head.weight)
    assert model.table.weight.unique().numel() <= 3
    assert len([p for p in quantised.module.parameters() if p.shape == (6, 4)]) == 1


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.fc = nn.Linear(4, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.table(tokens))


def test_an_embedding_is_quantised_where_the_assignment_names_it() -> None:
    tokens = torch.tensor([[0, 3, 5]])
    workload = extract(Tokens(), tokens)
    bits = {"fc": WIDE, "table": Precision(2, 8)}
    model = Tokens()
    quantised = insert_quantizers(model, workload, bits, symmetric_and_clip())
    assert quantised.assignment == bits
    assert model.table.weight.unique().numel() <= 3
    quantised.apply({"fc": Precision(4, 4)})  # an allocation chooses no bits for tables
    assert quantised.assignment == {"fc": Precision(4, 4), "table": Precision(2, 8)}
    plain = insert_quantizers(Tokens(), workload, {"fc": WIDE}, symmetric_and_clip())
    assert plain.module.table.weight.unique().numel() == 24

    expected = quantised.module(tokens)
    frozen = freeze(quantised)
    loaded = insert_empty(Tokens(), frozen.assignment)
    loaded.module.load_state_dict(frozen.module.state_dict())
    assert torch.equal(loaded.module(tokens), expected)


class Mixed(nn.Module):
    """Everything at once, for what holds of whole networks."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True)
        self.mix = nn.Parameter(torch.randn(4, 4))
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(4.0).unsqueeze(1) @ torch.ones(1, 4)  # a product of constants
        y = self.attn(x, x, x, need_weights=False)[0] @ (self.mix + 0 * positions)
        scores = self.fc(y) @ x.transpose(1, 2)
        return scores.relu() @ y


@pytest.fixture
def mixed() -> tuple[QuantizedModel, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4)
    model = Mixed().eval()
    model.mix = nn.Parameter(torch.eye(4))
    workload = extract(model, x, exempt=("matmul",))
    start = {layer.name: WIDE for layer in workload.multiply_layers}
    return insert_quantizers(model, workload, start, symmetric_and_clip()), x


def test_products_of_constants_do_not_shift_names(
    mixed: tuple[QuantizedModel, Tensor],
) -> None:
    quantised, x = mixed
    assert set(quantised.layers) == {
        *("attn.in_proj", "attn.qk", "attn.av", "attn.out_proj"),
        *("fc", "matmul#2", "matmul#3"),
    }
    quantised.module(x)
    assert not quantised.layer("matmul#3").activation.signed
    assert quantised.layer("matmul#2").activation.signed
    assert quantised.module.get_submodule("matmul_3_operands.activation").clip > 0


def test_frozen_loaded_and_copied(mixed: tuple[QuantizedModel, Tensor]) -> None:
    quantised, x = mixed
    quantised.module(x)
    bits = {name: Precision(3 + i % 3, 4 + i % 4) for i, name in enumerate(quantised.assignment)}
    quantised.apply(bits)
    expected = quantised.module(x)
    twin = copy.deepcopy(quantised)
    frozen = freeze(quantised)
    assert torch.equal(frozen.module(x), expected)
    loaded = insert_empty(Mixed().eval(), bits)
    loaded.module.load_state_dict(frozen.module.state_dict())
    assert torch.equal(loaded.module(x), expected)

    twin.apply(dict.fromkeys(bits, Precision(2, 2)))
    assert not torch.equal(twin.module(x), expected)
    assert torch.equal(frozen.module(x), expected)
    assert quantised.layer("fc").precision == bits["fc"]


def test_nothing_is_intercepted_after_a_pass_that_failed(
    mixed: tuple[QuantizedModel, Tensor],
) -> None:
    quantised, x = mixed
    with pytest.raises((AssertionError, RuntimeError)):
        quantised.module(torch.randn(2, 5, 3))
    plain = torch.randn(3, 3)
    assert torch.equal(plain @ plain, torch.mm(plain, plain))
    assert quantised.module(x).shape == x.shape


class Changing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.extra, self.skip = False, False

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.skip else self.fc(x)
        scores = y @ x.transpose(0, 1)
        return scores @ y if self.extra else scores


def test_a_network_that_is_not_its_workload_is_refused() -> None:
    x = torch.randn(3, 4)
    quantised = quantise(Changing(), x)
    quantised.module.extra = True
    with pytest.raises(UnsupportedError, match="multiplies two activations in 'matmul#2'"):
        quantised.module(x)
    quantised.module.extra, quantised.module.skip = False, True
    with pytest.raises(UnsupportedError, match="never runs layer 'fc'"):
        quantised.module(x)
    # Training may skip layers, as stochastic depth does.
    quantised.module.train()(x)


def test_a_plain_network_is_intercepted_once() -> None:
    x = torch.randn(3, 4)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    quantised = quantise(model, x)
    interceptor = model.forward.__self__.interceptor
    assert not interceptor.idle
    first = quantised.module(x)
    assert interceptor.idle
    assert torch.equal(quantised.module(x), first)


def test_a_module_under_two_names_is_one_layer() -> None:
    class Alias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    quantised = quantise(Alias(), torch.randn(3, 4))
    assert quantised.layers["first"].names == ("first", "first#2")


def test_a_cache_that_is_written_is_an_activation() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.zeros(6, 4))
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.cache[2:5] = self.fc(x)
            return x @ self.cache.t()

    x = torch.randn(3, 4)
    workload = extract(Cached(), x)
    assert [layer.op for layer in workload.multiply_layers] == ["linear", "matmul"]
    quantise(Cached(), x, bits=Precision(2, 2)).module(x)


def test_in_32_bits_nothing_is_rounded() -> None:
    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    x = torch.randn(3, 4)
    model = Watched()
    expected = model(x)
    quantised = quantise(model, x, bits=Precision(32, 32))
    layer = quantised.layers["fc"]
    seen: list[Tensor] = []
    layer.weight.observer = seen.append
    for _ in range(3):
        seen.clear()
        found = quantised.module(x)
        found.sum().backward()
        assert torch.equal(found, expected)
        # One hook a pass: they do not pile up on the parameter that passes through.
        assert len(seen) == 1
    with pytest.raises(UnsupportedError, match="32 bits is left in float"):
        layer.codes()
    assert torch.equal(freeze(quantised).module(x), expected)


def test_a_quantised_network_can_be_traced() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4)
    model = Mixed().eval()
    quantised = freeze(quantise(model, x, exempt=("matmul",)))
    expected = quantised.module(x)
    program = torch.export.export(quantised.module, (x,), strict=False)
    assert torch.equal(program.module()(x), expected)
    assert list(program.graph_signature.user_inputs) == ["x"]
