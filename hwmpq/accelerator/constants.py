"""Sourced energy and area constants, by family: ``data/energy_tables.yaml``.

A family is one origin of figures, measured or synthesised together. Figures of one family compare
with each other; figures of two may differ several times for the same circuit, because one counts
clocks, registers or the interface and the other does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel

from hwmpq.errors import NotFoundError
from hwmpq.strict_yaml import read_yaml, validate

DATA: Final = Path(__file__).parent / "data"
_FAMILY: Final = "family of constants"
_FIGURE: Final = "figure"

Confidence = Literal["high", "medium", "low"]
Kind = Literal["logic", "sram", "register_file", "dram", "wire", "scaling", "all"]

UNCERTAINTY: Final[Mapping[Confidence, float]] = {"high": 0.2, "medium": 0.5, "low": 1.0}
"""Relative uncertainty that a confidence stands for (ours, docs/models/energy.md).

Independent anchors of one 8 x 8 multiplier differ by about 20 %; secondary copies leave open what
was counted, which moves published figures by about half; a single weak source may be off by two.
"""


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


_Coefficients = Annotated[tuple[float, ...], BeforeValidator(_tuple)]
_Values = Mapping[str, float | Mapping[str, float | _Coefficients]]


class Family(BaseModel):
    """Constants of one origin.

    Attributes:
        source: the origin, as provenance shows it.
        names: words in a source text that mean this family.
        kind: components it describes.
        confidence: how far to trust it.
        node_nm: process node, where there is one for all figures.
        voltage_v: supply, where known.
        values: the figures; the unit is in the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    names: Annotated[tuple[str, ...], BeforeValidator(_tuple)]
    kind: Kind
    confidence: Confidence
    node_nm: float | None = None
    voltage_v: float | None = None
    values: _Values = Field(default_factory=dict)

    @property
    def uncertainty(self) -> float:
        """Relative uncertainty of its figures."""
        least, most = self.values.get("least_pj_per_bit"), self.values.get("most_pj_per_bit")
        middle = self.values.get("core_pj_per_bit")
        if isinstance(least, float) and isinstance(most, float) and isinstance(middle, float):
            return max(middle - least, most - middle) / middle
        return UNCERTAINTY[self.confidence]

    def number(self, key: str) -> float:
        """One figure.

        Raises:
            NotFoundError: the family has no such figure.
        """
        found = self.values.get(key)
        if not isinstance(found, float):
            raise NotFoundError(_FIGURE, key, self.values)
        return found

    def numbers(self, key: str) -> Mapping[str, float]:
        """A table of figures by what they belong to.

        Raises:
            NotFoundError: the family has no such table.
        """
        return {name: value for name, value in self._table(key) if isinstance(value, float)}

    def coefficients(self, key: str) -> Mapping[str, tuple[float, ...]]:
        """A table of polynomial coefficients, highest power first.

        Raises:
            NotFoundError: the family has no such table.
        """
        return {name: value for name, value in self._table(key) if isinstance(value, tuple)}

    def _table(self, key: str) -> Iterable[tuple[str, float | tuple[float, ...]]]:
        found = self.values.get(key)
        if not isinstance(found, Mapping):
            raise NotFoundError(_FIGURE, key, self.values)
        return found.items()


class _Families(RootModel[Mapping[str, Family]]):
    """The whole file."""


@cache
def families() -> Mapping[str, Family]:
    """All families by name."""
    return validate(_Families, read_yaml(DATA / "energy_tables.yaml")).root


def family(name: str) -> Family:
    """One family.

    Raises:
        NotFoundError: there is none of that name.

    >>> family("horowitz").numbers("int_mul_pj")["8"]
    0.2
    """
    known = families()
    if name not in known:
        raise NotFoundError(_FAMILY, name, known)
    return known[name]


def recognise(source: str, kind: Kind) -> str | None:
    """The family that a source text names, among those that describe a kind of component.

    >>> recognise("CACTI 7 at 45 nm", "sram"), recognise("LPDDR3-1600", "dram")
    ('cacti7', 'lpddr3')
    """
    text = source.lower()
    for name, candidate in families().items():
        if candidate.kind in {kind, "all"} and any(_says(text, word) for word in candidate.names):
            return name
    return None


def _says(text: str, word: str) -> bool:
    """Whether a lower-case text has a word, not as the end of another one (ddr3 in lpddr3)."""
    return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z])", text) is not None
