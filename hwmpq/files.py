"""Writing results so that a reader never sees half a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwmpq.errors import OutputError


def write_atomic(file: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``file``, then put it in place at once.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    except OSError as error:
        raise OutputError(_reason(file, error)) from error
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        part.chmod(0o666 & ~_umask())
        part.replace(file)
    except OSError as error:
        raise OutputError(_reason(file, error)) from error
    finally:
        part.unlink(missing_ok=True)
    return file


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _reason(file: Path, error: OSError) -> str:
    return (
        f"cannot write '{file}': {error.strerror or error}. "
        "Choose another folder with -o, or free space and permissions there"
    )


def write_text(file: Path, text: str) -> Path:
    """Write UTF-8 text at once.

    Raises:
        OutputError: it cannot be written.
    """
    return write_atomic(file, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(file: Path, value: Any) -> Path:
    """Write JSON at once, keys as given, one per line so that files can be compared.

    Raises:
        OutputError: it cannot be written.
    """
    return write_text(file, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def require_writable(folder: Path) -> None:
    """Make a folder and prove that a file can be written into it.

    Raises:
        OutputError: it cannot.
    """
    probe = folder / ".write-test"
    write_text(probe, "")
    probe.unlink(missing_ok=True)
