"""Resources of a machine that are no area, such as the LUTs of an overlay."""

from __future__ import annotations

from collections.abc import Mapping

from hwmpq import registry
from hwmpq.accelerator.spec import Accelerator


def named_resources(accelerator: Accelerator) -> Mapping[str, int]:
    """Resources by name; none for machines whose cost model names none.

    A cost model may define ``resources(accelerator)``, a mapping from names to numbers.
    """
    model = registry.resolve("cost", accelerator.architecture)
    find = getattr(model, "resources", None)
    found: Mapping[str, int] = {} if find is None else find(accelerator)
    return found


def as_text(resources: Mapping[str, int]) -> str:
    """Resources in one phrase.

    >>> as_text({"LUTs": 29678, "block RAMs": 128})
    '29,678 LUTs, 128 block RAMs'
    """
    return ", ".join(f"{number:,} {name}" for name, number in resources.items())
