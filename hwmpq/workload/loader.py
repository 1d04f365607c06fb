"""Reading workloads from YAML: networks built from code, ONNX files, or layers listed outright."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwmpq.errors import Problem, ProblemList, SpecError
from hwmpq.shipped import find_file
from hwmpq.strict_yaml import UNKNOWN_FIELD, Document, read_yaml, validate
from hwmpq.workload.emit_vector import SIGN_PRESERVING, UNSIGNED_RESULTS
from hwmpq.workload.graph import INPUT, Workload, WorkloadBuilder
from hwmpq.workload.layer import Conv2d, FreeOp, Layer, Linear, MatMul, VectorOp
from hwmpq.workload.spec import WorkloadSpec

_UNKNOWN_IN_LAYER: Final = re.compile(r"layers\[(?P<index>\d+)\]\.(?P<field>\w+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFile:
    """A validated workload file.

    Attributes:
        path: where it is.
        spec: what it says.
        inputs: producers that each listed layer reads; none stated is None.
        source: where the network comes from.
        facts_source: where its published figures come from.
    """

    path: Path
    spec: WorkloadSpec
    inputs: tuple[tuple[str, ...] | None, ...] = ()
    source: str = ""
    facts_source: str = ""

    @property
    def facts(self) -> dict[str, str | int | float]:
        """Published figures that are stated, with their source."""
        stated = self.spec.facts.model_dump(exclude_none=True)
        return {**stated, "source": self.facts_source} if stated else {}


def parse_workload(document: Document, path: Path) -> WorkloadFile:
    """Validate a document that was read with its sources taken out.

    Raises:
        SpecError: all problems at once.
    """
    problems = ProblemList(document.file)
    inputs, bare = _take_inputs(document, problems)
    spec = None
    try:
        spec = validate(WorkloadSpec, bare)
    except SpecError as error:
        problems.problems.extend(_with_known_fields(problem, bare) for problem in error.problems)
    _check_names(document, inputs, problems)
    if document.data.get("facts") and not document.sources.get("facts"):
        fix = "Add 'source:' below it."
        problems.add("facts", "published figures must name their source", fix=fix)
    for form in ("onnx", "topology"):
        other = getattr(spec, form, None)
        if other is not None and not (path.parent / other).is_file():
            rule = "there is no such file (paths are relative to this file)"
            problems.add(form, rule, value=other, line=document.lines.get(form))
    problems.raise_if_any()
    if spec is None:
        raise SpecError(document.file, problems.problems)
    return WorkloadFile(
        path=path,
        spec=spec,
        inputs=inputs,
        source=document.sources.get("", ""),
        facts_source=document.sources.get("facts", ""),
    )


def _with_known_fields(problem: Problem, document: Document) -> Problem:
    """Name the fields that a layer has, where one is unknown."""
    match = _UNKNOWN_IN_LAYER.match(problem.path)
    if match is None or problem.rule != UNKNOWN_FIELD:
        return problem
    layer = document.data["layers"][int(match["index"])]
    kind = layer.get("op") if isinstance(layer, dict) else None
    schema = next(
        (s for s in (Conv2d, Linear, MatMul) if s.model_fields["op"].default == kind), None
    )
    known = list((schema or VectorOp).model_fields)
    near = difflib.get_close_matches(match["field"], known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return dataclasses.replace(problem, fix=f"{hint}Fields here: {', '.join([*known, 'inputs'])}.")


def _take_inputs(
    document: Document, problems: ProblemList
) -> tuple[tuple[tuple[str, ...] | None, ...], Document]:
    """Take the ``inputs`` of each layer out of the document."""
    layers = document.data.get("layers")
    if not isinstance(layers, list):
        return (), document
    inputs: list[tuple[str, ...] | None] = []
    bare = []
    for index, entry in enumerate(layers):
        names = entry.get("inputs") if isinstance(entry, dict) else None
        if names is not None and (
            not isinstance(names, list) or not all(isinstance(name, str) for name in names)
        ):
            path = f"layers[{index}].inputs"
            rule = "must be a list of names of earlier layers"
            problems.add(path, rule, value=names, line=document.lines.get(path))
            names = None
        inputs.append(None if names is None else tuple(names))
        bare.append(
            {key: value for key, value in entry.items() if key != "inputs"}
            if isinstance(entry, dict)
            else entry
        )
    data = {**document.data, "layers": bare}
    return tuple(inputs), dataclasses.replace(document, data=data)


def _check_names(
    document: Document, inputs: Sequence[tuple[str, ...] | None], problems: ProblemList
) -> None:
    """Names must be unique, and inputs must name earlier layers."""
    layers = document.data.get("layers")
    first: dict[str, int] = {}
    for index, entry in enumerate(layers if isinstance(layers, list) else []):
        name = entry.get("name") if isinstance(entry, dict) else None
        for slot, producer in enumerate(inputs[index] or ()):
            if producer not in first and producer != INPUT:
                path = f"layers[{index}].inputs[{slot}]"
                rule = f"must be the name of an earlier layer or '{INPUT}'"
                problems.add(path, rule, value=producer, line=document.lines.get(path))
        if not isinstance(name, str):
            continue
        if name in first:
            path = f"layers[{index}].name"
            fix = f"layers[{first[name]}] has it; choose another."
            rule = "names of layers must be unique"
            problems.add(path, rule, value=name, fix=fix, line=document.lines.get(path))
        first.setdefault(name, index)


def scaled(layer: Layer, batch: int) -> Layer:
    """The layer on ``batch`` times as many samples; stored parameters stay."""
    if isinstance(layer, Conv2d | Linear | MatMul):
        return layer.model_copy(update={"batch": layer.batch * batch})
    if isinstance(layer, FreeOp):
        return layer.model_copy(update={"elements": layer.elements * batch})
    changes: Mapping[str, Any] = {
        "input_sizes": tuple(size * batch for size in layer.input_sizes),
        "output_elements": layer.output_elements * batch,
        "operations": layer.operations * batch,
    }
    return layer.model_copy(update=changes)


def _signed_result(layer: Layer, inputs: Sequence[bool]) -> bool:
    """Whether a listed layer may write negative values."""
    if isinstance(layer, VectorOp) and layer.op in UNSIGNED_RESULTS:
        return False
    keeps = isinstance(layer, FreeOp) or layer.op in SIGN_PRESERVING
    return any(inputs) if keeps and inputs else True


def workload_from_layers(file: WorkloadFile, *, batch: int, exempt: Sequence[str]) -> Workload:
    """Build the graph of layers listed outright.

    A layer without ``inputs`` reads the layer before it where the file says ``chain: true``, else
    an entry of its own.
    """
    builder = WorkloadBuilder(file.spec.name)
    previous: str | None = None
    for given, inputs in zip(file.spec.layers or (), file.inputs, strict=True):
        layer = scaled(given, batch)
        if inputs is None and file.spec.chain and previous is not None:
            inputs = (previous,)
        if not inputs:
            shape = (layer.input_elements,)
            entry = INPUT if file.spec.chain else f"{INPUT}.{layer.name}"
            inputs = (builder.add_input(entry, shape, signed=file.spec.input_signed),)
        elif INPUT in inputs and INPUT not in builder.graph:
            builder.add_input(INPUT, (layer.input_elements,), signed=file.spec.input_signed)
        signs = [builder.graph.nodes[name]["tensor"].signed for name in inputs]
        previous = builder.add(layer, inputs, signed=_signed_result(layer, signs))
    return builder.build(
        batch=batch,
        source=file.source or str(file.path),
        unpriced=exempt,
        fixed_precisions=file.spec.fix,
        facts=file.facts,
    )


def read_workload_file(name_or_path: str | Path) -> WorkloadFile:
    """Read and validate a workload file without building its graph.

    An ONNX file or a SCALE-Sim topology CSV stands for a workload file that names it.

    Raises:
        NotFoundError: no shipped workload of that name.
        SpecError: the file breaks the schema.
    """
    path = find_file("workloads", str(name_or_path))
    forms = {".onnx": "onnx", ".csv": "topology"}
    if path.suffix in forms:
        spec = WorkloadSpec.model_validate({"name": path.stem, forms[path.suffix]: path.name})
        return WorkloadFile(path=path, spec=spec, source=path.name)
    return parse_workload(read_yaml(path, sourced=True), path)


def load_workload(
    name_or_path: str | Path, *, batch: int = 1, exempt: Sequence[str] = ()
) -> Workload:
    """Read a shipped workload by name, or any file by path.

    Args:
        name_or_path: such as ``resnet18``, ``my/network.yaml`` or ``network.onnx``.
        batch: samples of one pass.
        exempt: names or patterns of operators that need no price.

    Raises:
        NotFoundError: no shipped workload of that name.
        SpecError: the file breaks the schema.
        UnsupportedError: an operator has no price.
    """
    file = read_workload_file(name_or_path)
    if file.spec.layers is not None:
        return workload_from_layers(file, batch=batch, exempt=exempt)
    # Named as text, so that torch and onnx stay out of a process that does not need them.
    form = "torch" if file.spec.torch else "onnx" if file.spec.onnx else "topology"
    module = {"torch": "torch_file", "onnx": "from_onnx", "topology": "scalesim_csv"}[form]
    front_end = importlib.import_module(f"hwmpq.workload.{module}")
    workload: Workload = front_end.workload_from_file(file, batch=batch, exempt=exempt)
    return workload
