"""Reading torch modules: layers, names, edges, signs, and what is refused with its line."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hwmpq.errors import UnsupportedError
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import Conv2d, VectorOp


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


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x
        return self.relu(y)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.layer1 = nn.Sequential(Block(8))
        self.drop = nn.Dropout()
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.stem(x))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(self.drop(x))


def test_residual_network_layer_by_layer() -> None:
    workload = extract(Residual(), torch.zeros(2, 3, 16, 16), name="residual")
    assert [(layer.name, layer.op) for layer in workload.layers] == [
        ("stem", "conv2d"),
        ("layer1.0.conv1", "conv2d"),
        ("layer1.0.relu", "relu"),
        ("layer1.0.conv2", "conv2d"),
        ("layer1.0.add", "add"),
        ("layer1.0.relu#2", "relu"),
        ("avg_pool", "avg_pool2d"),
        ("flatten", "flatten"),
        ("drop", "identity"),
        ("fc", "linear"),
    ]
    assert workload.batch == 2
    assert workload.layer("stem") == Conv2d(
        name="stem",
        batch=2,
        in_channels=3,
        in_height=16,
        in_width=16,
        out_channels=8,
        kernel_size=7,
        stride=2,
        padding=3,
    )
    # 2 x 8 x 8 pixels: 8 x 3 x 49 for the stem, twice 8 x 8 x 9 for the block, 2 x 8 x 10 for fc.
    assert workload.macs == 128 * (8 * 3 * 49 + 2 * 8 * 8 * 9) + 160
    assert workload.weight_elements == 8 * 3 * 49 + 2 * 8 * 8 * 9 + 80
    assert sources(workload, "layer1.0.add") == ["layer1.0.conv2", "stem"]


def test_names_are_those_of_named_modules() -> None:
    model = Residual()
    workload = extract(model, torch.zeros(1, 3, 16, 16))
    assert {layer.name for layer in workload.multiply_layers} <= dict(model.named_modules()).keys()


def test_signs_follow_the_values() -> None:
    workload = extract(Residual(), torch.zeros(1, 3, 16, 16))
    signed = {
        layer.name: [tensor.signed for tensor in workload.inputs_of(layer.name)]
        for layer in workload.layers
    }
    assert signed["stem"] == [True]
    assert signed["layer1.0.conv2"] == [False]
    assert signed["layer1.0.add"] == [True, True]
    assert signed["fc"] == [False]  # kept through pooling, flatten and dropout


def test_unsigned_input_is_told_by_the_caller() -> None:
    workload = extract(Residual(), torch.zeros(1, 3, 16, 16), signed_input=False)
    assert not workload.inputs_of("stem")[0].signed


def test_the_model_is_left_as_it_was() -> None:
    model = Residual().train()
    model.drop.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    extract(model, torch.zeros(1, 3, 16, 16))
    assert model.training
    assert model.layer1.training
    assert not model.drop.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_model_without_weights_gives_the_same() -> None:
    with torch.device("meta"):
        empty = Residual()
    example = torch.zeros(1, 3, 16, 16)
    assert extract(empty, example).layers == extract(Residual(), example).layers


def test_a_module_used_twice_is_two_layers_with_one_weight() -> None:
    workload = read(lambda m, x: m.fc(torch.relu(m.fc(x))), (3, 8), fc=nn.Linear(8, 8))
    assert [layer.name for layer in workload.layers] == ["fc", "relu", "fc#2"]


def test_batch_norm_stays_where_something_else_reads_the_convolution() -> None:
    parts = {"conv": nn.Conv2d(4, 4, 1), "bn": nn.BatchNorm2d(4)}
    folded = read(lambda m, x: m.bn(m.conv(x)), (1, 4, 2, 2), **parts)
    assert [layer.op for layer in folded.layers] == ["conv2d"]

    def shared(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        return m.bn(y) + y

    kept = read(shared, (1, 4, 2, 2), **parts)
    assert [layer.op for layer in kept.layers] == ["conv2d", "batch_norm", "add"]
    alone = read(lambda m, x: m.bn(x), (1, 4, 2, 2), bn=nn.BatchNorm2d(4))
    norm = alone.layer("bn")
    assert isinstance(norm, VectorOp)
    assert norm.parameter_elements == 8


def test_what_depends_on_no_input_costs_nothing() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        mask = torch.triu(torch.full((4, 4), -1.0), 1).softmax(-1)
        return x + mask + torch.arange(4)

    assert [layer.op for layer in read(forward, (4, 4)).layers] == ["add", "add"]


def test_regions_without_gradient_are_read() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = m.fc(x)
        return y + x

    workload = extract(Calls(forward, fc=nn.Linear(4, 4)), torch.zeros(2, 4))
    assert [layer.name for layer in workload.layers] == ["fc", "add"]
    assert sources(workload, "add") == ["fc", "input"]


def test_writes_into_a_cache_reach_only_readers_of_the_same_part() -> None:
    def forward(_: Any, cache: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        cache[0, -1:] = torch.relu(x)
        return cache[0] * 2, cache[1] * 2

    model = Calls(forward)
    workload = extract(model, (torch.zeros(2, 8, 4), torch.zeros(1, 4)))
    write = workload.layer("write")
    assert isinstance(write, VectorOp)
    assert write.output_elements == 4  # the newest row alone is moved

    def reaches(name: str) -> bool:
        seen = sources(workload, name)
        return any(producer == "write" for producer in seen) or any(
            producer.endswith("join") for producer in seen
        )

    assert reaches("mul")
    assert not reaches("mul#2")


class Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return torch.fft.fft(x).real


def test_an_operator_without_a_price_is_named_with_its_line() -> None:
    with pytest.raises(UnsupportedError) as caught:
        extract(Strange(), torch.zeros(2, 4), name="odd")
    message = str(caught.value)
    assert "'odd' has operators that cannot be priced" in message
    assert "aten.fft_fft.default" in message
    assert re.search(r"test_from_torch\.py:\d+: return torch\.fft\.fft\(x\)\.real", message)


def test_a_shape_without_a_price_is_reported_with_its_line_and_all_at_once() -> None:
    class Dynamic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = functional.conv2d(x, x[:, :, :2, :2])
            return torch.einsum("bchw,bcij->bw", y, y)

    with pytest.raises(UnsupportedError) as caught:
        extract(Dynamic(), torch.zeros(3, 3, 4, 4))
    message = str(caught.value)
    assert "filters are computed from the network's input" in message
    assert re.search(r"test_from_torch\.py:\d+: y = functional\.conv2d", message)
    assert "in one operand; sum it before" in message


def test_a_tied_weight_belongs_to_the_module_that_uses_it() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.head = nn.Linear(4, 4)
            self.head.weight = self.first.weight
            self.weight = nn.Parameter(torch.zeros(4, 4))
            self.extra = nn.Parameter(torch.zeros(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.head(self.first(x)) @ self.extra
            return x @ x.T @ x @ self.weight

    names = [layer.name for layer in extract(Tied(), torch.zeros(2, 4)).multiply_layers]
    assert names == ["first", "head", "extra", "matmul", "matmul#2", "weight"]


def test_exempt_operators_are_listed_and_not_priced() -> None:
    workload = extract(Strange(), torch.zeros(2, 4), exempt=["fft*", "real"])
    assert workload.unpriced == ("fft_fft", "real")
    assert [layer.name for layer in workload.priced_layers] == ["fc"]


def test_an_exemption_must_match_something() -> None:
    with pytest.raises(UnsupportedError, match="cannot exempt 'head'"):
        extract(nn.Linear(4, 4), torch.zeros(1, 4), exempt=["head"])


def test_control_flow_on_values_names_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(UnsupportedError, match=r"(?s)test_from_torch\.py:\d+.*control flow") as e:
        extract(Calls(forward), torch.zeros(3))
    assert "if x.sum() > 0:" in str(e.value)
    assert capfd.readouterr().err == ""


def test_branches_inside_an_operator_are_refused_with_their_line() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: m.fc(y), lambda y: 2 * y, (x,))

    with pytest.raises(
        UnsupportedError, match=r"test_from_torch\.py:\d+: return torch\.cond"
    ) as e:
        extract(Calls(forward, fc=nn.Linear(4, 4)), torch.zeros(2, 4), exempt=["cond"])
    assert "chooses what runs by the values of a tensor" in str(e.value)


def test_shapes_that_depend_on_values_name_the_line() -> None:
    def forward(_: Any, x: Tensor) -> Tensor:
        return x[x > 0]

    with pytest.raises(UnsupportedError, match=r"test_from_torch\.py:\d+: return x\[x > 0\]") as e:
        extract(Calls(forward), torch.zeros(3))
    assert "depends on the values of a tensor" in str(e.value)


def test_an_example_of_the_wrong_shape_is_one_clear_error() -> None:
    with pytest.raises(UnsupportedError, match=r"cannot trace Linear.*example input"):
        extract(nn.Linear(4, 4), torch.zeros(2, 5))


def test_an_example_must_hold_tensors() -> None:
    with pytest.raises(UnsupportedError, match=r"an example input is a tensor.* got a int"):
        extract(nn.ReLU(), 3)  # type: ignore[arg-type]


def test_regions_under_autocast_and_checkpoints_are_read() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = m.fc(x)
        return checkpoint(m.fc2, y.float(), use_reentrant=False)

    model = Calls(forward, fc=nn.Linear(4, 4), fc2=nn.Linear(4, 4))
    names = [layer.name for layer in extract(model, torch.zeros(2, 4)).priced_layers]
    assert names == ["fc", "fc2"]


def test_keyword_examples() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
            return x * scale

    workload = extract(Named(), {"x": torch.zeros(2, 3), "scale": torch.zeros(3)})
    assert sources(workload, "mul") == ["input.x", "input.scale"]


class _Cache:
    """What a decoder keeps, as no tensor."""


def test_results_that_are_no_tensors_say_what_to_do() -> None:
    model = Calls(lambda _, x: (x.relu(), _Cache()))
    with pytest.raises(UnsupportedError, match=r"_Cache.*Let it return tensors alone.*use_cache"):
        extract(model, torch.zeros(2, 3))


def test_tokens_written_into_a_new_tensor_are_read_from_it() -> None:
    """As decoders of transformers shift their labels; nothing behind may be lost."""

    def forward(model: nn.Module, tokens: Tensor) -> Tensor:
        shifted = tokens.new_zeros(tokens.shape)
        shifted[:, 1:] = tokens[:, :-1].clone()
        shifted[:, 0] = 2
        shifted.masked_fill_(shifted == -100, 1)
        return model.fc(model.table(shifted))

    model = Calls(forward, table=nn.Embedding(10, 8), fc=nn.Linear(8, 4))
    workload = extract(model, torch.zeros(1, 6, dtype=torch.long))
    assert workload.macs == 6 * 8 * 4


def test_a_part_of_a_new_tensor_changed_in_place_is_read_from_it() -> None:
    def forward(model: nn.Module, x: Tensor) -> Tensor:
        sums = x.new_zeros(x.shape)
        sums[:, :4].add_(x[:, 4:])
        return model.fc(sums)

    workload = read(forward, (2, 8), fc=nn.Linear(8, 4))
    assert workload.macs == 2 * 8 * 4
    assert "fc" in workload.readers_of("add.join")


def test_a_view_taken_before_its_tensor_changes_waits_for_the_change() -> None:
    def forward(model: nn.Module, x: Tensor) -> Tensor:
        y = model.fc(x)
        first = y[:, :2]
        y.mul_(y.sigmoid())
        return first.neg()

    workload = read(forward, (2, 8), fc=nn.Linear(8, 4))
    assert "mul" in sources(workload, sources(workload, "neg")[0])
