"""Evaluating what an ONNX graph computes from shapes alone, so that all shapes become known.

Exporters compute the arguments of Reshape, Pad or Expand by operators of their own. Those are run
here by ONNX's reference implementation and replaced by stored tensors.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

MAX_ELEMENTS: Final = 4096
"""Larger constants are weights; their values are not needed."""

Array = npt.NDArray[Any]


def _static_shapes(graph: Any) -> dict[str, list[int]]:
    found = {}
    for entry in [*graph.input, *graph.value_info]:
        kind = entry.type.tensor_type
        sizes = [dimension.dim_value for dimension in kind.shape.dim]
        if kind.HasField("shape") and all(size > 0 for size in sizes):
            found[entry.name] = sizes
    return found


def _small(dims: Any) -> bool:
    return int(np.prod(dims, dtype=np.int64)) <= MAX_ELEMENTS


def _evaluate(onnx: Any, model: Any, node: Any, operands: dict[str, Array]) -> list[Array]:
    """Run one operator; nothing if the reference has no implementation for it."""
    from onnx.reference import ReferenceEvaluator

    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in operands.items()
        ],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output],
    )
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    try:
        results = ReferenceEvaluator(single).run(None, operands)
    except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError):
        return []
    return [np.asarray(result) for result in results]


def fold_constants(onnx: Any, model: Any) -> bool:
    """Replace operators that compute small constants by what they compute, in place.

    Args:
        onnx: the package.
        model: a model with inferred shapes.

    Returns:
        whether anything was replaced.
    """
    graph = model.graph
    shapes = _static_shapes(graph)
    known: dict[str, Array] = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if not tensor.external_data and _small(tensor.dims)
    }
    kept = []
    for node in graph.node:
        given = [name for name in node.input if name]
        results: list[Array] = []
        if node.op_type == "Shape" and not node.attribute and node.input[0] in shapes:
            results = [np.array(shapes[node.input[0]], dtype=np.int64)]
        elif node.domain in ("", "ai.onnx") and all(name in known for name in given):
            results = _evaluate(onnx, model, node, {name: known[name] for name in given})
        if results and all(_small(result.shape) for result in results):
            known.update(zip(node.output, results, strict=True))
            graph.initializer.extend(
                onnx.numpy_helper.from_array(result, name)
                for name, result in zip(node.output, results, strict=True)
            )
        else:
            kept.append(node)
    folded = len(kept) < len(graph.node)
    del graph.node[:]
    graph.node.extend(kept)
    return folded
