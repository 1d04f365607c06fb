"""Workload files: layers listed outright, networks from code, and every problem at once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from hwmpq.errors import HwmpqError, NotFoundError, SpecError, UnsupportedError
from hwmpq.workload.layer import Conv2d
from hwmpq.workload.loader import load_workload

TWO_LAYERS = """
name: two-layers
layers:
  - {name: conv1, op: conv2d, batch: 1, in_channels: 3, in_height: 224, in_width: 224,
     out_channels: 64, kernel_size: [7, 7], stride: [2, 2], padding: [3, 3], dilation: [1, 1],
     groups: 1, im2col: true}
  - {name: fc, op: linear, batch: 1, in_features: 512, out_features: 1000}
  - {name: qk, op: matmul, batch: 12, m: 197, k: 64, n: 197}
"""


def write(folder: Path, text: str, name: str = "w.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def problems(file: Path) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        load_workload(file)
    return {problem.path: str(problem) for problem in caught.value.problems}


def test_layers_listed_outright(tmp_path: Path) -> None:
    workload = load_workload(write(tmp_path, TWO_LAYERS))
    assert [layer.name for layer in workload.layers] == ["conv1", "fc", "qk"]
    # 64 x 3 x 49 x 112 x 112, 512 x 1000, 12 x 197 x 64 x 197
    assert workload.macs == 118_013_952 + 512_000 + 29_805_312
    conv1 = workload.layer("conv1")
    assert isinstance(conv1, Conv2d)
    assert conv1.im2col is True
    assert workload.readers_of("conv1") == ()


def test_batch_multiplies_samples_and_not_weights(tmp_path: Path) -> None:
    file = write(tmp_path, TWO_LAYERS)
    one, four = load_workload(file), load_workload(file, batch=4)
    assert four.macs == 4 * one.macs
    assert four.weight_elements == one.weight_elements
    assert four.batch == 4


def test_batch_multiplies_a_network_from_code() -> None:
    one, three = load_workload("resnet8-digits"), load_workload("resnet8-digits", batch=3)
    assert three.macs == 3 * one.macs
    assert three.weight_elements == one.weight_elements


GRAPH = """
name: branches
chain: {chain}
input_signed: false
layers:
  - {{name: stem, op: conv2d, in_channels: 3, in_height: 8, in_width: 8, out_channels: 4,
      kernel_size: 1}}
  - {{name: relu, op: relu, input_sizes: [256], output_elements: 256, operations: 256}}
  - {{name: left, op: conv2d, in_channels: 4, in_height: 8, in_width: 8, out_channels: 4,
      kernel_size: 1}}
  - {{name: right, op: conv2d, in_channels: 4, in_height: 8, in_width: 8, out_channels: 4,
      kernel_size: 1, inputs: [relu]}}
  - {{name: sum, op: add, input_sizes: [256, 256], output_elements: 256, operations: 256,
      inputs: [left, right]}}
"""


def test_a_chain_reads_the_layer_before_and_named_inputs_go_first(tmp_path: Path) -> None:
    workload = load_workload(write(tmp_path, GRAPH.format(chain="true")))
    producers = {
        layer.name: [tensor.producer for tensor in workload.inputs_of(layer.name)]
        for layer in workload.layers
    }
    assert producers == {
        "stem": ["input"],
        "relu": ["stem"],
        "left": ["relu"],
        "right": ["relu"],
        "sum": ["left", "right"],
    }
    assert not workload.inputs_of("stem")[0].signed
    assert not workload.inputs_of("right")[0].signed
    assert workload.inputs_of("sum")[0].signed


def test_without_chain_an_unnamed_input_is_the_layers_own(tmp_path: Path) -> None:
    workload = load_workload(write(tmp_path, GRAPH.format(chain="false")))
    assert workload.inputs_of("left")[0].producer == "input.left"
    assert workload.inputs_of("right")[0].producer == "relu"


def test_every_problem_of_a_file_at_once(tmp_path: Path) -> None:
    text = """
name: bad
fix: {"fc": 8-8}
layers:
  - {name: conv1, op: conv2d, in_channels: 3, in_height: 8, in_width: 8, out_channels: 4,
     kernel_size: [3, -3]}
  - {name: fc, op: linear, in_featurs: 512, out_features: 1e3}
  - {name: fc, op: matmul, m: 2, k: 2, n: 2, inputs: [later]}
  - {name: later, op: dense, in_features: 1, out_features: 1}
"""
    found = problems(write(tmp_path, text))
    assert "layers[0].kernel_size[1]" in found
    assert "(line 6)" in found["layers[0].kernel_size[1]"]
    assert "Did you mean 'in_features'?" in found["layers[1].in_featurs"]
    assert found["layers[1].in_features"].endswith("is missing. Add it.")
    assert "write 1000" in found["layers[1].out_features"]
    assert "names of layers must be unique" in found["layers[2].name"]
    assert "earlier layer" in found["layers[2].inputs[0]"]
    assert any(path.startswith("layers[3]") for path in found)


def test_padding_that_leaves_no_output(tmp_path: Path) -> None:
    image = "in_channels: 1, in_height: 2, in_width: 2"
    layer = f"{{name: c, op: conv2d, {image}, out_channels: 1, kernel_size: 3}}"
    found = problems(write(tmp_path, f"name: x\nlayers:\n  - {layer}\n"))
    assert any("must hold the dilated kernel" in text for text in found.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "exactly one of torch, onnx, topology, layers"),
        ("name: x\ntorch: a:b\nonnx: c.onnx\ninput_shape: [1]\n", "exactly one of"),
        ("name: x\ntorch: a:b\n", "needs input_shape"),
        ("name: x\ntorch: nocolon\ninput_shape: [1]\n", "match pattern"),
        (TWO_LAYERS + "fix: {a: eight}\n", "a precision is"),
        (TWO_LAYERS + "facts: {macs: 5}\n", "must name their source"),
        ("name: x\nname: y\nlayers: []\n", "appears twice"),
    ],
)
def test_files_that_say_too_little_or_too_much(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_workload(write(tmp_path, text))


def test_an_empty_list_of_layers(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"layers .line 2.: .* at least 1 item"):
        load_workload(write(tmp_path, "name: x\nlayers: []\n"))


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'resnet18'"):
        load_workload("resnet19")


def test_pins_and_exemptions_must_match(tmp_path: Path) -> None:
    file = write(tmp_path, TWO_LAYERS + 'fix: {"conv*": 8/8}\n')
    assert load_workload(file).fixed_precisions == {"conv*": "8/8"}
    assert load_workload(file, exempt=["q*"]).unpriced == ("qk",)
    with pytest.raises(UnsupportedError, match="cannot exempt 'head'"):
        load_workload(file, exempt=["head"])
    with pytest.raises(UnsupportedError, match="cannot fix 'head'"):
        load_workload(write(tmp_path, TWO_LAYERS + "fix: {head: 8/8}\n"))


OWN_CODE = """
from torch import nn

def network(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU())

def number():
    return 3

def looks_at_values():
    model = nn.Linear(3, 4)
    assert isinstance(model.weight.sum().item(), float)
    return model
"""


def test_own_code_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path, OWN_CODE, "own_network_beside.py")
    text = (
        "name: own\ntorch: own_network_beside:network\narguments: {width: 7}\ninput_shape: [3]\n"
    )
    workload = load_workload(write(tmp_path, text))
    assert [layer.name for layer in workload.layers] == ["0", "1"]
    assert workload.macs == 21


def test_a_constructor_that_looks_at_values_is_run_with_real_tensors(tmp_path: Path) -> None:
    write(tmp_path, OWN_CODE, "own_network_values.py")
    text = "name: own\ntorch: own_network_values:looks_at_values\ninput_shape: [3]\n"
    assert load_workload(write(tmp_path, text)).macs == 12


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("no_such_module:f", "{}", "there is no module 'no_such_module'"),
        ("own_network_bad:netwerk", "{}", "Did you mean 'network'"),
        ("own_network_bad:number", "{}", "must return a torch.nn.Module, but returned a int"),
        ("own_network_bad:network", "{wdth: 3}", "arguments: .*TypeError.*wdth"),
        ("own_broken_module:f", "{}", "cannot be imported: SyntaxError"),
    ],
)
def test_code_that_cannot_be_used(
    tmp_path: Path, target: str, arguments: str, message: str
) -> None:
    write(tmp_path, OWN_CODE, "own_network_bad.py")
    write(tmp_path, "def f(:\n", "own_broken_module.py")
    text = f"name: own\ntorch: {target}\narguments: {arguments}\ninput_shape: [3]\n"
    with pytest.raises(SpecError, match=message):
        load_workload(write(tmp_path, text))


def test_own_code_leaves_the_search_path_alone(tmp_path: Path) -> None:
    before = list(sys.path)
    with pytest.raises(HwmpqError):
        load_workload(write(tmp_path, "name: x\ntorch: no_such:f\ninput_shape: [1]\n"))
    assert sys.path == before


def test_listed_layers_need_no_torch(tmp_path: Path) -> None:
    file = write(tmp_path, TWO_LAYERS)
    code = (
        "import sys; from hwmpq.workload.loader import load_workload; "
        f"load_workload({str(file)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_output_size_is_rounded_up_where_the_layer_says_so(tmp_path: Path) -> None:
    text = """
name: up
layers:
  - {name: a, op: conv2d, in_channels: 1, in_height: 8, in_width: 9, out_channels: 1,
     kernel_size: 3, stride: 2, %s}
"""
    sizes = {}
    for mode in ("ceil_mode: false", "ceil_mode: true", "groups: 1"):
        file = tmp_path / "up.yaml"
        file.write_text(text % mode, encoding="utf-8")
        layer = load_workload(file).layer("a")
        sizes[mode] = (layer.out_height, layer.out_width, layer.input_elements)
    # (8 - 3) / 2 + 1 = 3.5 rows, (9 - 3) / 2 + 1 = 4 columns.
    assert sizes["ceil_mode: true"] == (4, 4, 72)
    assert sizes["ceil_mode: false"] == sizes["groups: 1"] == (3, 4, 72)


@pytest.mark.parametrize("package", ["torchvision", "timm", "transformers"])
def test_a_zoo_that_is_not_installed(package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    file = tmp_path / "zoo.yaml"
    file.write_text(f"name: zoo\ntorch: {package}.models:resnet18\ninput_shape: [3, 8, 8]\n")
    message = f"no module '{package}' .*install {package} in a version that fits torch"
    with pytest.raises(SpecError, match=message):
        load_workload(file)


def test_a_network_that_names_its_device_is_built_with_real_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import torch
from torch import nn

class Offset(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x + torch.arange(4.0, device="cpu"))
"""
    (tmp_path / "names_its_device.py").write_text(code, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "names_its_device", raising=False)
    text = 'name: offset\nsource: "test"\ntorch: names_its_device:Offset\ninput_shape: [4]\n'
    workload = load_workload(write(tmp_path, text), batch=3)
    assert workload.macs == 3 * 4 * 2
