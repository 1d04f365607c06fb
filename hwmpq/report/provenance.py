"""Where every number of an accelerator comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pandas as pd

from hwmpq.accelerator.families import energy_uncertainties
from hwmpq.accelerator.provenance import nearest_above, stated_for
from hwmpq.accelerator.spec import Accelerator

ASSUMED: Final = "assumed"
UNSTATED: Final = "not stated"
_WORDS: Final = {"provenance", "uncertainties", "name", "description"}


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value below a node with its path; a list of plain values is one value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                yield from _leaves(item, f"{path}[{index}]")
        else:
            yield path, ", ".join(str(item) for item in value)
    elif value is not None:
        yield path, value


def is_assumed(source: str) -> bool:
    """Whether a source says that a number is a guess.

    >>> is_assumed("assumed"), is_assumed("Assumed: one port a bank"), is_assumed("Table 3")
    (True, True, False)
    """
    return source.lower().startswith(ASSUMED)


def provenance_frame(accelerator: Accelerator) -> pd.DataFrame:
    """One row a value of the accelerator file, guesses first.

    Columns: path, value, source, inherited_from (empty when the number has a source of its own),
    assumed, uncertainty (relative; that of the family of constants where the number states none).
    """
    dump = accelerator.model_dump(mode="json", exclude=_WORDS)
    family = energy_uncertainties(accelerator)
    rows = []
    for path, value in _leaves(dump):
        owner = nearest_above(path, accelerator.provenance)
        source = accelerator.provenance[owner] if owner is not None else UNSTATED
        uncertainty = stated_for(path, accelerator.uncertainties)
        rows.append(
            {
                "path": path,
                "value": str(value),
                "source": source,
                "inherited_from": "" if owner is None or owner == path else owner or "the file",
                "assumed": is_assumed(source) or owner is None,
                "uncertainty": family.get(path) if uncertainty is None else uncertainty,
            }
        )
    frame = pd.DataFrame(rows).astype({"uncertainty": "float64"})
    return frame.sort_values("assumed", ascending=False, kind="stable", ignore_index=True)
