"""Silicon area of an accelerator, and what its speed would be at the area of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hwmpq.accelerator.arithmetic import (
    ArithmeticFamily,
    adder_area_um2,
    multiplier_area_um2,
    register_area_um2,
)
from hwmpq.accelerator.components import UM2_PER_MM2, OperationComponent
from hwmpq.accelerator.constants import family
from hwmpq.accelerator.spec import Accelerator
from hwmpq.accelerator.technology import relative_area
from hwmpq.errors import UnsupportedError

LANE_REGISTERS: Final = 3
"""Registers of a lane of the vector unit: two operands and the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaBreakdown:
    """Area by component.

    Attributes:
        components: ``compute``, ``vector`` and ``memory.<name>``, in mm2; None where not known.
        technology_nm: the accelerator's node, at which the areas are meant.
        chip_mm2: area of the whole chip, where it is published.
    """

    components: Mapping[str, float | None]
    technology_nm: float
    chip_mm2: float | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Components whose area is not known."""
        return tuple(name for name, area in self.components.items() if area is None)

    @property
    def known_mm2(self) -> float:
        """Sum of what is known: a lower bound of the area."""
        return sum(area for area in self.components.values() if area is not None)

    @property
    def total_mm2(self) -> float | None:
        """Area of the chip, or of array and memories; None when one of them is not known.

        The vector unit counts where it is known. It is small, so not knowing it hides no total.
        """
        if self.chip_mm2 is not None:
            return self.chip_mm2
        missing = set(self.unknown) - {"vector"}
        return None if missing else self.known_mm2


def compute_area_mm2(accelerator: Accelerator) -> float | None:
    """Area of the array: the optional field ``area_mm2`` of the family's ``compute``."""
    area = getattr(accelerator.compute, "area_mm2", None)
    return float(area) if isinstance(area, int | float) else None


def elements_area_mm2(um2_per_element: float | None, elements: int) -> float | None:
    """Area of an array of equal elements; None where that of one is not known.

    >>> elements_area_mm2(1000.0, 256), elements_area_mm2(None, 256)
    (0.256, None)
    """
    return None if um2_per_element is None else um2_per_element * elements / UM2_PER_MM2


def carried_area_um2(area_um2: float, family_name: ArithmeticFamily, node_nm: float) -> float:
    """Area of logic carried from its family's node to another (Stillmaker and Baas).

    Raises:
        UnsupportedError: a node outside the factors.

    >>> carried_area_um2(100.0, "freepdk45", 32)
    46.0
    """
    own_nm = family(family_name).node_nm
    if own_nm is None or own_nm == node_nm:
        return area_um2
    return area_um2 * relative_area(node_nm) / relative_area(own_nm)


def _family_of_areas(operation: OperationComponent) -> ArithmeticFamily:
    """The family that prices the operation, or one that has areas of it."""
    if operation.family != "horowitz":
        return operation.family
    synthesised = operation.kind == "add" or operation.bits <= 16
    return "freepdk45" if synthesised else "aladdin"


def lane_area_um2(operation: OperationComponent, element_bits: int, node_nm: float) -> float:
    """Area of one lane of a vector unit at a node: its circuit and three registers.

    The circuit is the adder or multiplier of ``operation``, out of its own family of constants;
    Horowitz's has no areas, so the synthesised ones stand in (Aladdin's for multipliers beyond
    16 bits). Registers are Aladdin's. Each is carried to the node by the area factors of
    Stillmaker and Baas. Control and the functions' tables are left out.

    Raises:
        UnsupportedError: operands that no family covers, or a node outside the factors.

    >>> add = OperationComponent(kind="add", bits=8, family="freepdk45")
    >>> round(lane_area_um2(add, 8, 45), 1)  # 50.54 + 3 * 8 * 5.98 / relative_area(40)
    231.7
    """
    name = _family_of_areas(operation)
    if operation.kind == "add":
        circuit = adder_area_um2(operation.bits, name)
    else:
        circuit = multiplier_area_um2(operation.bits, operation.bits, name)
    registers = register_area_um2(LANE_REGISTERS * element_bits)
    return carried_area_um2(circuit, name, node_nm) + carried_area_um2(
        registers, "aladdin", node_nm
    )


def vector_area_mm2(accelerator: Accelerator) -> float | None:
    """Area of the vector unit: as stated, or lanes of the ``operation`` that prices it.

    None where the file gives neither, or gives an operation or a node that no area is known for.
    """
    unit = accelerator.vector
    if unit.area_mm2 is not None or unit.operation is None:
        return unit.area_mm2
    try:
        lane = lane_area_um2(unit.operation, unit.element_bits, accelerator.technology_nm)
    except UnsupportedError:
        return None
    return unit.lanes * lane / UM2_PER_MM2


def area_mm2(accelerator: Accelerator) -> AreaBreakdown:
    """Area by component, at the accelerator's own node; what is not known is None, not zero.

    A file may state areas of another node; their sources say so.
    """
    return AreaBreakdown(
        components={
            "compute": compute_area_mm2(accelerator),
            "vector": vector_area_mm2(accelerator),
            **{f"memory.{memory.name}": memory.area_mm2 for memory in accelerator.memories},
        },
        technology_nm=accelerator.technology_nm,
        chip_mm2=accelerator.area_mm2,
    )


def equal_area_factors(accelerators: Sequence[Accelerator]) -> tuple[float, ...]:
    """How many copies of each accelerator fill the area of the first.

    ``factor = area of the first / area``: throughput times the factor, or latency over it, is
    performance per mm2 relative to the first. It is a scale, not a design: it assumes that work
    spreads perfectly over fractions of a machine, leaves energy as it is, counts what
    `AreaBreakdown.total_mm2` counts, and compares each at its own node.

    Raises:
        UnsupportedError: an area is not known.
    """
    areas = []
    for accelerator in accelerators:
        breakdown = area_mm2(accelerator)
        total = breakdown.total_mm2
        if not total:
            missing = ", ".join(breakdown.unknown) or "everything"
            msg = (
                f"accelerator '{accelerator.name}' cannot be compared at equal area: no area is "
                f"known for {missing}; state area_mm2 there"
            )
            raise UnsupportedError(msg)
        areas.append(total)
    return tuple(areas[0] / area for area in areas)
