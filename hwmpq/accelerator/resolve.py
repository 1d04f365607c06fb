"""Filling an accelerator file's explicit fields from its component forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isclose
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ValidationError

from hwmpq.accelerator.components import (
    Component,
    DramComponent,
    OperationComponent,
    RegisterFileComponent,
    Resolved,
    SramComponent,
)

_MEMORY_FORMS: Final[Mapping[str, type[Component]]] = {
    "sram": SramComponent,
    "register_file": RegisterFileComponent,
}
_Faulty: TypeAlias = Literal["faulty"]
_REQUIRED: Final = ("size_bits", "read_energy_pj_per_bit", "write_energy_pj_per_bit")


def memory_component(memory: Mapping[str, Any]) -> Component | _Faulty | None:
    """The component form in a memory's fields, still unchecked; None for explicit energies.

    Raises:
        ValueError: two forms at once.
    """
    given = [key for key in _MEMORY_FORMS if memory.get(key) is not None]
    if len(given) > 1:
        msg = f"a memory is given by one form, but has {' and '.join(given)}"
        raise ValueError(msg)
    return _checked(_MEMORY_FORMS[given[0]], memory[given[0]]) if given else None


def dram_component(dram: Mapping[str, Any]) -> Component | _Faulty | None:
    """The component form in DRAM's fields; None for explicit energies."""
    if dram.get("type") is None:
        return None
    form = {key: dram[key] for key in ("type", "access") if dram.get(key) is not None}
    return _checked(DramComponent, form)


def vector_component(vector: Mapping[str, Any]) -> Component | _Faulty | None:
    """The component form in a vector unit's fields; None for explicit energies."""
    raw = vector.get("operation")
    return None if raw is None else _checked(OperationComponent, raw)


def _checked(schema: type[Component], raw: object) -> Component | _Faulty:
    """The component; where it is faulty, validating the owner reports the fault."""
    try:
        return raw if isinstance(raw, schema) else schema.model_validate(raw)
    except ValidationError:
        return "faulty"


def _banks(fields: Mapping[str, Any]) -> int:
    banks = fields.get("banks", 1)
    return banks if isinstance(banks, int) and banks > 0 else 1


def _filled(
    fields: Mapping[str, Any], component: Component | _Faulty, required: Sequence[str]
) -> Mapping[str, Any]:
    """Fields of an owner with those that its component knows filled in where absent.

    A faulty component is an error of its own; stand-ins keep it from being reported as missing
    fields, too, and never leave validation.
    """
    if isinstance(component, Component):
        values = component.resolve(_banks(fields)).values
    else:
        values = dict.fromkeys(required, 1)
    absent = {name: value for name, value in values.items() if fields.get(name) is None}
    return {**fields, **absent}


def fill_memory(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A memory's fields, those of its ``sram`` or ``register_file`` filled in."""
    component = memory_component(fields)
    return fields if component is None else _filled(fields, component, _REQUIRED)


def fill_dram(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """DRAM's fields, those of its ``type`` filled in."""
    component = dram_component(fields)
    return fields if component is None else _filled(fields, component, _REQUIRED[1:])


def fill_vector(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A vector unit's fields, those of its ``operation`` filled in."""
    component = vector_component(fields)
    if component is None:
        return fields
    return _filled(fields, component, ("energy_pj_per_operation",))


def check_agrees(owner: BaseModel, form: str, resolved: Resolved) -> None:
    """Check that no field stated beside a component form contradicts it.

    Raises:
        ValueError: names the fields.
    """
    stated = {name: getattr(owner, name) for name in resolved.values}
    different = [
        f"{name} {stated[name]:g} (from the table: {value:g})"
        for name, value in resolved.values.items()
        if not isclose(stated[name], value, rel_tol=1e-9)
    ]
    if different:
        msg = (
            f"explicit figures and '{form}' are given together and differ in "
            f"{', '.join(different)}; keep one of the two"
        )
        raise ValueError(msg)


def _fields(value: object) -> Mapping[str, Any]:
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return value if isinstance(value, Mapping) else {}


def resolved_components(accelerator: Mapping[str, Any]) -> Iterator[tuple[str, Resolved]]:
    """Every sound component form in an unvalidated accelerator file, with its owner's path."""
    memories = accelerator.get("memories")
    if isinstance(memories, Sequence) and not isinstance(memories, str):
        for index, memory in enumerate(memories):
            fields = _fields(memory)
            if sum(fields.get(form) is not None for form in _MEMORY_FORMS) == 1:
                component = memory_component(fields)
                if isinstance(component, Component):
                    yield f"memories[{index}]", component.resolve(_banks(fields))
    for path, component in (
        ("dram", dram_component(_fields(accelerator.get("dram")))),
        ("vector", vector_component(_fields(accelerator.get("vector")))),
    ):
        if isinstance(component, Component):
            yield path, component.resolve()
