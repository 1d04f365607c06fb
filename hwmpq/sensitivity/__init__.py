"""How much a layer suffers at a precision: one file a metric.

Classes of the parts are attributes, imported on first use: see `hwmpq list metrics`.
"""

from typing import Any

from hwmpq.registry import find_class


def __getattr__(name: str) -> Any:
    return find_class("metric", name)
