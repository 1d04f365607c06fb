"""What an accelerator is: the schema of ``accelerators/*.yaml``.

``compute`` and ``behavior`` belong to the cost model that ``architecture`` names; everything else
is common to all families.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    model_validator,
)

from hwmpq.accelerator.components import (
    DramComponent,
    OperationComponent,
    RegisterFileComponent,
    SramComponent,
)
from hwmpq.accelerator.dram import DramAccess, DramType
from hwmpq.accelerator.resolve import (
    check_agrees,
    fill_dram,
    fill_memory,
    fill_vector,
    resolved_components,
)
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.units import Bits, Hertz
from hwmpq.workload.layer import VectorKind

Operand = Literal["weight", "input", "output"]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Spec(BaseModel):
    """Base of every part of an accelerator file: frozen, strict, no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


BitWidths = Annotated[
    tuple[Annotated[int, Field(ge=1, le=64)], ...], BeforeValidator(_tuple), Field(min_length=1)
]


class SupportedPrecisions(Spec):
    """Bit-widths that the machine runs."""

    weight_bits: BitWidths
    activation_bits: BitWidths


class Memory(Spec):
    """One on-chip memory: explicit energies, or a component out of a table.

    Attributes:
        name: unique; names the columns of results.
        holds: operands stored here.
        size_bits: capacity over all banks.
        banks: number of banks, for information and area.
        width_bits: bits of one access of one bank.
        read_energy_pj_per_bit: energy of reading.
        write_energy_pj_per_bit: energy of writing.
        leakage_mw: static power over all banks.
        area_mm2: area over all banks.
        sram: one bank by size, width, node and flavour; fills the fields above.
        register_file: one bank of registers by size and family; fills the fields above.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    holds: Annotated[tuple[Operand, ...], BeforeValidator(_tuple), Field(min_length=1)]
    size_bits: Bits
    banks: PositiveInt = 1
    width_bits: PositiveInt | None = None
    read_energy_pj_per_bit: NonNegativeFloat
    write_energy_pj_per_bit: NonNegativeFloat
    leakage_mw: NonNegativeFloat | None = None
    area_mm2: NonNegativeFloat | None = None
    sram: SramComponent | None = None
    register_file: RegisterFileComponent | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return fill_memory(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _agree(self) -> Memory:
        for form in ("sram", "register_file"):
            component = getattr(self, form)
            if component is not None:
                check_agrees(self, form, component.resolve(self.banks))
        return self


class Dram(Spec):
    """The memory behind the chip's port: explicit energies, or a type out of a table.

    Attributes:
        bandwidth_bits_per_cycle: port width at the accelerator's clock.
        read_energy_pj_per_bit: energy of reading, device and interface.
        write_energy_pj_per_bit: energy of writing.
        background_mw: power drawn while the accelerator runs, whether or not data moves.
        type: DRAM type; fills the energies.
        access: how rows are used, with a type: ``streaming`` (the default) or ``random``.
    """

    bandwidth_bits_per_cycle: PositiveFloat
    read_energy_pj_per_bit: NonNegativeFloat
    write_energy_pj_per_bit: NonNegativeFloat
    background_mw: NonNegativeFloat | None = None
    type: DramType | None = None
    access: DramAccess | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return fill_dram(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _agree(self) -> Dram:
        if self.access is not None and self.type is None:
            msg = "'access' chooses between the energies of a 'type'; add one or remove it"
            raise ValueError(msg)
        if self.type is not None:
            component = DramComponent(type=self.type, access=self.access or "streaming")
            check_agrees(self, "type", component.resolve())
        return self


class VectorUnit(Spec):
    """The unit that runs pooling, additions, norms and activation functions.

    Attributes:
        lanes: elementary operations per cycle.
        element_bits: width of the elements it reads and writes.
        energy_pj_per_operation: energy of one elementary operation.
        operands: whether tensors come from DRAM or stay in on-chip memory.
        fused: operators applied on the output path of the array, with no cycle and no traffic of
            their own; their operations still cost energy.
        area_mm2: area, where stated; else it follows from ``operation``, see `vector_area_mm2`.
        operation: one operation by kind, width and family; fills the energy.
    """

    lanes: PositiveInt
    element_bits: PositiveInt
    energy_pj_per_operation: NonNegativeFloat
    operands: Literal["dram", "on_chip"] = "dram"
    fused: Annotated[tuple[VectorKind, ...], BeforeValidator(_tuple)] = ()
    area_mm2: NonNegativeFloat | None = None
    operation: OperationComponent | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return fill_vector(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _agree(self) -> VectorUnit:
        if self.operation is not None:
            check_agrees(self, "operation", self.operation.resolve())
        return self


class Accelerator(Spec):
    """A modelled accelerator.

    Attributes:
        name: what reports call it.
        architecture: registry name of the cost model.
        description: a sentence for ``hwmpq list``.
        technology_nm: process node.
        clock_hz: clock.
        precisions: bit-widths it runs.
        compute: the array; the cost model's schema.
        memories: on-chip memories.
        dram: off-chip memory.
        vector: the vector unit.
        behavior: choices on which public models disagree; the cost model's schema.
        tie_residual: whether the operands of an addition and of a concatenation must be in one
            format, because the machine does not convert between widths on the way; allocation
            then ties their bits, which costs say nothing about.
        area_mm2: area of the whole chip, where it is published; else areas of parts add up.
        provenance: source of the numbers by path; a number without an entry has that of the
            nearest path above.
        uncertainties: relative uncertainty by path, where stated or brought by a component.
        origin: the file it was read from; no part of what it is.
    """

    name: str = Field(min_length=1)
    architecture: str
    description: str = ""
    technology_nm: PositiveFloat
    clock_hz: Hertz
    precisions: SupportedPrecisions
    compute: SerializeAsAny[BaseModel]
    memories: Annotated[tuple[Memory, ...], BeforeValidator(_tuple), Field(min_length=1)]
    dram: Dram
    vector: VectorUnit
    behavior: SerializeAsAny[BaseModel]
    tie_residual: bool = False
    area_mm2: PositiveFloat | None = None
    provenance: Mapping[str, str] = Field(default_factory=dict)
    uncertainties: Mapping[str, float] = Field(default_factory=dict)
    origin: Path | None = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _component_sources(cls, data: Any) -> Any:
        """Record the tables that component forms were resolved from."""
        if not isinstance(data, Mapping):
            return data
        sources = dict(data.get("provenance") or {})
        uncertainties = dict(data.get("uncertainties") or {})
        for owner, resolved in resolved_components(data):
            for field, uncertainty in resolved.uncertainties.items():
                sources.setdefault(f"{owner}.{field}", resolved.source)
                uncertainties.setdefault(f"{owner}.{field}", uncertainty)
        return {**data, "provenance": sources, "uncertainties": uncertainties}

    @model_validator(mode="after")
    def _unique_memories(self) -> Accelerator:
        names = [memory.name for memory in self.memories]
        if len(set(names)) != len(names):
            msg = f"memory names must be unique, but got {names}"
            raise ValueError(msg)
        return self

    @property
    def supported(self) -> tuple[Precision, ...]:
        """Every supported pair of bit-widths."""
        return precisions(self.precisions.weight_bits, self.precisions.activation_bits)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides a cost, for artifacts.

        A cost model whose ``compute`` reads files lists them in ``input_files``; their content
        counts, their place does not.
        """
        digest = hashlib.sha256(self.model_dump_json().encode())
        for name in getattr(self.compute, "input_files", ()):
            file = self.resolve_path(name)
            digest.update(file.read_bytes() if file.is_file() else b"missing")
        return digest.hexdigest()

    def resolve_path(self, name: str) -> Path:
        """A file that the accelerator names: relative paths start at its own file's folder."""
        return (self.origin.parent if self.origin else Path()) / name

    def memory_for(self, operand: Operand) -> Memory:
        """The memory that holds an operand.

        Raises:
            UnsupportedError: no memory, or several, hold it.
        """
        found = [memory for memory in self.memories if operand in memory.holds]
        if len(found) != 1:
            msg = (
                f"accelerator '{self.name}': exactly one memory must hold '{operand}', "
                f"but {len(found)} do; set 'holds' in memories"
            )
            raise UnsupportedError(msg)
        return found[0]

    def require(self, wanted: Sequence[Precision]) -> None:
        """Check that precisions are supported.

        Raises:
            UnsupportedError: names the first that is not and what is.
        """
        known = set(self.supported)
        for precision in wanted:
            if precision not in known:
                msg = (
                    f"accelerator '{self.name}' has no mode for {precision} (weight/activation "
                    f"bits); it runs weights of {list(self.precisions.weight_bits)} and "
                    f"activations of {list(self.precisions.activation_bits)} bits"
                )
                raise UnsupportedError(msg)
