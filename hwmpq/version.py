"""The package's version, as installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _installed() -> str:
    try:
        return version("hwmpq")
    except PackageNotFoundError:
        return "0+source"


__version__: Final = _installed()
