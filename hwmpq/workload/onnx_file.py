"""Reading ONNX files safely: the graph and its shapes, never the weights.

Weights kept in other files are looked at only to see that they lie in the model's own folder and
are whole.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from hwmpq.errors import Problem, SpecError, UnsupportedError
from hwmpq.workload.onnx_fold import fold_constants

MAX_BYTES: Final = 2 * 1024**3
"""Protocol buffers hold no more."""


def fail(path: Path, where: str, rule: str, fix: str = "") -> NoReturn:
    """Raise one problem of an ONNX file.

    Raises:
        SpecError: always.
    """
    raise SpecError(str(path), [Problem(where, rule, fix=fix)])


def _onnx() -> Any:
    try:
        import onnx
        import onnx.shape_inference
    except ImportError as error:
        msg = "reading ONNX files needs the package 'onnx': pip install 'hwmpq[onnx]'"
        raise UnsupportedError(msg) from error
    return onnx


def tensors_of(graph: Any) -> Iterator[Any]:
    """Every stored tensor of a graph, also of the graphs inside its operators."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from tensors_of(inner)


def _check_external(path: Path, tensor: Any) -> None:
    """Weights in another file must lie below the model's folder and be as long as stated."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"initializer '{tensor.name}'"
    folder = path.resolve().parent
    target = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not target.is_relative_to(folder):
        fail(path, where, f"its data must lie in the model's folder, but it names '{location}'")
    if not target.is_file():
        fail(path, where, f"its data are missing: there is no file '{location}'")
    offset, length = entries.get("offset", "0"), entries.get("length", "0")
    if not (offset.isdigit() and length.isdigit()):
        fail(path, where, f"offset and length must be whole numbers: {offset!r}, {length!r}")
    if int(offset) + int(length) > target.stat().st_size:
        fail(path, where, f"'{location}' is shorter than the data it should hold")


def read_onnx(path: Path, batch: int) -> Any:
    """Read a model and infer all shapes; a symbolic first dimension of an input is the batch.

    Raises:
        SpecError: not an ONNX model, an unknown operator set, shapes that contradict each other,
            or weights outside the model's folder.
    """
    onnx = _onnx()
    if not path.is_file():
        fail(path, "file", "there is no such file", "Check the path.")
    if path.stat().st_size > MAX_BYTES:
        fail(path, "file", "is larger than 2 GiB", "Save the weights as external data.")
    broken = importlib.import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (broken, OSError, ValueError) as error:
        fail(path, "file", f"is no whole ONNX model: {type(error).__name__}: {error}")
    if not model.graph.node:
        fail(path, "graph", "holds no operator; is this an ONNX model?")
    for tensor in tensors_of(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(path, tensor)
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and not 1 <= opset.version <= newest:
            rule = f"operator set {opset.version} is unknown; known are 1 to {newest}"
            fail(path, "opset_import", rule, "Export with an older one or update onnx.")
    _set_batch(path, model, batch)
    model = _inferred(path, onnx, model)
    while fold_constants(onnx, model):
        model = _inferred(path, onnx, model)
    return model


def _inferred(path: Path, onnx: Any, model: Any) -> Any:
    """The model with shapes inferred; ones that were noted with open dimensions are found anew."""
    noted = [
        entry
        for entry in model.graph.value_info
        if all(dimension.dim_value > 0 for dimension in entry.type.tensor_type.shape.dim)
    ]
    del model.graph.value_info[:]
    model.graph.value_info.extend(noted)
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[-1]
        fail(path, "graph", f"shapes cannot be inferred: {reason}")


def _set_batch(path: Path, model: Any, batch: int) -> None:
    """Fix the inputs' shapes: a symbolic or unit first dimension becomes the batch."""
    stored = {tensor.name for tensor in model.graph.initializer}
    for entry in model.graph.input:
        if entry.name in stored:
            continue
        where = f"input '{entry.name}'"
        if not entry.type.tensor_type.HasField("shape"):
            fail(path, where, "has no shape", "Export with fixed input shapes.")
        for axis, dimension in enumerate(entry.type.tensor_type.shape.dim):
            if axis == 0 and dimension.dim_value in (0, 1):
                dimension.Clear()
                dimension.dim_value = batch
            elif axis == 0 and batch not in (1, dimension.dim_value):
                rule = f"is fixed to a batch of {dimension.dim_value}, so --batch {batch}"
                fail(path, where, f"{rule} is impossible", "Export with a symbolic batch.")
            elif dimension.dim_value <= 0:
                named = dimension.dim_param or "unknown"
                rule = f"dimension {axis} is symbolic ({named})"
                fail(path, where, rule, "Export with fixed input shapes.")
    # Shapes that the exporter noted belong to its own batch; they are inferred anew.
    if batch != 1:
        del model.graph.value_info[:]
        for result in model.graph.output:
            if result.type.tensor_type.HasField("shape"):
                result.type.tensor_type.ClearField("shape")
