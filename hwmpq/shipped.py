"""Files that come with the package: accelerators and workloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwmpq.errors import NotFoundError, Problem, SpecError


def shipped_folder(kind: str) -> Path:
    """The folder of shipped files, in an installed wheel or in a source checkout.

    Args:
        kind: ``accelerators`` or ``workloads``.
    """
    package = Path(__file__).resolve().parent
    installed = package / "shipped" / kind
    return installed if installed.is_dir() else package.parent / kind


def shipped_files(kind: str) -> Mapping[str, Path]:
    """Shipped YAML files by name, sorted."""
    return {file.stem: file for file in sorted(shipped_folder(kind).glob("*.yaml"))}


def find_file(kind: str, name_or_path: str) -> Path:
    """Resolve what the user typed: a path if it looks like one, else a shipped name.

    Shipped names are found whatever their case, hyphens and underscores: ``MobileNetV2`` is
    ``mobilenet-v2``.

    Raises:
        NotFoundError: no such shipped name.
        SpecError: it looks like a path and there is no such file.
    """
    path = Path(name_or_path)
    looks_like_path = len(path.parts) > 1 or path.suffix != ""
    if path.is_file():
        return path
    files = shipped_files(kind)
    wanted = _plain(name_or_path)
    for name, file in files.items():
        if _plain(name) == wanted:
            return file
    if looks_like_path:
        raise missing_file(path)
    here = [file.name for file in (path.with_suffix(".yaml"), path.with_suffix(".yml"))]
    local = [name for name in here if path.suffix == "" and Path(name).is_file()]
    raise NotFoundError(kind.removesuffix("s"), name_or_path, [*files, *local])


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def missing_file(path: Path) -> SpecError:
    """The error for a path that is no readable file."""
    rule = "is a folder, not a file" if path.is_dir() else "there is no such file"
    return SpecError(str(path), [Problem("file", rule, fix="Check the path.")])
