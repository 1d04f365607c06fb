"""YAML read strictly.

Duplicate keys are errors, and every problem of a file is reported at once, with path and line.

PyYAML keeps the last of two equal keys and reads ``200e6`` as text, both without a word. Here the
first is an error and the second gets a
hint. ``{value: 15, source: "..."}`` may stand for any number, and a mapping may say ``source:``
for all numbers below it; sources are taken
out of the data and handed over by path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from hwmpq.errors import ProblemList, SpecError
from hwmpq.shipped import missing_file

_MAX_NODES: Final = 200_000
_NUMBER_AS_TEXT: Final = re.compile(r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$")
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

    >>> parse_yaml("a: 1\\nb: [2, 3]", "x.yaml").data
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


def _location(raw: Sequence[str | int], data: Any) -> tuple[str | int, ...]:
    """Drop the union tags that pydantic puts into a location."""
    result: list[str | int] = []
    here = data
    for part in raw:
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
        elif isinstance(here, dict) and isinstance(part, str) and part != raw[-1]:
            continue
        result.append(part)
    return tuple(result)


def _way_out(kind: str, value: object, model_fields: Sequence[str]) -> str:
    if isinstance(value, str) and _NUMBER_AS_TEXT.match(value.strip()):
        number = float(value)
        shown = int(number) if number.is_integer() else number
        return f"YAML reads this as text; write {shown}."
    if kind == "extra_forbidden" and model_fields:
        return f"Fields here: {', '.join(model_fields)}."
    if kind == "missing":
        return "Add it."
    return ""


def validation_problems(
    error: ValidationError, document: Document, model: type[BaseModel]
) -> SpecError:
    """Turn pydantic's findings into problems with path, line, value and way out."""
    problems = ProblemList(document.file)
    for found in error.errors(include_url=False):
        location = _location(found["loc"], document.data)
        path = join_path(location)
        missing = found["type"] == "missing"
        value = "" if missing or isinstance(found["input"], dict | list) else repr(found["input"])
        owner = list(model.model_fields) if len(location) == 1 else []
        fix = _way_out(found["type"], found["input"], owner)
        rule = found["msg"].removeprefix("Value error, ")
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
