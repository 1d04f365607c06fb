"""Hard budgets as users state them, and the rows they become."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias

import numpy as np

from hwmpq.allocate.base import IntArray, Resource
from hwmpq.cost.activation_cuts import ActivationCuts
from hwmpq.cost.base import NumberArray, activation_bits, weight_bits
from hwmpq.cost.table import CostTable
from hwmpq.errors import BudgetError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.units import parse_quantity

Amount: TypeAlias = str | float | None
_RELATIVE: Final = re.compile(r"^\s*(\S+?)\s*[xX×]\s*$")
_WHOLE: Final = ("cycles", "bits", "operations")
REFERENCE: Final = Precision(8, 8)
"""What relative budgets refer to unless said otherwise."""


@dataclass(frozen=True, slots=True)
class _Quantity:
    """How one budget is read: its unit, accepted dimensions and cost column."""

    unit: str
    dimensions: tuple[str, ...]
    column: str = ""


_QUANTITIES: Final[Mapping[str, _Quantity]] = {
    "latency": _Quantity("cycles", ("cycles", "seconds"), "latency_cycles"),
    "energy": _Quantity("pJ", ("picojoules",), "energy_pj"),
    "weight_memory": _Quantity("bits", ("bits",), "weight_memory_bits"),
    "peak_activation_memory": _Quantity("bits", ("bits",)),
    "bops": _Quantity("operations", ("operations",), "bops"),
    "average_weight_bits": _Quantity("bits", ("count", "bits"), "weight_memory_bits"),
    "average_activation_bits": _Quantity("bits", ("count", "bits"), "activation_memory_bits"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hard limits, several at once.

    Each is absolute (``"3ms"``, ``4096000``) or relative (``"0.5x"``). Bare numbers are in
    canonical units: cycles, pJ, bits, operations. Relative ones refer to the whole network at one
    uniform precision.

    Attributes:
        latency: cycles, or seconds at the accelerator's clock.
        energy: joules; a bare number is pJ.
        weight_memory: stored weights.
        peak_activation_memory: the most that live activation tensors take at any moment.
        bops: multiply-accumulates times weight bits times activation bits.
        average_weight_bits: mean over weights.
        average_activation_bits: mean over the activation values that layers read and write.

    >>> Budget(latency="0.5x", weight_memory="500KiB").names
    ('latency', 'weight_memory')
    """

    latency: Amount = None
    energy: Amount = None
    weight_memory: Amount = None
    peak_activation_memory: Amount = None
    bops: Amount = None
    average_weight_bits: Amount = None
    average_activation_bits: Amount = None

    def __post_init__(self) -> None:
        for name in self.names:
            _read(name, getattr(self, name))

    @property
    def names(self) -> tuple[str, ...]:
        """Quantities that are limited."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)

    @property
    def relative(self) -> bool:
        """Whether any limit refers to the reference."""
        return any(_read(name, getattr(self, name))[1] == "relative" for name in self.names)

    def to_json(self) -> dict[str, Any]:
        """The limits as they were stated."""
        return {name: getattr(self, name) for name in self.names}

    @classmethod
    def from_mapping(cls, limits: Mapping[str, Amount]) -> Budget:
        """Read limits by name.

        Raises:
            BudgetError: a name is no budgeted quantity.
        """
        unknown = sorted(set(limits) - set(_QUANTITIES))
        if unknown:
            msg = f"no budget is called {unknown[0]}; budgets are {', '.join(_QUANTITIES)}"
            raise BudgetError(msg)
        return cls(**limits)

    def resolve(
        self,
        costs: CostTable,
        *,
        reference: Precision = REFERENCE,
        cuts: ActivationCuts | None = None,
    ) -> tuple[Resource, ...]:
        """Turn limits into rows over the choosable layers of a cost table.

        Args:
            costs: the table; layers without a choice become each row's constant.
            reference: the uniform precision that relative limits refer to.
            cuts: live activations of the workload, needed for their peak.

        Raises:
            BudgetError: the peak is limited without cuts, or the reference spends nothing.
            UnsupportedError: the table has no column for the reference, where one is needed.
        """
        rows: list[Resource] = []
        for name in self.names:
            found = quantity_rows(name, costs, reference=reference, cuts=cuts)
            limit = self._limit(name, costs, found, reference)
            rows += [replace(row, limit=limit * row.divisor) for row in found]
        return tuple(rows)

    def _limit(
        self, name: str, costs: CostTable, rows: tuple[Resource, ...], reference: Precision
    ) -> float:
        value, kind = _read(name, getattr(self, name))
        if kind == "seconds":
            return value * costs.clock_hz
        if kind != "relative":
            return value
        spent = [row.reference for row in rows]
        known = [total / row.divisor for total, row in zip(spent, rows, strict=True) if total]
        if None in spent:
            costs.precision_index(reference)
        if not known:
            msg = (
                f"{name} {value:g}x cannot be met or missed: the reference {reference} takes none"
            )
            raise BudgetError(msg)
        return value * max(known)


def _read(name: str, amount: str | float) -> tuple[float, str]:
    """A limit's value, and its dimension or ``relative``."""
    quantity = _QUANTITIES[name]
    match = _RELATIVE.match(amount) if isinstance(amount, str) else None
    if isinstance(amount, bool):
        msg = f"{name} must be a quantity, but got {amount}"
        raise BudgetError(msg)
    try:
        if match is not None:
            value, kind = parse_quantity(match[1], "count")[0], "relative"
        else:
            value, kind = parse_quantity(amount, *quantity.dimensions)
    except BudgetError as error:
        msg = f"{name}: {error}; '0.5x' means half of the reference"
        raise BudgetError(msg) from None
    if not value > 0:
        msg = f"{name} must be more than zero, but got '{amount}'"
        raise BudgetError(msg)
    if value < 1 and kind in _WHOLE and not name.startswith("average"):
        msg = f"{name} must be at least 1 of {quantity.unit}, but got '{amount}'; "
        msg += f"'{value:g}x' means a share of the reference"
        raise BudgetError(msg)
    return value, kind


def _same_everywhere(values: NumberArray, column: str, layers: list[str]) -> NumberArray:
    """What layers without a choice cost, checked not to depend on a choice."""
    if values.shape[1] and np.any(values != values[:, :1]):
        row = int(np.argwhere(values != values[:, :1])[0][0])
        msg = (
            f"layer '{layers[row]}' has no bit-width to choose, but its {column} differs between "
            "precisions"
        )
        raise UnsupportedError(msg)
    return values[:, 0]


def _elements(costs: CostTable, column: str, widths: IntArray) -> IntArray:
    """Values behind a memory column, ``[layers]``: bits over width."""
    chosen = costs.columns[column][costs.choosable]
    elements: IntArray = (chosen[:, 0] // widths[0]).astype(np.int64)
    if np.any(elements[:, None] * widths != chosen):
        msg = f"column {column} is not proportional to bits, so it has no average width"
        raise UnsupportedError(msg)
    return elements


def _peak_rows(
    costs: CostTable, reference: Precision, cuts: ActivationCuts | None
) -> tuple[Resource, ...]:
    if cuts is None:
        msg = "a budget on peak_activation_memory needs the workload's graph, not only its costs"
        raise BudgetError(msg)
    names = costs.choosable_layers
    unknown = sorted(set(cuts.layers) - set(names))
    if unknown:
        msg = f"cuts name {unknown}, which are no layers with a choice"
        raise UnsupportedError(msg)
    columns = [names.index(layer) for layer in cuts.layers]
    shape = (len(cuts.labels), len(names))
    held = np.zeros((*shape, len(costs.precisions)), dtype=np.int64)
    held[:, columns] = cuts.bits(costs.precisions)
    at_reference = np.zeros(shape, dtype=np.int64)
    at_reference[:, columns] = cuts.bits([reference])[:, :, 0]
    return tuple(
        Resource(
            name="peak_activation_memory",
            unit="bits",
            costs=row,
            limit=math.inf,
            constant=int(constant),
            reference=int(known.sum()) + int(constant),
            label=label,
        )
        for row, known, constant, label in zip(
            held, at_reference, cuts.constant_bits, cuts.labels, strict=True
        )
    )


def quantity_rows(
    name: str,
    costs: CostTable,
    *,
    reference: Precision = REFERENCE,
    cuts: ActivationCuts | None = None,
) -> tuple[Resource, ...]:
    """The rows of one budgeted quantity, without a limit.

    Raises:
        BudgetError: the peak is asked for and no cuts are given.
    """
    quantity = _QUANTITIES[name]
    if name == "peak_activation_memory":
        return _peak_rows(costs, reference, cuts)
    values = costs.columns[quantity.column]
    chosen = values[costs.choosable]
    constant: int | float = 0
    divisor = 1.0
    if name.startswith("average"):
        widths = weight_bits if name == "average_weight_bits" else activation_bits
        elements = _elements(costs, quantity.column, widths(costs.precisions))
        divisor = float(elements.sum())
        if divisor == 0:
            msg = f"{name} has no meaning here: no layer holds such values"
            raise BudgetError(msg)
    else:
        others = [
            layer
            for layer, choose in zip(costs.layers, costs.choosable, strict=True)
            if not choose
        ]
        rest = _same_everywhere(values[~costs.choosable], quantity.column, others).tolist()
        constant = sum(rest) if np.issubdtype(values.dtype, np.integer) else math.fsum(rest)
    row = Resource(
        name=name,
        unit=quantity.unit,
        costs=chosen,
        limit=math.inf,
        constant=constant,
        divisor=divisor,
    )
    if reference not in costs.precisions:
        return (row,)
    column = np.full(len(chosen), costs.precision_index(reference), dtype=np.int64)
    return (replace(row, reference=row.total(column)),)
