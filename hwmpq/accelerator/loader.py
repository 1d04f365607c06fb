"""Reading accelerators from YAML, with overrides, reporting every problem of a file at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from hwmpq import registry
from hwmpq.accelerator.node import NODE, at_node
from hwmpq.accelerator.spec import Accelerator
from hwmpq.errors import NotFoundError, Problem, ProblemList, SpecError
from hwmpq.shipped import find_file, missing_file
from hwmpq.strict_yaml import Document, parse_yaml, read_yaml, validation_problems

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
OVERRIDE_SOURCE = "set by the caller"


@cache
def _schema(architecture: str) -> type[Accelerator]:
    """The accelerator schema with the cost model's own ``compute`` and ``behavior``."""
    model = registry.resolve("cost", architecture)
    return create_model(
        f"{architecture}_accelerator",
        __base__=Accelerator,
        compute=(model.compute_spec, ...),
        behavior=(model.behavior_spec, ...),
    )


def _parse_value(text: str) -> Any:
    """Read an override's value as YAML would."""
    return parse_yaml(f"value: {text}", f"--set value '{text}'").data["value"]


def apply_overrides(document: Document, overrides: Mapping[str, object]) -> Document:
    """Replace values by path, such as ``compute.rows``; a memory may be named instead of counted.

    Another process node carries the file's numbers along, see `at_node`.

    Raises:
        SpecError: a path that does not lead anywhere, or a number that no node scaling covers.
    """
    if not overrides:
        return document
    if NODE in overrides:
        node = overrides[NODE]
        node = _parse_value(node) if isinstance(node, str) else node
        document = at_node(document, node, overrides)
    data = _copy(document.data)
    sources = dict(document.sources)
    for path, value in overrides.items():
        steps = [name or int(index) for name, index in _STEP.findall(path)]
        here = data
        for position, step in enumerate(steps):
            key = _key(here, step)
            last = position == len(steps) - 1
            fits = isinstance(here, dict) or (isinstance(here, list) and isinstance(key, int))
            exists = fits and key in (here if isinstance(here, dict) else range(len(here)))
            if not fits or (not exists and not last):
                fields = ", ".join(str(k) for k in here) if isinstance(here, dict) else ""
                fix = f"Known here: {fields}." if fields else ""
                raise SpecError(
                    document.file, [Problem(f"--set {path}", f"there is no '{step}'", fix=fix)]
                )
            if last:
                here[key] = _parse_value(value) if isinstance(value, str) else value
            else:
                here = here[key]
        sources[path] = OVERRIDE_SOURCE
    return dataclasses.replace(document, data=data, sources=sources)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _key(here: Any, step: str | int) -> str | int:
    if isinstance(here, list) and isinstance(step, str):
        for index, item in enumerate(here):
            if isinstance(item, dict) and item.get("name") == step:
                return index
    return step


def parse_accelerator(document: Document) -> Accelerator:
    """Validate a document.

    Raises:
        SpecError: all problems at once.
    """
    problems = ProblemList(document.file)
    if not document.sources:
        fix = "Add 'source:' with where the numbers come from, or 'source: assumed'."
        problems.add("source", "no number says where it comes from", fix=fix)
    for path, source in document.sources.items():
        if path.endswith("source"):
            problems.add(path, "a source must be text", value=source)
    architecture = document.data.get("architecture")
    schema: type[Accelerator] = Accelerator
    if isinstance(architecture, str):
        try:
            schema = _schema(architecture.replace("-", "_"))
        except NotFoundError as error:
            line = document.lines.get("architecture")
            problems.add("architecture", str(error), value=architecture, line=line)
    elif "architecture" in document.data:
        problems.add("architecture", "must name a cost model", value=architecture)
    for key in ("provenance", "uncertainties"):
        if key in document.data:
            problems.add(key, "is derived from 'source' entries", fix="Remove it.")
    if "origin" in document.data:
        problems.add("origin", "is where the file was read from", fix="Remove it.")
    data = {
        **document.data,
        "provenance": dict(document.sources),
        "uncertainties": dict(document.uncertainties),
        "origin": Path(document.file),
    }
    accelerator = None
    try:
        accelerator = schema.model_validate(data)
    except ValidationError as error:
        found = validation_problems(error, dataclasses.replace(document, data=data), schema)
        known = {problem.path for problem in problems.problems}
        problems.problems.extend(p for p in found.problems if p.path not in known)
    problems.raise_if_any()
    if accelerator is None:
        raise SpecError(document.file, [Problem("file", "could not be validated")])
    return accelerator


def load_accelerator(
    name_or_path: str | Path, overrides: Mapping[str, object] | None = None
) -> Accelerator:
    """Read a shipped accelerator by name, or any file by path.

    Args:
        name_or_path: such as ``bitfusion-isca18`` or ``my/chip.yaml``.
        overrides: values by path, such as ``{"compute.rows": 8}``; text is read as YAML.

    Raises:
        NotFoundError: no shipped accelerator of that name.
        SpecError: the file breaks the schema.
    """
    document = read_yaml(find_file("accelerators", str(name_or_path)), sourced=True)
    return parse_accelerator(apply_overrides(document, overrides or {}))


def read_accelerator(file: Path) -> Accelerator:
    """Read an accelerator as a run directory keeps it, with its sources.

    Raises:
        NotFoundError: its cost model is not installed here.
        SpecError: missing, or not an accelerator.
    """
    if not file.is_file():
        raise missing_file(file)
    try:
        text = file.read_text(encoding="utf-8")
        architecture = Accelerator.model_validate_json(text).architecture
        return _schema(architecture.replace("-", "_")).model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        rule = f"is not an accelerator written by hwmpq ({type(error).__name__})"
        raise SpecError(str(file), [Problem("file", rule)]) from error
