"""An accelerator file carried to another process node.

Changing ``technology_nm`` alone would leave every picojoule where it was. So an override of the
node carries the file's numbers with it: logic by the equations of Stillmaker and Baas, SRAM given
by kind through CACTI's table of the new node. What follows neither is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from hwmpq.accelerator.provenance import is_energy, numbers, stated_for
from hwmpq.accelerator.technology import area_factor, relative_energy
from hwmpq.errors import ProblemList, UnsupportedError
from hwmpq.strict_yaml import Document

NODE: Final = "technology_nm"
_UNKNOWN: Final = "unknown"


def at_node(document: Document, node_nm: object, stated: Collection[str] = ()) -> Document:
    """The same machine in another process; the clock stays, since it is stated on its own.

    ======================================= ======================================================
    energies and areas of array, vector unit scaled as logic; an area becomes unknown at a node
                                             for which the paper has no factor
    ``sram:`` of a memory, ``operation:``    looked up again at the new node
    DRAM                                     as it is, a chip of its own
    leakage, explicit memory energies, a     an error: they do not follow logic scaling
    published chip area, register files
    ======================================= ======================================================

    Args:
        document: the file.
        node_nm: the new node; anything but a number is left to the schema.
        stated: paths that the caller states at the new node, which are left alone.

    Raises:
        SpecError: a number that cannot be carried; all at once.
    """
    data = {**document.data} if isinstance(document.data, dict) else {}
    before = data.get(NODE)
    if not _is_number(before) or not _is_number(node_nm) or before == node_nm:
        return document
    problems = ProblemList(document.file)
    known = frozenset(_by_index(path, data.get("memories")) for path in stated)
    move = _Move(document, float(str(before)), float(str(node_nm)), known, problems)
    for owner in ("compute", "vector"):
        if isinstance(data.get(owner), dict):
            data[owner] = move.logic(data[owner], owner)
    if isinstance(data.get("memories"), list):
        data["memories"] = [
            move.memory(memory, f"memories[{index}]") if isinstance(memory, dict) else memory
            for index, memory in enumerate(data["memories"])
        ]
    if data.get("area_mm2") is not None:
        move.refuse("area_mm2", "is a published chip's area")
    problems.raise_if_any()
    return dataclasses.replace(document, data=data, sources=move.sources)


def _by_index(path: str, memories: object) -> str:
    """A path with memories by their place, where it has their name."""
    for index, memory in enumerate(memories if isinstance(memories, list) else ()):
        name = memory.get("name") if isinstance(memory, dict) else None
        if path.startswith(f"memories.{name}."):
            return f"memories[{index}]" + path.removeprefix(f"memories.{name}")
    return path


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Move:
    """From one node to another; collects what cannot be carried."""

    def __init__(
        self,
        document: Document,
        from_nm: float,
        to_nm: float,
        stated: frozenset[str],
        problems: ProblemList,
    ) -> None:
        self.stated = stated
        self.problems = problems
        self.from_nm, self.to_nm = from_nm, to_nm
        self.lines: Mapping[str, int] = document.lines
        self.given: Mapping[str, str] = document.sources
        self.sources = dict(document.sources)
        self.energy: float | None = None
        self.area: float | None = None
        try:
            self.energy = relative_energy(to_nm) / relative_energy(from_nm)
        except UnsupportedError as error:
            problems.add(NODE, str(error), value=to_nm, line=document.lines.get(NODE))
        try:
            self.area = area_factor(from_nm, to_nm)
        except UnsupportedError:
            self.area = None  # said by a missing area, not by a wrong one

    def refuse(self, path: str, what: str, fix: str = "") -> None:
        """A number that follows no scaling, unless the caller states it."""
        if path in self.stated:
            return
        rule = f"{what} at {self.from_nm:g} nm and does not follow logic scaling"
        way = fix or f"State it at {self.to_nm:g} nm too: --set {path}=..."
        self.problems.add(path, rule, fix=way, line=self.lines.get(path))

    def logic(self, part: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Numbers of the array or the vector unit."""
        made = {}
        for key, value in part.items():
            here = f"{path}.{key}"
            if key == "operation" and isinstance(value, dict):
                made[key] = {**value, "node_nm": self.to_nm}
            elif isinstance(value, dict):
                made[key] = self.logic(value, here)
            elif _is_number(value) and value and is_energy(here) and here not in self.stated:
                self._carry(made, key, value, here)
            else:
                made[key] = value
        return made

    def _carry(self, made: dict[str, Any], key: str, value: float, path: str) -> None:
        if "leakage" in key or key.endswith("_mw"):
            self.refuse(path, "is a leakage")
        elif "area" in key:
            if self.area is not None:
                made[key] = value * self.area
                self._say(path)
        elif self.energy is not None:
            made[key] = value * self.energy
            self._say(path)

    def _say(self, path: str) -> None:
        source = stated_for(path, self.given) or _UNKNOWN
        way = f"carried from {self.from_nm:g} to {self.to_nm:g} nm by Stillmaker and Baas 2017"
        self.sources[path] = f"{source}; {way}"

    def memory(self, memory: Mapping[str, Any], path: str) -> dict[str, Any]:
        """A memory given by kind, at the new node."""
        made = dict(memory)
        if isinstance(memory.get("sram"), dict):
            made["sram"] = {**memory["sram"], "node_nm": self.to_nm}
            return made
        left = [owned for owned in self._explicit(memory, path) if owned not in self.stated]
        if left:
            fields = ", ".join(owned.removeprefix(f"{path}.") for owned in left)
            fix = f"Give the memory by kind, as 'sram:', or --set {left[0]}=... and the others."
            self.refuse(path, f"states {fields}", fix)
        return made

    def _explicit(self, memory: Mapping[str, Any], path: str) -> Iterator[str]:
        if "register_file" in memory:
            yield f"{path}.register_file"
        found = numbers(memory, path)
        yield from (owned for owned, value in found if value and is_energy(owned))
