"""Components given by kind and size instead of by explicit energies.

An accelerator file may say ``sram: {size: 64KiB, width_bits: 128, node_nm: 45, flavour: lstp}``
in a memory, ``register_file:`` likewise, ``type: lpddr3`` in ``dram`` and ``operation:`` in the
vector unit. Each resolves to explicit fields of its owner while the file is validated, so cost
models see energies only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator

from hwmpq.accelerator.arithmetic import (
    ArithmeticFamily,
    adder_energy_pj,
    multiplier_energy_pj,
    node_factor,
    register_area_um2,
    register_energy_pj,
    register_file_energy_pj_per_bit,
    register_leakage_mw,
)
from hwmpq.accelerator.constants import family
from hwmpq.accelerator.dram import DramAccess, DramType, dram_figures
from hwmpq.accelerator.sram import Flavour, sram_figures, sram_source, sram_uncertainty
from hwmpq.errors import UnsupportedError
from hwmpq.units import Bits

UM2_PER_MM2: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a component resolves to.

    Attributes:
        values: explicit fields of the owner.
        source: provenance of the values.
        uncertainties: relative, by field.
    """

    values: Mapping[str, float]
    source: str
    uncertainties: Mapping[str, float]


class Component(BaseModel):
    """Base of the forms: frozen, strict, no unknown field, inside its tables."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @abstractmethod
    def resolve(self, banks: int = 1) -> Resolved:
        """The owner's explicit fields, over all banks.

        Raises:
            UnsupportedError: outside the tables.
        """

    @model_validator(mode="after")
    def _inside_the_tables(self) -> Component:
        try:
            self.resolve()
        except UnsupportedError as error:
            raise ValueError(str(error)) from error
        return self


class SramComponent(Component):
    """One bank of SRAM out of the CACTI table.

    Attributes:
        size: capacity of one bank.
        width_bits: bits of one access.
        node_nm: process node.
        flavour: ITRS device type.
        temperature_k: the table's own unless stated; another one is an error.
    """

    size: Bits
    width_bits: PositiveInt
    node_nm: PositiveFloat
    flavour: Flavour
    temperature_k: PositiveInt | None = None

    def resolve(self, banks: int = 1) -> Resolved:
        """Energies per bit, leakage and area of all banks."""
        bank = sram_figures(
            self.size, self.width_bits, self.node_nm, self.flavour, self.temperature_k
        )
        values = {
            "size_bits": self.size * banks,
            "width_bits": self.width_bits,
            "read_energy_pj_per_bit": bank.read_energy_pj / self.width_bits,
            "write_energy_pj_per_bit": bank.write_energy_pj / self.width_bits,
            "leakage_mw": bank.leakage_mw * banks,
            "area_mm2": bank.area_mm2 * banks,
        }
        known = sram_uncertainty(self.node_nm)
        uncertainties = {
            "read_energy_pj_per_bit": known,
            "write_energy_pj_per_bit": known,
            "leakage_mw": sram_uncertainty(self.node_nm, leakage=True),
            "area_mm2": known,
        }
        source = sram_source(self.node_nm, self.flavour)
        return Resolved(values=values, source=source, uncertainties=uncertainties)


class RegisterFileComponent(Component):
    """One bank of registers: Interstellar's register files, or Aladdin's flip-flops.

    Attributes:
        size: capacity of one bank.
        family: ``interstellar`` (16 to 512 bytes, energy only, 28 nm) or ``aladdin`` (40 nm).
    """

    size: Bits
    family: Literal["interstellar", "aladdin"]

    def resolve(self, banks: int = 1) -> Resolved:
        """Energies per bit and, with Aladdin, leakage and area of all banks."""
        origin = family(self.family)
        values: dict[str, float] = {"size_bits": self.size * banks}
        if self.family == "aladdin":
            energy = register_energy_pj(1)
            values["leakage_mw"] = register_leakage_mw(self.size) * banks
            values["area_mm2"] = register_area_um2(self.size) * banks / UM2_PER_MM2
        else:
            if self.size % 8:
                msg = f"a register file holds whole bytes, but got {self.size} bits"
                raise UnsupportedError(msg)
            energy = register_file_energy_pj_per_bit(self.size // 8)
        values["read_energy_pj_per_bit"] = values["write_energy_pj_per_bit"] = energy
        uncertainties = dict.fromkeys(values, origin.uncertainty)
        del uncertainties["size_bits"]
        return Resolved(values=values, source=origin.source, uncertainties=uncertainties)


class DramComponent(Component):
    """A DRAM type.

    Attributes:
        type: DRAM type.
        access: ``streaming`` for 128 accesses per row activation, ``random`` for one.
    """

    type: DramType
    access: DramAccess = "streaming"

    def resolve(self, banks: int = 1) -> Resolved:
        """Energies per bit; the number of banks does not matter."""
        del banks
        figures = dram_figures(self.type, self.access)
        values = {
            "read_energy_pj_per_bit": figures.read_energy_pj_per_bit,
            "write_energy_pj_per_bit": figures.write_energy_pj_per_bit,
        }
        origin = family(self.type)
        uncertainties = dict.fromkeys(values, origin.uncertainty)
        return Resolved(values=values, source=origin.source, uncertainties=uncertainties)


class OperationComponent(Component):
    """An elementary operation of the vector unit.

    Attributes:
        kind: an addition (comparisons cost the same) or a multiplication.
        bits: operand width.
        family: family of constants.
        node_nm: process node, reached by logic scaling; the family's own unless stated.
    """

    kind: Literal["add", "multiply"]
    bits: PositiveInt
    family: ArithmeticFamily
    node_nm: PositiveFloat | None = None

    def resolve(self, banks: int = 1) -> Resolved:
        """Energy of one operation."""
        del banks
        if self.kind == "add":
            energy = adder_energy_pj(self.bits, self.family)
        else:
            energy = multiplier_energy_pj(self.bits, self.bits, self.family)
        origin = family(self.family)
        source = origin.source
        if self.node_nm is not None and self.node_nm != origin.node_nm:
            source += f"; carried to {self.node_nm:g} nm by Stillmaker and Baas 2017"
        energy *= node_factor(self.family, self.node_nm)
        field = "energy_pj_per_operation"
        return Resolved(
            values={field: energy}, source=source, uncertainties={field: origin.uncertainty}
        )
