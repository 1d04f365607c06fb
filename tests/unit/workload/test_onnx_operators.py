"""Single ONNX operators, in graphs built by hand, as other exporters and runtimes write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwmpq.errors import SpecError, UnsupportedError
from hwmpq.workload.from_onnx import workload_from_onnx
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import Conv2d, Linear, MatMul, VectorOp

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (after the skip)

node = helper.make_node


def tensor(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def stored(name: str, values: Any, kind: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def read(
    folder: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
    *,
    opset: int = 17,
    noted: Sequence[Any] = (),
    foreign: bool = False,
    batch: int = 1,
) -> Workload:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights, value_info=noted)
    opsets = [helper.make_opsetid("", opset)]
    if foreign:
        opsets.append(helper.make_opsetid("com.microsoft", 1))
    file = folder / "net.onnx"
    file.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    return workload_from_onnx(file, name="net", batch=batch)


def test_attention_with_a_cache_and_shared_key_heads(tmp_path: Path) -> None:
    """Four heads of width 8 share two of keys: rows of one product, over 10 + 6 tokens."""
    inputs = ["q", "k", "v", "", "past_k", "past_v"]
    nodes = [
        node("Attention", inputs, ["y"], name="attn", q_num_heads=4, kv_num_heads=2, is_causal=1)
    ]
    past = [tensor(name, 1, 2, 10, 8) for name in inputs[4:]]
    given = [tensor("q", 1, 6, 32), tensor("k", 1, 6, 16), tensor("v", 1, 6, 16), *past]
    workload = read(tmp_path, nodes, given, [tensor("y", 1, 6, 32)], opset=23)
    assert [(layer.name, layer.op) for layer in workload.layers] == [
        ("attn.cat", "concat"),
        ("attn.cat#2", "concat"),
        ("attn.qk", "matmul"),
        ("attn.mask", "add"),
        ("attn.softmax", "softmax"),
        ("attn.av", "matmul"),
    ]
    assert workload.layer("attn.qk") == MatMul(name="attn.qk", batch=2, m=12, k=8, n=16)
    assert workload.layer("attn.av") == MatMul(name="attn.av", batch=2, m=12, k=16, n=8)


def test_norm_rotation_and_swish_of_newer_operator_sets(tmp_path: Path) -> None:
    nodes = [
        node("RMSNormalization", ["x", "w"], ["n"], name="norm"),
        node("RotaryEmbedding", ["n", "c", "s"], ["r"], name="rope"),
        node("Swish", ["r"], ["y"], name="swish"),
    ]
    weights = [stored("w", np.ones(8)), *(stored(n, np.ones((1, 6, 4))) for n in "cs")]
    workload = read(
        tmp_path, nodes, [tensor("x", 1, 4, 6, 8)], [tensor("y", 1, 4, 6, 8)], weights, opset=24
    )
    operations = [layer.operations for layer in workload.layers if isinstance(layer, VectorOp)]
    # 24 rows of 4 x 8 + 2; three operations an element; two an element.
    assert operations == [24 * 34, 3 * 192, 2 * 192]


def test_writing_a_cache_moves_what_is_written(tmp_path: Path) -> None:
    nodes = [
        node("ScatterND", ["cache", "at", "new"], ["all"], name="write"),
        node("MatMul", ["all", "w"], ["y"], name="fc"),
    ]
    weights = [stored("at", [[0, 1]], np.int64), stored("w", np.ones((8, 8)))]
    given = [tensor("cache", 1, 4, 8), tensor("new", 1, 8)]
    workload = read(tmp_path, nodes, given, [tensor("y", 1, 4, 8)], weights)
    write = workload.layer("write")
    assert isinstance(write, VectorOp)
    assert write.operations == 8
    sources = [tensor.producer for tensor in workload.inputs_of("write.join")]
    assert sources == ["input.cache", "write"]


def test_integer_forms_of_products(tmp_path: Path) -> None:
    byte, word = TensorProto.UINT8, TensorProto.INT32
    scale = [stored("s", 1.0), stored("z", 0, np.uint8)]
    nodes = [
        node("QLinearConv", ["x", "s", "z", "k", "s", "z", "s", "z"], ["c"], name="conv"),
        node("Flatten", ["c"], ["f"], name="flatten"),
        node("MatMulInteger", ["f", "w"], ["y"], name="fc"),
    ]
    weights = [
        *scale,
        stored("k", np.zeros((2, 4, 1, 1)), np.uint8),
        stored("w", np.zeros((18, 5)), np.uint8),
    ]
    given, results = [tensor("x", 1, 4, 3, 3, kind=byte)], [tensor("y", 1, 5, kind=word)]
    workload = read(tmp_path, nodes, given, results, weights)
    assert workload.layer("conv") == Conv2d(
        name="conv", in_channels=4, in_height=3, in_width=3, out_channels=2, kernel_size=1
    )
    assert workload.layer("fc") == Linear(name="fc", in_features=18, out_features=5)


def test_a_style_of_older_files(tmp_path: Path) -> None:
    """Shape arithmetic, dropout and a local response norm, as the first model collections have."""
    nodes = [
        node("LRN", ["x"], ["l"], size=5, name="lrn"),
        node("Shape", ["l"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["u"]),
        node("Concat", ["u", "rest"], ["to"], axis=0),
        node("Reshape", ["l", "to"], ["r"], name="reshape"),
        node("Dropout", ["r"], ["d"], name="dropout"),
        node("Gemm", ["d", "w"], ["y"], transB=1, name="fc"),
    ]
    weights = [
        stored("zero", 0, np.int64),
        stored("axes", [0], np.int64),
        stored("rest", [-1], np.int64),
        stored("w", np.ones((3, 16))),
    ]
    workload = read(
        tmp_path, nodes, [tensor("x", 1, 4, 2, 2)], [tensor("y", 1, 3)], weights, opset=13
    )
    assert [layer.name for layer in workload.layers] == ["lrn", "reshape", "dropout", "fc"]
    lrn = workload.layer("lrn")
    assert isinstance(lrn, VectorOp)
    # A square, four additions, a scale, a shift, a power and a multiplication an element.
    assert lrn.operations == 9 * 16


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("reciprocal", [True, False])
def test_norms_that_are_spelled_out(tmp_path: Path, centred: bool, reciprocal: bool) -> None:
    nodes = [
        node("Pow", ["d", "two"], ["sq"]),
        node("ReduceMean", ["sq"], ["v"], axes=[-1], name="v"),
        node("Add", ["v", "eps"], ["ve"]),
        node("Sqrt", ["ve"], ["root"]),
    ]
    if centred:
        mean = node("ReduceMean", ["x"], ["m"], axes=[-1], name="m")
        nodes = [mean, node("Sub", ["x", "m"], ["d"]), *nodes]
    else:
        nodes = [node("Relu", ["x"], ["d"], name="relu"), *nodes]
    if reciprocal:
        nodes += [node("Reciprocal", ["root"], ["i"]), node("Mul", ["d", "i"], ["n"])]
    else:
        nodes.append(node("Div", ["d", "root"], ["n"]))
    nodes += [
        node("Mul", ["n", "scale"], ["sn"], name="norm"),
        node("Add", ["sn", "shift"], ["y"], name="last"),
    ]
    weights = [stored("two", 2.0), stored("eps", 1e-5)]
    weights += [stored(name, np.ones(8)) for name in ("scale", "shift")]
    workload = read(
        tmp_path, nodes, [tensor("x", 1, 3, 8)], [tensor("y", 1, 3, 8)], weights, opset=13
    )
    last = workload.layers[-1]
    assert isinstance(last, VectorOp)
    assert len(workload.layers) == (1 if centred else 2)
    assert last.op == ("layer_norm" if centred else "rms_norm")
    assert last.parameter_elements == 16
    assert last.operations == 3 * (7 * 8 + 2 if centred else 4 * 8 + 2)


def test_a_norm_whose_middle_is_read_elsewhere_stays_spelled_out(tmp_path: Path) -> None:
    nodes = [
        node("Mul", ["x", "x"], ["sq"], name="square"),
        node("ReduceMean", ["sq"], ["v"], axes=[-1], name="mean"),
        node("Add", ["v", "eps"], ["ve"], name="add"),
        node("Sqrt", ["ve"], ["root"], name="root"),
        node("Div", ["x", "root"], ["y"], name="div"),
    ]
    given, results = [tensor("x", 1, 3, 8)], [tensor("y", 1, 3, 8), tensor("v", 1, 3, 1)]
    workload = read(tmp_path, nodes, given, results, [stored("eps", 1e-5)], opset=13)
    assert [layer.name for layer in workload.layers] == ["square", "mean", "add", "root", "div"]


@pytest.mark.parametrize(
    ("square", "quotient", "is_norm"),
    [
        (("Pow", "x", "two"), ("x", "root"), True),
        (("Mul", "x", "x"), ("x", "root"), True),
        (("Pow", "x", "plain_two"), ("x", "root"), True),
        (("Pow", "x", "three"), ("x", "root"), False),
        (("Pow", "x", "x"), ("x", "root"), False),
        (("Mul", "x", "two"), ("x", "root"), False),
        (("Pow", "x", "two"), ("root", "x"), False),
    ],
)
def test_a_norm_is_a_quotient_by_the_root_of_squares(
    tmp_path: Path, square: tuple[str, str, str], quotient: tuple[str, str], is_norm: bool
) -> None:
    op, *operands = square
    nodes = [
        node("Constant", [], ["plain_two"], value_float=2.0, name="plain_two"),
        node(op, operands, ["sq"], name="square"),
        node("ReduceMean", ["sq"], ["v"], axes=[-1], name="mean"),
        node("Add", ["v", "eps"], ["ve"], name="add"),
        node("Sqrt", ["ve"], ["root"], name="root"),
        node("Div", quotient, ["y"], name="div"),
    ]
    weights = [stored("two", 2.0), stored("three", 3.0), stored("eps", 1e-5)]
    given, results = [tensor("x", 1, 3, 8)], [tensor("y", 1, 3, 8)]
    workload = read(tmp_path, nodes, given, results, weights, opset=13)
    spelled = ["square", "mean", "add", "root", "div"]
    assert [layer.name for layer in workload.layers] == (["div"] if is_norm else spelled)
    assert (workload.layers[-1].op == "rms_norm") is is_norm


def test_control_flow_is_named(tmp_path: Path) -> None:
    then, other = (
        helper.make_graph([node(op, ["x"], [name])], name, [], [tensor(name, 1, 4)])
        for op, name in (("Relu", "t"), ("Neg", "e"))
    )
    nodes = [node("If", ["c"], ["y"], name="branch", then_branch=then, else_branch=other)]
    given = [tensor("x", 1, 4), tensor("c", 1, kind=TensorProto.BOOL)]
    with pytest.raises(
        UnsupportedError, match=r"'branch' \(If\): it chooses what runs by the val"
    ):
        read(tmp_path, nodes, given, [tensor("y", 1, 4)])


def test_recurrent_operators_have_no_price(tmp_path: Path) -> None:
    nodes = [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4, name="lstm")]
    weights = [stored("w", np.ones((1, 16, 8))), stored("r", np.ones((1, 16, 4)))]
    with pytest.raises(UnsupportedError, match=r"'lstm' \(LSTM\)"):
        read(tmp_path, nodes, [tensor("x", 1, 1, 8)], [tensor("y", 1, 1, 1, 4)], weights)


RUNTIME = [
    node("SkipLayerNormalization", ["x", "x", "w"], ["n"], domain="com.microsoft", name="skip"),
    node("Gelu", ["n"], ["g"], domain="com.microsoft", name="gelu"),
    node(
        "MatMulNBits",
        ["g", "packed", "scales"],
        ["y"],
        domain="com.microsoft",
        name="fc",
        K=32,
        N=6,
        bits=4,
        block_size=32,
    ),
]
PACKED = [
    stored("w", np.ones(32)),
    stored("packed", np.zeros((6, 1, 16)), np.uint8),
    stored("scales", np.ones(6)),
]


def test_a_runtimes_operators_where_the_file_notes_their_shapes(tmp_path: Path) -> None:
    noted = [tensor("n", 1, 4, 32), tensor("g", 1, 4, 32)]
    workload = read(
        tmp_path,
        RUNTIME,
        [tensor("x", 1, 4, 32)],
        [tensor("y", 1, 4, 6)],
        PACKED,
        noted=noted,
        foreign=True,
    )
    assert [(layer.name, layer.op) for layer in workload.layers] == [
        ("skip.add", "add"),
        ("skip", "layer_norm"),
        ("gelu", "gelu"),
        ("fc", "linear"),
    ]
    assert workload.layer("fc") == Linear(name="fc", batch=4, in_features=32, out_features=6)


def test_a_runtimes_operators_without_shapes_are_named(tmp_path: Path) -> None:
    given, results = [tensor("x", 1, 4, 32)], [tensor("y", 1, 4, 6)]
    with pytest.raises(SpecError, match=r"com\.microsoft\.SkipLayer.* no operator of ONNX's own"):
        read(tmp_path, RUNTIME, given, results, PACKED, foreign=True)


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 19, 20, 21, 22, 23, 24])
def test_every_operator_set_reads_alike(tmp_path: Path, opset: int) -> None:
    """Axes move from attributes to operands at set 18."""
    older = opset < 18
    mean = node("ReduceMean", ["p"] if older else ["p", "axes"], ["y"], name="mean", keepdims=0)
    if older:
        mean.attribute.append(helper.make_attribute("axes", [1]))
    nodes = [
        node("Split", ["x", "sizes"], ["a", "b"], axis=1, name="split"),
        node("MatMul", ["a", "w"], ["q"], name="query"),
        node("Transpose", ["b"], ["t"], perm=[0, 2, 1], name="transpose"),
        node("MatMul", ["q", "t"], ["s"], name="scores"),
        node("Softmax", ["s"], ["p"], name="softmax"),
        mean,
    ]
    weights = [stored("sizes", [2, 2], np.int64), stored("w", np.ones((8, 8)))]
    weights += [] if older else [stored("axes", [1], np.int64)]
    workload = read(
        tmp_path, nodes, [tensor("x", 1, 4, 8)], [tensor("y", 1, 2)], weights, opset=opset
    )
    assert workload.macs == 2 * 8 * 8 + 2 * 8 * 2
