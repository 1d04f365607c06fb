"""Whatever a network's author writes: what holds of every quantised network, form by form."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmpq.methods.dq import DQ
from hwmpq.precision import Precision
from hwmpq.quant.bit_planes import BitPlanes, collapse
from hwmpq.quant.insert import QuantizerFactory, freeze, insert_empty, insert_quantizers
from hwmpq.quant.learned_grid import GridSettings
from hwmpq.quant.learned_powers import LearnedPowers
from hwmpq.quant.learned_uniform import LearnedUniform
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.pairs import learned_steps, symmetric_and_clip
from hwmpq.quant.quantized import with_powers
from hwmpq.workload.from_torch import extract

NARROW = Precision(3, 4)


class OneDimensional(nn.Module):
    """Grouped, dilated and transposed convolutions over one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose1d(8, 4, 2, stride=2)
        self.dilated = nn.Conv1d(4, 8, 3, groups=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.dilated(torch.relu(self.up(self.stem(x)))).mean(2)


class TwoDimensional(nn.Module):
    """Same padding, reflection, and a transposed convolution called with its output's size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding="same")
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, groups=2)
        self.last = nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.up(input=self.stem(x), output_size=(16, 16)))
        return self.last(x).mean((2, 3))


class Tied(nn.Module):
    """One weight in two modules, and its transpose in a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.down = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return functional.linear(torch.relu(self.down(x)), self.down.weight.t())


class Frozen(nn.Module):
    """A layer that learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = torch.relu(self.body(x))
        return self.head(x)


class Crossed(nn.Module):
    """Attention of three inputs, widths and tokens first, and causal attention of one."""

    def __init__(self) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
        self.key = nn.Linear(8, 4)
        self.value = nn.Linear(8, 6)
        self.attn = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.cross(x, self.key(x), value=self.value(x))
        hidden = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool).triu(1)
        return self.attn(x, x, x, attn_mask=hidden, need_weights=False)[0]


class Twice(nn.Linear):
    """A layer of the user's own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Parts(nn.Module):
    """Parts of one parameter, and a module of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Parameter(torch.randn(24, 8) / 3)
        self.out = Twice(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (functional.linear(x, part) for part in self.qkv.chunk(3))
        return self.out((q @ k.transpose(1, 2)).softmax(-1) @ v)


class Text(nn.Module):
    """Two tables; the head is the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 8, padding_idx=0)
        self.kinds = nn.Embedding(11, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.tokens(tokens) + self.kinds(tokens))


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


FORMS = {
    "one axis": (OneDimensional, drawn(4, 3, 16), 0),
    "two axes": (TwoDimensional, drawn(4, 3, 8, 8), 0),
    "channels last": (TwoDimensional, drawn(4, 3, 8, 8).to(memory_format=torch.channels_last), 0),
    "bfloat16": (TwoDimensional, drawn(4, 3, 8, 8).bfloat16(), 0),
    "float64": (TwoDimensional, drawn(4, 3, 8, 8).double(), 0),
    "tied": (Tied, drawn(4, 8), 0),
    "no gradient": (Frozen, drawn(4, 8), 0),
    "attention": (Crossed, drawn(5, 4, 8), 1),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), drawn(5, 4, 8), 1),
    "parts": (Parts, drawn(4, 5, 8), 0),
}


def planes(site):
    """BSQ's: planes for what is stored, clips for what passes by."""
    bits = site.precision
    stored = BitPlanes(site.weight, bits.weight_bits) if not site.is_product else None
    weight = stored or PactQuantizer(bits.weight_bits, signed=site.signed_weight)
    return weight, PactQuantizer(bits.activation_bits, signed=site.signed_input)


def grids(site):
    """DQ's."""
    bits, settings = site.precision, DQ()
    options = {
        "power_of_two_step": settings.power_of_two_step,
        "settings": GridSettings(most_bits=8),
    }
    return (
        LearnedUniform(bits.weight_bits, signed=site.signed_weight, **options),
        LearnedUniform(bits.activation_bits, signed=site.signed_input, **options),
    )


def powers(site):
    """DQ's, of powers of two."""
    bits, settings = site.precision, GridSettings(most_bits=6)
    return (
        LearnedPowers(
            bits.weight_bits, signed=site.signed_weight, zero=site.is_product, settings=settings
        ),
        LearnedPowers(
            bits.activation_bits, signed=site.signed_input, zero=True, settings=settings
        ),
    )


FACTORIES: dict[str, QuantizerFactory] = {
    "steps": learned_steps([NARROW]),
    "clips": symmetric_and_clip(2),
    "planes": planes,
    "grids": grids,
    "powers": powers,
}


def built(form: str):
    """A network in evaluation mode, its inputs and its graph."""
    make, inputs, batch = FORMS[form]
    torch.manual_seed(0)
    model = make().eval()
    # The graph is traced in float32, whatever the numbers at hand.
    plain = inputs.narrow(batch, 0, 1).float()
    workload = extract(copy.deepcopy(model), plain)
    if inputs.dim() == 4 and not inputs.is_contiguous():
        model.to(memory_format=torch.channels_last)
    return model.to(inputs.dtype), inputs, workload


@pytest.mark.parametrize("form", FORMS)
def test_at_32_bits_the_network_is_the_float_one(form: str) -> None:
    model, inputs, workload = built(form)
    expected = model(inputs)
    wide = {layer.name: Precision(32, 32) for layer in workload.multiply_layers}
    quantised = insert_quantizers(model, workload, wide, learned_steps([]))
    assert torch.equal(quantised.module(inputs), expected)


@pytest.mark.parametrize("kind", FACTORIES)
@pytest.mark.parametrize("form", FORMS)
def test_trained_frozen_and_loaded_it_is_one_network(form: str, kind: str) -> None:
    model, inputs, workload = built(form)
    twin = copy.deepcopy(model)
    start = {layer.name: NARROW for layer in workload.multiply_layers}
    quantised = insert_quantizers(model, workload, start, FACTORIES[kind])
    out = quantised.module.train()(inputs)
    assert out.dtype == inputs.dtype
    out.float().square().sum().backward()
    for name, layer in quantised.layers.items():
        learns = name != "body"  # it runs without gradient
        for quantizer in (layer.weight, layer.activation):
            for parameter in quantizer.parameters():
                assert (parameter.grad is not None) == learns, name
                if learns:
                    assert torch.isfinite(parameter.grad).all(), name
                if parameter.ndim == 0:
                    assert float(parameter.detach()) > 0, name
        if kind == "steps" and learns:
            steps = [layer.weight.learned(3), layer.activation.learned(4)]
            assert all(float(step.grad) != 0 for step in steps), name

    if kind == "planes":  # planes become a float weight before they come to rest
        quantised = collapse(quantised, start)
    expected = quantised.module.eval()(inputs)
    passing = operand_values(quantised, inputs)
    frozen = freeze(quantised)
    assert torch.equal(frozen.module(inputs), expected)
    loaded = reloaded(twin, frozen)
    assert torch.equal(loaded.module.eval()(inputs), expected)
    for name, values in passing.items():
        bits = frozen.layers[name[0]].precision
        most = 2 ** (bits.weight_bits if name[1] == "weight" else bits.activation_bits)
        assert values.unique().numel() <= most, name


def reloaded(model, frozen):
    """Another network with the frozen one's saved state, as a run directory is loaded."""
    state = frozen.module.state_dict()
    loaded = with_powers(insert_empty(model, frozen.assignment), state)
    loaded.module.load_state_dict(state)
    return loaded


def operand_values(quantised, inputs):
    """What each quantiser lets through in a pass: weights, inputs, both operands of products."""
    found = {}
    handles = []
    for name, layer in quantised.layers.items():
        for kind in ("weight", "activation"):

            def keep(_module, _given, values, key=(name, kind)):
                found.setdefault(key, []).append(values.detach().flatten())

            handles.append(getattr(layer, kind).register_forward_hook(keep))
    quantised.module(inputs)
    for handle in handles:
        handle.remove()
    assert len(found) == 2 * len(quantised.layers)
    return {key: torch.cat(values) for key, values in found.items()}


def test_tables_have_the_codes_of_their_bits() -> None:
    tokens = torch.tensor([[1, 2, 3, 0], [5, 10, 7, 9]])
    model = Text()
    workload = extract(model, tokens[:1])
    bits = {"head": Precision(4, 4), "kinds": Precision(2, 8)}
    for kind, factory in FACTORIES.items():
        torch.manual_seed(0)
        model = Text()
        quantised = insert_quantizers(model, workload, bits, factory)
        quantised.module.train()(tokens).square().sum().backward()
        assert model.tokens.weight.unique().numel() <= 16, kind
        assert torch.equal(model.tokens.weight, model.head.weight)
        assert model.kinds.weight.unique().numel() <= 4, kind
        for name in bits:
            layer = quantised.layer(name)
            learned = [p for p in layer.weight.parameters() if p.ndim == 0]
            reached = [p.grad is not None and float(p.grad) != 0 for p in learned]
            assert not learned or any(reached), (kind, name)
        if kind == "planes":
            quantised = collapse(quantised, bits)
        expected = quantised.module.eval()(tokens)
        frozen = freeze(quantised)
        assert torch.equal(frozen.module(tokens), expected), kind
        loaded = reloaded(Text(), frozen)
        assert torch.equal(loaded.module(tokens), expected), kind


def test_a_clip_rounds_ties_as_it_does_at_rest() -> None:
    # 0.5 lies between the codes 7 and 8 of 4 bits; over the clip first it would be exactly there.
    values = torch.cat([torch.tensor([0.0, 1.0, 0.5]), torch.arange(1, 16) / 15 - 1 / 30])
    clip = PactQuantizer(4, signed=False)
    found = clip(values).detach()
    grid = clip.grid(values)
    assert torch.equal(found, (values / grid.step).round().clamp(0, 15) * grid.step)
