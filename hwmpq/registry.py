"""Names of the parts that can be added as one file.

Cost models, sensitivity metrics, methods, allocators and data sets.

A part is a module of its family's package that defines the family's constant at top level, for
example
``COST_MODEL = BitFusion()`` in ``hwmpq/cost/bit_fusion.py``. The registry name is the module name.
Nothing is imported to list
the parts: the folder is read and each file's syntax tree is searched for the constant. Outside
packages register with the entry-point
group ``hwmpq.plugins``, one entry a part, named ``family.name`` and pointing at the module.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from hwmpq.errors import NotFoundError

PLUGIN_GROUP: Final = "hwmpq.plugins"


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of replaceable part.

    Attributes:
        title: what one part is called in messages.
        package: the package searched.
        constant: the name that a part's module defines.
    """

    title: str
    package: str
    constant: str


FAMILIES: Final[Mapping[str, Family]] = {
    "cost": Family("cost model", "hwmpq.cost", "COST_MODEL"),
    "metric": Family("sensitivity metric", "hwmpq.sensitivity", "METRIC"),
    "method": Family("method", "hwmpq.methods", "METHOD"),
    "allocator": Family("allocator", "hwmpq.allocate", "ALLOCATOR"),
    "data": Family("data set", "hwmpq.data", "DATASET"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered part that has not been imported.

    Attributes:
        name: registry name.
        module: the module that defines it.
        summary: first line of the module's docstring.
    """

    name: str
    module: str
    summary: str


def _assigns(tree: ast.Module, constant: str) -> bool:
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == constant for target in targets):
            return True
    return False


def _package_folders(package: str) -> list[Path]:
    return [Path(folder) for folder in importlib.import_module(package).__path__]


@cache
def entries(family: str) -> Mapping[str, Entry]:
    """All parts of a family by name, sorted, without importing them."""
    info = FAMILIES[family]
    found: dict[str, Entry] = {}
    for folder in _package_folders(info.package):
        for file in sorted(folder.glob("*.py")):
            source = file.read_text(encoding="utf-8")
            if info.constant not in source:
                continue
            tree = ast.parse(source, filename=str(file))
            if _assigns(tree, info.constant):
                summary = (ast.get_docstring(tree) or "").partition("\n")[0]
                module = f"{info.package}.{file.stem}"
                found[file.stem] = Entry(file.stem, module, summary)
    for point in entry_points(group=PLUGIN_GROUP):
        kind, _, name = point.name.partition(".")
        if kind == family and name:
            found[name] = Entry(name, point.value, f"from {point.value}")
    return dict(sorted(found.items()))


def class_names(family: str) -> list[str]:
    """Classes of the family's parts, for completion, without importing them."""
    pattern = re.compile(rf"^{FAMILIES[family].constant}\b.*= (\w+)\(", re.MULTILINE)
    return sorted(
        {name for entry in entries(family).values() for name in pattern.findall(_source(entry))}
    )


def _source(entry: Entry) -> str:
    spec = find_spec(entry.module)
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""


def find_class(family: str, name: str) -> Any:
    """A public class of one of the family's parts, importing only the module that defines it.

    Raises:
        AttributeError: no part defines such a class.
    """
    if not name.startswith("_"):
        pattern = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
        for entry in entries(family).values():
            if pattern.search(_source(entry)):
                return getattr(importlib.import_module(entry.module), name)
    msg = f"module '{FAMILIES[family].package}' has no attribute '{name}'"
    raise AttributeError(msg)


def resolve(family: str, name: str) -> Any:
    """Import one part and return its constant.

    Hyphens and underscores are the same.

    Raises:
        NotFoundError: the family has no part of that name.
    """
    info = FAMILIES[family]
    known = entries(family)
    key = name.replace("-", "_")
    if key not in known:
        raise NotFoundError(info.title, name, [entry.replace("_", "-") for entry in known])
    return getattr(importlib.import_module(known[key].module), info.constant)
