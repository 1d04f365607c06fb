"""ONNX operators that hold several layers: each of their results, and what they do inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwmpq.workload.from_onnx import workload_from_onnx
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import VectorOp

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (after the skip)

node = helper.make_node
HEADS = {"q_num_heads": 2, "kv_num_heads": 2}


def tensors(shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]


def read(
    folder: Path,
    nodes: Sequence[Any],
    given: dict[str, tuple[int, ...]],
    results: dict[str, tuple[int, ...]],
    noted: dict[str, tuple[int, ...]],
) -> Workload:
    """A graph with a stored 8 x 8 matrix ``w``, vector ``g`` and number ``c``."""
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in {"w": (8, 8), "g": (8,), "c": ()}.items()
    ]
    graph = helper.make_graph(
        nodes, "g", tensors(given), tensors(results), weights, value_info=tensors(noted)
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    file = folder / "net.onnx"
    file.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    return workload_from_onnx(file, name="net")


def sources(workload: Workload, name: str) -> list[str]:
    return [tensor.producer for tensor in workload.inputs_of(name)]


@pytest.mark.parametrize(
    "op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"], ids=["layer", "rms"]
)
@pytest.mark.parametrize(
    ("results", "residual"),
    [
        (["n", "", "", "s"], "skip.add"),
        (["n", "m", "i", "s"], "skip.add"),
        (["n", "s"], "skip"),  # the mean, which the norm computes
    ],
)
def test_the_residual_of_a_norm_of_a_sum_is_the_sum(
    tmp_path: Path, op: str, results: list[str], residual: str
) -> None:
    statistics = dict.fromkeys("mi", (1, 4, 1))
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="first"),
        node(op, ["a", "x", "g"], results, domain="com.microsoft", name="skip"),
        node("MatMul", ["n", "w"], ["b"], name="second"),
        node("Add", ["b", "s"], ["y"], name="res"),
    ]
    whole = dict.fromkeys("xyns", (1, 4, 8))
    workload = read(
        tmp_path,
        nodes,
        {"x": whole["x"]},
        {"y": whole["y"]},
        statistics | {"n": whole["n"], "s": (1, 4, 8 if residual == "skip.add" else 1)},
    )
    assert sources(workload, "skip.add") == ["first", "input"]
    assert sources(workload, "second") == ["skip"]
    assert sources(workload, "res") == ["second", residual]


def test_a_norm_of_a_sum_of_which_the_sum_alone_is_read(tmp_path: Path) -> None:
    skip = ["", "", "", "s"]
    nodes = [
        node("SkipLayerNormalization", ["x", "x", "g"], skip, domain="com.microsoft", name="skip"),
        node("MatMul", ["s", "w"], ["y"], name="fc"),
    ]
    whole = (1, 4, 8)
    workload = read(tmp_path, nodes, {"x": whole}, {"y": whole}, {"s": whole})
    assert sources(workload, "fc") == ["skip.add"]


def test_the_new_state_of_a_cache_is_not_the_attentions_result(tmp_path: Path) -> None:
    past = {"past_k": (1, 2, 10, 4), "past_v": (1, 2, 10, 4)}
    nodes = [
        node("Attention", ["q", "k", "v", "", *past], ["o", "pk", "pv"], name="attn", **HEADS),
        node("Relu", ["pk"], ["rk"], name="keys"),
        node("Relu", ["pv"], ["rv"], name="values"),
    ]
    given = dict.fromkeys("qkv", (1, 6, 8)) | past
    state = (1, 2, 16, 4)
    workload = read(
        tmp_path, nodes, given, {"o": (1, 6, 8), "rk": state, "rv": state}, {"pk": state}
    )
    assert sources(workload, "keys") == ["attn.cat"]
    assert sources(workload, "values") == ["attn.cat#2"]


@pytest.mark.parametrize(("softcap", "layers"), [(None, 0), (0.0, 0), (30.0, 1)])
def test_capped_scores_cost_what_they_cost_spelled_out(
    tmp_path: Path, softcap: float | None, layers: int
) -> None:
    capped = HEADS if softcap is None else HEADS | {"softcap": softcap}
    nodes = [node("Attention", ["q", "k", "v"], ["y"], name="attn", is_causal=1, **capped)]
    given = dict.fromkeys("qkv", (1, 6, 8))
    workload = read(tmp_path, nodes, given, {"y": (1, 6, 8)}, {})
    parts = ["qk", *["softcap"] * layers, "mask", "softmax", "av"]
    assert [layer.name for layer in workload.layers] == [f"attn.{part}" for part in parts]
    if not layers:
        return
    scores = {"s": (1, 2, 6, 6)}
    spelled = [
        node("Div", ["s", "c"], ["d"], name="div"),
        node("Tanh", ["d"], ["t"], name="tanh"),
        node("Mul", ["t", "c"], ["y"], name="mul"),
    ]
    written = read(tmp_path, spelled, scores, {"y": scores["s"]}, {})
    expected = sum(layer.operations for layer in written.layers if isinstance(layer, VectorOp))
    cap = workload.layer("attn.softcap")
    assert isinstance(cap, VectorOp)
    # Two heads of 6 x 6 scores: a multiplication, a look-up and a multiplication each.
    assert cap.operations == expected == 3 * 72
    assert sources(workload, "attn.mask")[0] == "attn.softcap"
