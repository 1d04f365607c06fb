"""What a sweep's report shows, as plain frames, so that reports know nothing of how sweeps run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from hwmpq.report.grid import percent, short
from hwmpq.units import Format, format_bits, format_energy, format_seconds


@dataclass(frozen=True, slots=True)
class Axis:
    """How one quantity is drawn and printed.

    Attributes:
        column: in the rows.
        title: with the unit of the drawing.
        scale: what a value is multiplied with to be drawn.
        show: prints a value.
    """

    column: str
    title: str
    scale: float
    show: Format


AXES: Final[Mapping[str, Axis]] = {
    "sensitivity": Axis("sensitivity", "sensitivity", 1.0, short),
    "accuracy": Axis("accuracy", "test accuracy, %", 100.0, percent),
    "latency": Axis("latency_s", "latency, ms", 1e3, format_seconds),
    "energy": Axis("energy_pj", "energy, mJ", 1e-9, format_energy),
    "area": Axis("area_mm2", "area, mm²", 1.0, lambda value: f"{short(value)} mm²"),
    "weight_memory": Axis("weight_memory_bits", "weights, KiB", 1 / 8192, format_bits),
    "activation_memory": Axis(
        "peak_activation_memory_bits", "peak activations, KiB", 1 / 8192, format_bits
    ),
}
"""Every quantity that a front can be drawn of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrontView:
    """One front.

    Attributes:
        title: what its rows have in common.
        quantities: two or three names out of `AXES`; the first is drawn upwards.
        rows: points of the front.
        candidates: all rows that it was found among.
        knee: index of a row.
        hypervolume: share of the box between best and worst that the front beats.
    """

    title: str
    quantities: tuple[str, ...]
    rows: pd.DataFrame
    candidates: pd.DataFrame
    knee: int
    hypervolume: float

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The quantities."""
        return tuple(AXES[name] for name in self.quantities)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweepView:
    """Everything that the report shows.

    Attributes:
        title: name of the sweep.
        facts: what was asked.
        frame: all rows.
        layers: names of the layers of each workload, in the order of the rows' bits.
        fronts: the fronts.
        transfer: the policy-transfer matrix, or empty.
        survival: the front under uncertain energy constants, or empty.
        samples: draws behind it.
        labels: short names of variants.
        missing: what was asked for and could not be worked out, with the reason.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    frame: pd.DataFrame
    layers: Mapping[str, tuple[str, ...]]
    fronts: tuple[FrontView, ...]
    transfer: pd.DataFrame = field(default_factory=pd.DataFrame)
    survival: pd.DataFrame = field(default_factory=pd.DataFrame)
    samples: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def label(self, variant: str) -> str:
        """A variant's short name."""
        return self.labels.get(variant, variant)
