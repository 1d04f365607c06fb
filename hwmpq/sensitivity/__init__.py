"""How much a layer suffers at a precision: one file a metric.

Classes of the parts are attributes, imported on first use: see `hwmpq list metrics`.
"""

from typing import Any

from hwmpq.registry import class_names, find_class


def __getattr__(name: str) -> Any:
    return find_class("metric", name)


def __dir__() -> list[str]:
    return class_names("metric")
