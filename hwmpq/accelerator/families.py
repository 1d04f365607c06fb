"""Which families of constants an accelerator uses, and whether it mixes them.

A number's family is read from its source text, by the names listed in ``data/energy_tables.yaml``;
a source that names none of them is a family of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Final, Literal

from hwmpq.accelerator.constants import Kind, families, recognise
from hwmpq.accelerator.provenance import is_energy, numbers, stated_for
from hwmpq.accelerator.spec import Accelerator

ComponentKind = Literal["logic", "sram", "dram"]
_NODE: Final = re.compile(r"(\d+(?:\.\d+)?) nm")
_UNSTATED: Final = "not stated"
_PARTS: Final[Mapping[str, ComponentKind]] = {
    "compute": "logic",
    "vector": "logic",
    "memories": "sram",
    "dram": "dram",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyUse:
    """Energies, powers and areas of one accelerator that come from one family.

    Attributes:
        family: name in the energy tables, or the source text where it is none of them.
        kind: component they belong to.
        paths: the numbers.
    """

    family: str
    kind: ComponentKind
    paths: tuple[str, ...]


def constant_families(accelerator: Accelerator) -> tuple[FamilyUse, ...]:
    """The families of constants that an accelerator uses, by kind of component.

    Numbers equal to zero name no circuit and are left out, and so are the forms that other
    numbers were taken from.
    """
    found: dict[tuple[ComponentKind, str], list[str]] = {}
    for part, kind in _PARTS.items():
        for path, value in numbers(getattr(accelerator, part), part):
            if value == 0 or not is_energy(path):
                continue
            source = stated_for(path, accelerator.provenance) or _UNSTATED
            name = _family_of(source, kind) or source
            found.setdefault((kind, name), []).append(path)
    return tuple(
        FamilyUse(family=name, kind=kind, paths=tuple(paths))
        for (kind, name), paths in found.items()
    )


def _family_of(source: str, kind: ComponentKind) -> str | None:
    wanted: tuple[Kind, ...] = ("sram", "register_file", "logic") if kind == "sram" else (kind,)
    names = (recognise(source, candidate) for candidate in wanted)
    return next((name for name in names if name), None)


def _named(family: str) -> str:
    """A family's name, or the start of a source text that stands for one."""
    return shorten(family, 60, placeholder="...")


def _paths_of(use: FamilyUse, what: Literal["energy", "area"]) -> tuple[str, ...]:
    """The areas of a family's use, or its energies and powers."""
    return tuple(path for path in use.paths if ("area" in path) == (what == "area"))


def mixing_warnings(accelerator: Accelerator) -> tuple[str, ...]:
    """What to tell the reader about constants that do not belong together.

    Energies of one kind of component that come from several families, or areas, and SRAM of
    another node than the accelerator's. SRAM beside logic of another family is no mixture, since
    no family has both; nor are areas beside energies of another, which are never added up.
    """
    warnings = []
    for kind in dict.fromkeys(_PARTS.values()):
        uses = [use for use in constant_families(accelerator) if use.kind == kind]
        for what in ("energy", "area"):
            paths = {use.family: _paths_of(use, what) for use in uses}
            given = {name: found for name, found in paths.items() if found}
            if len(given) > 1:
                parts = "; ".join(f"{', '.join(p)} ({_named(name)})" for name, p in given.items())
                warnings.append(
                    f"{accelerator.name}: {kind} {what} constants come from {len(given)} "
                    f"families, which may count different things: {parts}"
                )
    for index, memory in enumerate(accelerator.memories):
        for node_nm in _sram_nodes(accelerator, index):
            if node_nm != accelerator.technology_nm:
                warnings.append(
                    f"{accelerator.name}: memory '{memory.name}' is priced at {node_nm:g} nm, the "
                    f"accelerator at {accelerator.technology_nm:g} nm; SRAM is not scaled between "
                    "nodes"
                )
    return tuple(warnings)


def _sram_nodes(accelerator: Accelerator, index: int) -> tuple[float, ...]:
    """Nodes that a memory's figures are of: its component's, or those that CACTI sources name."""
    memory = accelerator.memories[index]
    if memory.sram is not None:
        return (memory.sram.node_nm,)
    found: dict[float, None] = {}
    for path, value in numbers(memory, f"memories[{index}]"):
        source = stated_for(path, accelerator.provenance) or ""
        node = _NODE.search(source)
        if value and is_energy(path) and node and recognise(source, "sram"):
            found[float(node[1])] = None
    return tuple(found)


def energy_uncertainties(accelerator: Accelerator) -> Mapping[str, float]:
    """Relative uncertainty of every energy, power and area that has one, by path.

    What the file states, or what a component form brought along, or else that of the family that
    the number's source names.
    """
    found: dict[str, float] = {}
    chip = stated_for("area_mm2", accelerator.uncertainties)
    if accelerator.area_mm2 is not None and chip is not None:
        found["area_mm2"] = chip
    for part, kind in _PARTS.items():
        for path, _ in numbers(getattr(accelerator, part), part):
            if not is_energy(path):
                continue
            stated = stated_for(path, accelerator.uncertainties)
            if stated is None:
                name = _family_of(stated_for(path, accelerator.provenance) or "", kind)
                stated = families()[name].uncertainty if name else None
            if stated is not None:
                found[path] = stated
    return found
