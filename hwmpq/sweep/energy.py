"""Which conclusions survive the uncertainty of energy constants.

Every energy constant has a sourced relative uncertainty ``u``. A draw multiplies each by its own
``exp(s * z)``, ``z`` standard normal and ``s = ln(1 + u)``, so that two thirds of the draws lie
between ``value / (1 + u)`` and ``value * (1 + u)``; constants of one source are drawn together,
since what is wrong with a source is wrong with all that comes from it. Bits stay as allocated:
the question is whether a point that looked good still does.

Mappings stay as they were chosen, too, so energy is linear in its constants. A cost model may
choose by energy; its energy is then the least of linear functions, whose slope at the stated
constants is the share of the mapping that was chosen (envelope theorem; P. Milgrom and I. Segal,
Econometrica 70, 2002). So each group of constants is moved a little up and a little down: both
slopes must agree, or two mappings tie there. A machine that maps afresh takes at most what is
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import BaseModel

from hwmpq.accelerator.families import energy_uncertainties
from hwmpq.accelerator.provenance import numbers, stated_for
from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Assignment
from hwmpq.sweep.fronts import BoolArray, FloatArray, undominated
from hwmpq.workload.graph import Workload

_STEPS: Final = (2.0**-17, 2.0**-22)
"""Relative moves of constants, so small that the choice of mappings stays, and exact in binary."""
_TOLERANCE: Final = 1e-4
_ROUNDING: Final = 1e-7
"""Share of an energy that its rounding may move a slope by."""
_AREA: Final = "area"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Energy constants of one source, which are drawn together.

    Attributes:
        source: where they come from.
        paths: the constants.
        uncertainty: relative.
    """

    source: str
    paths: tuple[str, ...]
    uncertainty: float


def uncertain_constants(accelerator: Accelerator) -> tuple[Constants, ...]:
    """Energy constants that have an uncertainty, by source; zeros and areas are left out."""
    values: dict[str, float] = {}
    for part in ("compute", "memories", "dram", "vector"):
        values |= dict(numbers(getattr(accelerator, part), part))
    groups: dict[tuple[str, float], list[str]] = {}
    for path, uncertainty in energy_uncertainties(accelerator).items():
        if values.get(path) and _AREA not in path:
            source = stated_for(path, accelerator.provenance) or path
            groups.setdefault((source, uncertainty), []).append(path)
    return tuple(
        Constants(source=source, paths=tuple(paths), uncertainty=uncertainty)
        for (source, uncertainty), paths in groups.items()
    )


def scaled(accelerator: Accelerator, factors: Mapping[str, float]) -> Accelerator:
    """The accelerator with some of its numbers multiplied, by path."""
    changed: Accelerator = _scaled(accelerator, "", factors)
    return changed


def _scaled(value: Any, path: str, factors: Mapping[str, float]) -> Any:
    if path in factors:
        return value * factors[path]
    if not any(name.startswith(path) for name in factors):
        return value
    if isinstance(value, BaseModel):
        changes = {
            name: _scaled(getattr(value, name), f"{path}.{name}" if path else name, factors)
            for name in type(value).model_fields
        }
        return value.model_copy(update=changes)
    if isinstance(value, tuple):
        return tuple(_scaled(v, f"{path}[{i}]", factors) for i, v in enumerate(value))
    if isinstance(value, Mapping):
        return {k: _scaled(v, f"{path}.{k}", factors) for k, v in value.items()}
    return value


def energy_shares(
    workload: Workload,
    accelerator: Accelerator,
    assignments: Sequence[Assignment],
) -> tuple[FloatArray, FloatArray]:
    """Energy of each assignment, split by groups of constants.

    Returns:
        ``[assignments]`` at the stated constants, and ``[assignments, groups]``, the part that
        each group of `uncertain_constants` is behind.

    Raises:
        UnsupportedError: mappings of equal energy leave the parts open.
    """
    groups = uncertain_constants(accelerator)
    columns = tuple(dict.fromkeys(p for bits in assignments for p in bits.values()))

    def energies(machine: Accelerator) -> FloatArray:
        table: CostTable = cost_table(workload, machine, columns)
        found: FloatArray = np.array([table.total("energy_pj", bits) for bits in assignments])
        return found

    base = energies(accelerator)
    shares: FloatArray = np.zeros((len(assignments), len(groups)))
    for column, group in enumerate(groups):
        for step in _STEPS:
            up = energies(scaled(accelerator, dict.fromkeys(group.paths, 1.0 + step))) - base
            down = base - energies(scaled(accelerator, dict.fromkeys(group.paths, 1.0 - step)))
            if np.allclose(up, down, rtol=_TOLERANCE, atol=_ROUNDING * step * base.max()):
                shares[:, column] = (up + down) / (2 * step)
                break
        else:
            msg = (
                f"'{accelerator.name}' has two mappings of equal energy, and which one is taken "
                f"decides what {', '.join(group.paths)} are behind; their uncertainty cannot be "
                "carried through"
            )
            raise UnsupportedError(msg)
    return base, shares


def factors(group: Constants, samples: int, seed: int) -> FloatArray:
    """A factor for each sample; every source has a random stream of its own.

    So accelerators that share a source move together, whatever else they are made of.

    >>> group = Constants(source="a paper", paths=(), uncertainty=0.2)
    >>> factors(group, 3, seed=0).shape
    (3,)
    """
    generator = np.random.default_rng([seed, *group.source.encode()])
    drawn: FloatArray = np.exp(math.log1p(group.uncertainty) * generator.standard_normal(samples))
    return drawn


def drawn_energies(
    workload: Workload,
    accelerator: Accelerator,
    assignments: Sequence[Assignment],
    *,
    samples: int,
    seed: int,
) -> FloatArray:
    """Energy of each assignment under drawn constants, ``[assignments, samples]``.

    Raises:
        UnsupportedError: mappings of equal energy leave shares open.
    """
    base, shares = energy_shares(workload, accelerator, assignments)
    groups = uncertain_constants(accelerator)
    if not groups:
        return np.repeat(base[:, None], samples, axis=1)
    drawn = np.stack([factors(group, samples, seed) for group in groups])
    energies: FloatArray = base[:, None] + shares @ (drawn - 1.0)
    return energies


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survival:
    """What became of points under drawn constants.

    Attributes:
        energy_pj: ``[points, samples]``.
        on_front: ``[points]``, share of the samples in which no other point beats it.
        best: ``[points]``, share of the samples in which it takes the least energy.
    """

    energy_pj: FloatArray
    on_front: FloatArray
    best: FloatArray


def survival(energies: FloatArray, others: FloatArray) -> Survival:
    """How often each point stays on the front of its energy and other quantities.

    Args:
        energies: ``[points, samples]``.
        others: ``[points, quantities]``, to minimise, the same in all samples.
    """
    count, samples = energies.shape
    on_front = np.zeros(count)
    best = np.zeros(count)
    for sample in range(samples):
        here = energies[:, sample]
        kept: BoolArray = undominated(np.c_[here, others])
        on_front += kept
        best += here == here.min()
    return Survival(energy_pj=energies, on_front=on_front / samples, best=best / samples)
