"""Published mixed-precision methods: one file each, run by one loop.

Classes of the parts are attributes, imported on first use: see `hwmpq list methods`.
"""

from typing import Any

from hwmpq.registry import class_names, find_class


def __getattr__(name: str) -> Any:
    return find_class("method", name)


def __dir__() -> list[str]:
    return class_names("method")
