"""YAML read strictly.

Duplicate keys are errors, and every problem of a file is reported at once, with path and line.

PyYAML keeps the last of two equal keys and reads ``200e6`` as text, both without a word. Here the
first is an error and the second gets a
hint. ``{value: 15, source: "..."}`` may stand for any number, and a mapping may say ``source:``
for all numbers below it; sources are taken
out of the data and handed over by path.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from hwmpq.errors import ProblemList, SpecError
from hwmpq.shipped import missing_file

_MAX_NODES: Final = 200_000
_NUMBER_AS_TEXT: Final = re.compile(r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$")
UNKNOWN_FIELD: Final = "is not a field"
"""The rule that a field of an unknown name breaks."""
_RULES: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "extra_forbidden": UNKNOWN_FIELD,
}
_SOURCED: Final = {"value", "source", "note", "uncertainty"}
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file's content.

    Attributes:
        file: path, for messages.
        data: plain Python values, sources taken out.
        lines: line number by path.
        sources: source by path; the empty path is the whole file.
        uncertainties: relative uncertainty by path, where a number states one.
    """

    file: str
    data: Any
    lines: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    uncertainties: Mapping[str, float] = field(default_factory=dict)


def join_path(location: Sequence[str | int]) -> str:
    """Write a location as users read it.

    >>> join_path(["memories", 0, "size_bits"])
    'memories[0].size_bits'
    """
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


class _Reader:
    """Turns YAML nodes into values, noting lines, sources and problems."""

    def __init__(self, file: str, *, sourced: bool) -> None:
        self.problems = ProblemList(file)
        self.lines: dict[str, int] = {}
        self.sources: dict[str, str] = {}
        self.uncertainties: dict[str, float] = {}
        self.sourced = sourced
        self.count = 0
        self.scalars = yaml.SafeLoader("")

    def read(self, node: yaml.Node, location: tuple[str | int, ...]) -> Any:
        path = join_path(location)
        line = node.start_mark.line + 1
        self.count += 1
        if self.count > _MAX_NODES or len(location) > 64:
            self.problems.add(path, "the file is too deep or refers to itself", line=line)
            self.problems.raise_if_any()
        self.lines[path] = line
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
        try:
            return self.scalars.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self.problems.add(path or "file", f"cannot be read: {error}", line=line)
            return None

    def _mapping(self, node: yaml.MappingNode, location: tuple[str | int, ...]) -> Any:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            path = join_path((*location, str(key)))
            if key is None or key == "<<":
                rule = "keys must be plain words (no merge keys)"
                self.problems.add(path, rule, value=str(key), line=line)
                continue
            if key in result:
                fix = f"The first is on line {self.lines[path]}; remove one."
                self.problems.add(path, "the key appears twice", value=key, fix=fix, line=line)
                continue
            result[key] = self.read(value_node, (*location, key))
        return self._take_sources(result, join_path(location)) if self.sourced else result

    def _take_sources(self, mapping: dict[str, Any], path: str) -> Any:
        source = mapping.get("source")
        if isinstance(source, str) and source.strip():
            self.sources[path] = source.strip()
            del mapping["source"]
        if "value" not in mapping or not set(mapping) <= _SOURCED:
            return mapping
        uncertainty = mapping.get("uncertainty")
        if isinstance(uncertainty, int | float):
            self.uncertainties[path] = float(uncertainty)
        return mapping["value"]


def read_yaml(file: Path, *, sourced: bool = False) -> Document:
    """Read a file.

    Args:
        file: the path.
        sourced: take ``source:`` entries out of the data.

    Raises:
        SpecError: missing, unreadable, not YAML, or with duplicate keys; all problems at once.
    """
    if not file.is_file():
        raise missing_file(file)
    problems = ProblemList(str(file))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.add("file", f"cannot be read as UTF-8 text: {error}")
        problems.raise_if_any()
    return parse_yaml(text, str(file), sourced=sourced)


def parse_yaml(text: str, file: str, *, sourced: bool = False) -> Document:
    """Read YAML text; as `read_yaml`.

    >>> parse_yaml("{a: 1, b: [2, 3]}", "x.yaml").data
    {'a': 1, 'b': [2, 3]}
    """
    reader = _Reader(file, sourced=sourced)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        rule = f"is not YAML: {getattr(error, 'problem', None) or error}"
        reader.problems.add("file", rule, line=line)
        reader.problems.raise_if_any()
    data = None
    if node is None:
        reader.problems.add("file", "is empty")
    else:
        data = reader.read(node, ())
    reader.problems.raise_if_any()
    if not isinstance(data, dict):
        reader.problems.add("file", "must be a mapping of keys to values", value=data)
        reader.problems.raise_if_any()
    return Document(file, data, reader.lines, reader.sources, reader.uncertainties)


def _location(raw: Sequence[str | int], data: Any, *, absent: bool) -> tuple[str | int, ...]:
    """Drop the union tags that pydantic puts into a location.

    Args:
        raw: pydantic's location.
        data: what was validated.
        absent: whether the last part names a key that the data lack.
    """
    result: list[str | int] = []
    here = data
    for position, part in enumerate(raw):
        keys = (
            here if isinstance(here, dict) else range(len(here) if isinstance(here, list) else 0)
        )
        if part in keys:
            here = here[part]
        elif not (absent and position == len(raw) - 1):
            continue
        result.append(part)
    return tuple(result)


def _schema_at(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel] | None:
    """The schema of the mapping at a location, if it is one."""
    annotation: Any = model
    for part in location:
        if isinstance(part, str):
            owner = _inner_model(annotation)
            if owner is None or part not in owner.model_fields:
                return None
            annotation = owner.model_fields[part].annotation
    return _inner_model(annotation)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The one schema inside an annotation such as ``tuple[Memory, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [inner for part in get_args(annotation) if (inner := _inner_model(part)) is not None]
    return found[0] if len(found) == 1 else None


def _way_out(kind: str, name: str, value: object, known: Sequence[str]) -> str:
    if isinstance(value, str) and _NUMBER_AS_TEXT.match(value.strip()):
        number = float(value)
        shown = int(number) if number.is_integer() else number
        return f"YAML reads this as text; write {shown}."
    if kind == "extra_forbidden" and known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        return f"{hint}Fields here: {', '.join(known)}."
    if kind == "missing":
        return "Add it."
    return ""


def validation_problems(
    error: ValidationError, document: Document, model: type[BaseModel]
) -> SpecError:
    """Turn pydantic's findings into problems with path, line, value and way out."""
    problems = ProblemList(document.file)
    for found in error.errors(include_url=False):
        missing, unknown = found["type"] == "missing", found["type"] == "extra_forbidden"
        location = _location(found["loc"], document.data, absent=missing)
        path = join_path(location)
        value = "" if missing or isinstance(found["input"], dict | list) else repr(found["input"])
        owner = _schema_at(model, location[:-1]) if unknown else None
        known = list(owner.model_fields) if owner is not None else []
        fix = _way_out(found["type"], str(location[-1]) if location else "", found["input"], known)
        rule = _RULES.get(found["type"]) or found["msg"].removeprefix("Value error, ")
        line = document.lines.get(path) or document.lines.get(join_path(location[:-1]))
        problems.add(path or "file", rule, value=value, fix=fix, line=line)
    return SpecError(document.file, problems.problems)


def validate(model: type[Model], document: Document) -> Model:
    """Check a document against a schema.

    Raises:
        SpecError: all problems at once.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise validation_problems(error, document, model) from error
