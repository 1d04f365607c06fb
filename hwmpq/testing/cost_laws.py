"""Laws that every cost model obeys, for our tests and for plug-ins.

Each law takes an accelerator and layers and raises `LawBrokenError` with the numbers that break
it. Run them over layers of your own choice:

    from hwmpq.testing.cost_laws import check_all_laws
    check_all_laws(load_accelerator("my-chip.yaml"), layers, precisions)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.precision import Precision
from hwmpq.workload.graph import Workload, WorkloadBuilder
from hwmpq.workload.layer import Conv2d, Layer, Linear, MatMul

BOUNDS: Final = ("compute_bound_cycles", "compulsory_dram_bits", "latency_bound_cycles")
LARGER: Final[Mapping[type[Layer], Sequence[str]]] = {
    Conv2d: ("batch", "in_channels", "out_channels"),
    Linear: ("batch", "in_features", "out_features"),
    MatMul: ("batch", "m", "k", "n"),
}
"""The sizes in which bounds grow; height and width are left out, as strides skip borders."""


class LawBrokenError(AssertionError):
    """A cost model broke a law that all of them must obey."""


def workload_of(layers: Sequence[Layer]) -> Workload:
    """A workload of unconnected layers."""
    builder = WorkloadBuilder("laws")
    for layer in layers:
        builder.add(layer)
    return builder.build()


def _require(holds: bool, law: str, table: CostTable, detail: object) -> None:
    if not holds:
        msg = f"{table.accelerator}: {law}, but got {detail}"
        raise LawBrokenError(msg)


def check_bounds(table: CostTable) -> None:
    """Computing takes at least the compute bound; latency and traffic at least theirs."""
    pairs = (
        ("compute_cycles", "compute_bound_cycles"),
        ("latency_cycles", "latency_bound_cycles"),
    )
    for value, bound in pairs:
        least = (table.columns[value] - table.columns[bound]).min()
        _require(bool(least >= 0), f"{value} >= {bound} must hold", table, f"a gap of {least}")
    moved = table.columns["dram_read_bits"] + table.columns["dram_write_bits"]
    least = (moved - table.columns["compulsory_dram_bits"]).min()
    _require(bool(least >= 0), "DRAM traffic >= compulsory traffic", table, f"a gap of {least}")
    used = table.columns["utilization"]
    inside = bool(((used >= 0) & (used <= 1 + 1e-9)).all())
    _require(inside, "0 <= utilization <= 1 must hold", table, used.tolist())


def check_sums(table: CostTable) -> None:
    """Energy groups add up to the energy, computing and stalls to the latency."""
    groups = [table.columns[f"energy_{g}_pj"] for g in ("compute", "sram", "dram", "leakage")]
    energy = table.columns["energy_pj"]
    _require(np.allclose(sum(groups), energy, rtol=1e-9), "energy adds up", table, energy.tolist())
    latency = table.columns["compute_cycles"] + table.columns["stall_cycles"]
    equal = bool((latency == table.columns["latency_cycles"]).all())
    _require(equal, "compute + stall = latency", table, latency.tolist())


def check_whole_numbers(table: CostTable) -> None:
    """Cycles and bits are exact integers that a float64 can hold."""
    for name, values in table.columns.items():
        if name.endswith(("_cycles", "_bits")) or "_bits." in name:
            whole = np.issubdtype(values.dtype, np.integer)
            _require(whole, f"{name} must be whole numbers", table, values.dtype)
            _require(bool(values.max() < 2**53), f"{name} < 2^53", table, values.max())


def check_order_and_names(
    accelerator: Accelerator, layers: Sequence[Layer], precisions: Sequence[Precision]
) -> None:
    """A cost depends neither on the order of precisions nor on a layer's name or neighbours."""
    table = cost_table(workload_of(layers), accelerator, precisions)
    renamed = [layer.model_copy(update={"name": f"x{i}"}) for i, layer in enumerate(layers)]
    turned = cost_table(workload_of(renamed[::-1]), accelerator, precisions[::-1])
    for name, values in table.columns.items():
        other = turned.columns[name][::-1, ::-1]
        same = bool(np.array_equal(values, other))
        _require(same, f"{name} must not depend on order or names", table, [values, other])


def check_bounds_grow_with_bits(table: CostTable, columns: Sequence[str] = BOUNDS) -> None:
    """No bound, or other column, falls when weights or activations get wider."""
    bits = np.array([[p.weight_bits, p.activation_bits] for p in table.precisions])
    narrower = (bits[:, None] <= bits[None, :]).all(axis=2)
    for name in columns:
        values = table.columns[name]
        falls = (values[:, :, None] > values[:, None, :]) & narrower
        where = [
            (table.layers[layer], str(table.precisions[few]), str(table.precisions[many]))
            for layer, few, many in np.argwhere(falls)
        ]
        _require(not where, f"{name} must not fall with more bits", table, where)


def _larger(layer: Layer, sizes: Sequence[str]) -> list[Layer]:
    """The layer with one more sample, and with one more channel (a group) on each side."""
    grown: list[Layer] = []
    for size in sizes:
        channels = isinstance(layer, Conv2d) and size in {"in_channels", "out_channels"}
        step = layer.groups if isinstance(layer, Conv2d) and channels else 1
        grown.append(layer.model_copy(update={size: getattr(layer, size) + step}))
    return grown


def check_bounds_grow_with_size(
    accelerator: Accelerator,
    layers: Sequence[Layer],
    precisions: Sequence[Precision],
    columns: Sequence[str] = BOUNDS,
    sizes: Mapping[type[Layer], Sequence[str]] = LARGER,
) -> None:
    """No bound, or other column, falls when a layer gets more samples, inputs or outputs."""
    pairs = [
        (layer, larger)
        for layer in layers
        for larger in _larger(layer, sizes.get(type(layer), ()))
    ]
    named = [
        one.model_copy(update={"name": f"{kind}{index}"})
        for kind, side in (("small", 0), ("large", 1))
        for index, one in enumerate(pair[side] for pair in pairs)
    ]
    table = cost_table(workload_of(named), accelerator, precisions)
    for name in columns:
        small, large = np.split(table.columns[name], 2)
        where = [pairs[index] for index in np.unique(np.argwhere(large < small)[:, 0])]
        _require(not where, f"{name} must not fall in a larger layer", table, where)


def check_better_machine(
    poorer: Accelerator,
    better: Accelerator,
    layers: Sequence[Layer],
    precisions: Sequence[Precision],
) -> None:
    """No layer takes longer on the better machine."""
    workload = workload_of(layers)
    before, after = (cost_table(workload, machine, precisions) for machine in (poorer, better))
    longer = after.columns["latency_cycles"] > before.columns["latency_cycles"]
    where = [after.layers[index] for index in np.unique(np.argwhere(longer)[:, 0])]
    _require(not where, "latency must not rise on a better machine", after, where)


def check_all_laws(
    accelerator: Accelerator, layers: Sequence[Layer], precisions: Sequence[Precision]
) -> None:
    """Check every law.

    Raises:
        LawBrokenError: names the accelerator, the law and the numbers.
    """
    table = cost_table(workload_of(layers), accelerator, precisions)
    check_bounds(table)
    check_sums(table)
    check_whole_numbers(table)
    check_bounds_grow_with_bits(table)
    check_bounds_grow_with_size(accelerator, layers, precisions)
    check_order_and_names(accelerator, layers, precisions)
