"""ONNX files: the same network as through torch, and one clear error for each broken file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwmpq.errors import HwmpqError, SpecError, UnsupportedError
from hwmpq.workload.from_onnx import workload_from_onnx
from hwmpq.workload.from_torch import extract
from hwmpq.workload.layer import Conv2d, Linear, VectorOp, without_name
from hwmpq.workload.loader import load_workload

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (after the skip)

Model = Any


def save(model: Model, folder: Path, name: str = "net.onnx") -> Path:
    file = folder / name
    file.write_bytes(model.SerializeToString())
    return file


def tensor(name: str, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def stored(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def network(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
    opset: int = 17,
) -> Model:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def small(batch: int | str = 1) -> Model:
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    weights = [stored("conv.weight", 4, 3, 3, 3), stored("fc.weight", 5, 4), stored("fc.bias", 5)]
    return network(nodes, [tensor("x", batch, 3, 8, 8)], [tensor("y", batch, 5)], weights)


def test_layers_shapes_and_signs(tmp_path: Path) -> None:
    workload = workload_from_onnx(save(small(), tmp_path), name="small")
    assert [(layer.name, layer.op) for layer in workload.layers] == [
        ("conv", "conv2d"),
        ("relu", "relu"),
        ("pool", "avg_pool2d"),
        ("flatten", "flatten"),
        ("fc", "linear"),
    ]
    assert workload.layer("conv") == Conv2d(
        name="conv",
        in_channels=3,
        in_height=8,
        in_width=8,
        out_channels=4,
        kernel_size=3,
        stride=2,
        padding=1,
    )
    assert workload.layer("fc") == Linear(name="fc", in_features=4, out_features=5)
    assert not workload.inputs_of("fc")[0].signed


def test_a_symbolic_or_unit_batch_can_be_chosen(tmp_path: Path) -> None:
    one = workload_from_onnx(save(small(), tmp_path), name="small")
    for batch in (1, "N"):
        file = save(small(batch), tmp_path)
        assert load_workload(file, batch=3).macs == 3 * one.macs
        assert load_workload(file).macs == one.macs


def test_a_fixed_batch_cannot_be_changed(tmp_path: Path) -> None:
    file = save(small(2), tmp_path)
    assert load_workload(file, batch=2).batch == 2
    with pytest.raises(SpecError, match="fixed to a batch of 2"):
        load_workload(file, batch=3)


def export(model: nn.Module, shape: tuple[int, ...], folder: Path) -> Path:
    file = folder / "exported.onnx"
    torch.onnx.export(model.eval(), (torch.zeros(shape),), str(file), dynamo=False)
    return file


def assert_same(model: nn.Module, shape: tuple[int, ...], folder: Path) -> None:
    expected = extract(model, torch.zeros(shape))
    found = workload_from_onnx(export(model, shape, folder), name="exported")
    names = [layer.name for layer in found.multiply_layers]
    assert names == [layer.name for layer in expected.multiply_layers]
    priced = [without_name(layer) for layer in found.priced_layers]
    assert priced == [without_name(layer) for layer in expected.priced_layers]
    assert found.weight_elements == expected.weight_elements


class Everything(nn.Module):
    """Operators that exporters spell out in their own ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, groups=1)
        self.dw = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.silu = nn.SiLU()
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(16, 8)
        self.gelu = nn.GELU()
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.conv(x))
        x = self.silu(self.bn(self.dw(x)))
        x = self.pool(self.up(x)).clamp(0, 6)
        x = torch.cat([x, x], 1).flatten(2)
        x = self.norm(self.gelu(self.fc1(x)))
        return functional.scaled_dot_product_attention(x, x, x).mean(1)


@pytest.mark.filterwarnings("ignore")
def test_the_same_network_through_torch_and_through_onnx(tmp_path: Path) -> None:
    assert_same(Everything(), (2, 3, 8, 8), tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["resnet18", "mobilenet-v2", "vit-tiny"])
def test_shipped_networks_through_torch_and_through_onnx(name: str, tmp_path: Path) -> None:
    from hwmpq.models.build import build_model

    assert_same(build_model(name, seed=0), (1, 3, 224, 224), tmp_path)


def test_quantised_models_are_read_through_their_scales(tmp_path: Path) -> None:
    scale = [stored("s", 1), numpy_helper.from_array(np.zeros(1, np.int8), "z")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dequantize"),
        helper.make_node("MatMul", ["d", "w"], ["y"], name="fc"),
    ]
    model = network(nodes, [tensor("x", 2, 4)], [tensor("y", 2, 3)], [*scale, stored("w", 4, 3)])
    workload = workload_from_onnx(save(model, tmp_path), name="qdq")
    assert [layer.name for layer in workload.priced_layers] == ["fc"]


def truncated(folder: Path) -> Path:
    file = save(small(), folder)
    file.write_bytes(file.read_bytes()[:-40])
    return file


def wrong_shapes(folder: Path) -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")]
    return save(
        network(nodes, [tensor("x", 2, 4)], [tensor("y", 2, 3)], [stored("w", 5, 3)]), folder
    )


def unknown_opset(folder: Path) -> Path:
    model = small()
    model.opset_import[0].version = 999
    return save(model, folder)


def symbolic(folder: Path) -> Path:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    return save(network(nodes, [tensor("x", 1, "length")], [tensor("y", 1, "length")]), folder)


def no_shape(folder: Path) -> Path:
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    return save(network(nodes, [entry], [tensor("y", 1)]), folder)


def unknown_result(folder: Path) -> Path:
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"], name="nonzero"),
        helper.make_node("Cast", ["n"], ["y"], name="cast", to=TensorProto.FLOAT),
    ]
    return save(network(nodes, [tensor("x", 2, 2)], [tensor("y", 2, "k")]), folder)


def external(location: str, length: str = "16") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "inner").mkdir(exist_ok=True)
        (folder / "weights.bin").write_bytes(bytes(16))
        model = small()
        weight = model.graph.initializer[1]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": length}.items():
            weight.external_data.add(key=key, value=value)
        return save(model, folder / "inner" if location.startswith("..") else folder)

    return write


def garbage(folder: Path) -> Path:
    file = folder / "net.onnx"
    file.write_bytes(b"name: not a model")
    return file


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (truncated, "is no whole ONNX model"),
        (garbage, "ONNX model"),
        (wrong_shapes, "shapes cannot be inferred"),
        (unknown_opset, "operator set 999 is unknown"),
        (symbolic, r"input 'x': dimension 1 is symbolic \(length\)"),
        (no_shape, "input 'x': has no shape"),
        (unknown_result, "no known shape"),
        (external("none.bin"), "its data are missing: there is no file 'none.bin'"),
        (external("../weights.bin"), "must lie in the model's folder"),
        (external("/etc/passwd"), "must lie in the model's folder"),
        (external("weights.bin", "160"), "shorter than the data"),
        (external("weights.bin", "-1"), "whole numbers"),
    ],
)
def test_broken_files(tmp_path: Path, write: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(HwmpqError, match=message):
        load_workload(write(tmp_path))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = external("../weights.bin")(tmp_path)
    inner = file.parent
    (inner / "link.bin").symlink_to(tmp_path / "weights.bin")
    model = onnx.load(str(file), load_external_data=False)
    model.graph.initializer[1].external_data[0].value = "link.bin"
    with pytest.raises(SpecError, match="must lie in the model's folder"):
        load_workload(save(model, inner))


def test_weights_in_another_file_are_not_read(tmp_path: Path) -> None:
    workload = load_workload(external("weights.bin")(tmp_path))
    assert workload.layer("fc") == Linear(name="fc", in_features=4, out_features=5)


def test_an_operator_without_a_price_is_named_and_can_be_exempted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="det"),
        helper.make_node("Relu", ["d"], ["y"], name="relu"),
    ]
    file = save(network(nodes, [tensor("x", 3, 2, 2)], [tensor("y", 3)]), tmp_path)
    with pytest.raises(UnsupportedError, match=r"'det' \(Det\)"):
        load_workload(file, batch=3)
    assert load_workload(file, batch=3, exempt=["det"]).unpriced == ("det",)


def test_without_the_package_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(small(), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'hwmpq\[onnx\]'"):
        load_workload(file)


def test_clip_reads_its_bounds_wherever_they_are_stored(tmp_path: Path) -> None:
    bounds = [
        numpy_helper.from_array(np.float32(value), name) for name, value in [("a", 0), ("b", 6)]
    ]
    nodes = [helper.make_node("Clip", ["x", "a", "b"], ["y"], name="clip")]
    model = network(nodes, [tensor("x", 2, 4)], [tensor("y", 2, 4)], bounds)
    layer = load_workload(save(model, tmp_path), batch=2).layer("clip")
    assert isinstance(layer, VectorOp)
    assert layer.op == "relu6"
