"""Silicon area of an accelerator, and what its speed would be at the area of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwmpq.accelerator.spec import Accelerator
from hwmpq.errors import UnsupportedError


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

        The vector unit counts where it is known; no source used so far gives one.
        """
        if self.chip_mm2 is not None:
            return self.chip_mm2
        missing = set(self.unknown) - {"vector"}
        return None if missing else self.known_mm2


def compute_area_mm2(accelerator: Accelerator) -> float | None:
    """Area of the array: the optional field ``area_mm2`` of the family's ``compute``."""
    area = getattr(accelerator.compute, "area_mm2", None)
    return float(area) if isinstance(area, int | float) else None


def area_mm2(accelerator: Accelerator) -> AreaBreakdown:
    """Area by component, at the accelerator's own node; what is not known is None, not zero."""
    return AreaBreakdown(
        components={
            "compute": compute_area_mm2(accelerator),
            "vector": accelerator.vector.area_mm2,
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
