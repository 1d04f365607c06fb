"""Accelerator variants: a file with some values changed, at equal bandwidth where asked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from hwmpq.accelerator.area import area_mm2
from hwmpq.accelerator.loader import apply_overrides, parse_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.shipped import find_file
from hwmpq.strict_yaml import Document, read_yaml
from hwmpq.sweep.axes import Value

BANDWIDTH: Final = "dram.bandwidth_bits_per_cycle"


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, size: int) -> Document:
    del changed_ns, size  # part of the key, so that an edited file is read again
    return read_yaml(path, sourced=True)


def _document(path: Path) -> Document:
    found = path.stat()
    return _read(path, found.st_mtime_ns, found.st_size)


def make_variant(
    name_or_path: str,
    changes: Mapping[str, Value],
    *,
    bandwidth_bits_per_second: float | None = None,
) -> Accelerator:
    """An accelerator with values changed; a file is read once a process, unless it changes.

    Args:
        name_or_path: a shipped name or a path.
        changes: values by path.
        bandwidth_bits_per_second: DRAM bandwidth to give it: ``bits per cycle = this / clock``.

    Raises:
        SpecError: the file or a changed value breaks the schema.
    """
    document = _document(find_file("accelerators", name_or_path))
    found = parse_accelerator(apply_overrides(document, changes))
    if bandwidth_bits_per_second is None:
        return found
    width = bandwidth_bits_per_second / found.clock_hz
    return parse_accelerator(apply_overrides(document, {**changes, BANDWIDTH: width}))


def bandwidth_bits_per_second(accelerator: Accelerator) -> float:
    """DRAM bandwidth at the accelerator's clock."""
    return accelerator.dram.bandwidth_bits_per_cycle * accelerator.clock_hz


def excess_area(accelerator: Accelerator, limit_mm2: float | None) -> str:
    """Why an accelerator is too large; empty if it is not."""
    if limit_mm2 is None:
        return ""
    total = area_mm2(accelerator).total_mm2
    if total is None:
        return "its area is not known, so it cannot be compared at equal area"
    if total <= limit_mm2:
        return ""
    return f"its area of {total:.4g} mm2 exceeds {limit_mm2:.4g} mm2"
