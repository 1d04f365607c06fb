"""What a sweep says: fronts with knee and hypervolume, transfer of bits, survival of energies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pandas as pd

from hwmpq.errors import UnsupportedError
from hwmpq.files import write_text
from hwmpq.sweep.energy import drawn_energies, survival
from hwmpq.sweep.folder import ANSWERS
from hwmpq.sweep.fronts import FloatArray, hypervolume, knee, normalised, undominated
from hwmpq.sweep.points import Point
from hwmpq.sweep.quantities import COLUMNS, answered_rows, to_minimise
from hwmpq.sweep.recipe import Quantity
from hwmpq.sweep.result import Sweep
from hwmpq.sweep.shared import Shared
from hwmpq.sweep.transfer import find_targets, transfer_matrix

Made = TypeVar("Made")
_OF_BUDGET: Final[Mapping[str, Quantity]] = {
    "latency": "latency",
    "energy": "energy",
    "weight_memory": "weight_memory",
    "peak_activation_memory": "activation_memory",
}
_MACHINES: Final = 12
"""Accelerators of a transfer matrix; more are thinned out evenly."""
_LOW, _HIGH = 5, 95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """The best trade-offs among rows that can be compared.

    Attributes:
        group: what the rows have in common.
        quantities: two or three.
        rows: the points on the front, by the first quantity that is not the score.
        candidates: rows of the group.
        knee: index of a row.
        hypervolume: share of the box between the best and the worst of all answered rows that
            some point of the front beats.
    """

    group: str
    quantities: tuple[Quantity, ...]
    rows: pd.DataFrame
    candidates: pd.DataFrame
    knee: int
    hypervolume: float


def default_fronts(sweep: Sweep) -> tuple[tuple[Quantity, ...], ...]:
    """Score against each budgeted quantity."""
    recipe = sweep.plan.recipe
    if recipe.answers.fronts:
        return recipe.answers.fronts
    if recipe.search is not None and len(recipe.search.goals) in {2, 3}:
        return (recipe.search.goals,)
    score: Quantity = "accuracy" if recipe.method else "sensitivity"
    against = [_OF_BUDGET[name] for name in sweep.plan.grid.budget_names if name in _OF_BUDGET]
    return tuple((score, quantity) for quantity in against or ["latency"])


def _groups(frame: pd.DataFrame, names: Sequence[Quantity]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows that can be compared: scores of two metrics, or of two networks, cannot."""
    keys = ["workload"]
    if "sensitivity" in names:
        frame = frame[frame["kind"] == "sensitivity"]
        keys += ["score", "seed"]
    elif "accuracy" in names:
        frame = frame[frame["kind"] == "method"]
    for key, rows in frame.groupby(keys, sort=False):
        parts = [str(part) for part in key]
        if "sensitivity" in names and frame["seed"].nunique() == 1:
            parts = parts[:-1]
        yield ", ".join(parts), rows


def find_fronts(sweep: Sweep) -> tuple[Front, ...]:
    """Fronts of the quantities that the recipe asks for, one a group of comparable rows.

    Raises:
        UnsupportedError: a quantity is not known for some row.
    """
    answered = answered_rows(sweep.to_pandas())
    return tuple(
        front_of(group, names, rows)
        for names in default_fronts(sweep)
        for group, rows in _groups(answered, names)
    )


def front_of(group: str, names: tuple[Quantity, ...], rows: pd.DataFrame) -> Front:
    """The front of some rows; of equal points the first stays."""
    values = to_minimise(rows, names)
    kept = undominated(values)
    first = ~pd.DataFrame(values).duplicated().to_numpy()
    chosen = np.flatnonzero(kept & first)
    order = chosen[np.argsort(values[chosen, 1], kind="stable")]
    front = values[order]
    low, high = values.min(axis=0), values.max(axis=0)
    unit: FloatArray = (front - low) / np.where(high > low, high - low, 1.0)
    return Front(
        group=group,
        quantities=names,
        rows=rows.iloc[order],
        candidates=rows,
        knee=int(rows.index[order[knee(front)]]),
        hypervolume=hypervolume(unit, np.ones(len(names))),
    )


def fronts_frame(fronts: Sequence[Front]) -> pd.DataFrame:
    """One row a point of a front."""
    frames = []
    for front in fronts:
        columns = [COLUMNS[name] for name in front.quantities]
        frame = front.rows[["point", "key", "variant", *columns, "bits"]].copy()
        frame.insert(0, "front", " / ".join(front.quantities))
        frame.insert(1, "group", front.group)
        frame["knee"] = frame.index == front.knee
        frame["distance_to_ideal"] = np.linalg.norm(
            normalised(to_minimise(front.rows, front.quantities)), axis=1
        )
        frame["hypervolume"] = front.hypervolume
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def transfer_points(sweep: Sweep) -> tuple[Point, ...]:
    """Points that a transfer matrix compares: one budget, every accelerator.

    The first network, score, seed and precisions; of its budgets the tightest that most
    accelerators can meet.
    """
    grid = sweep.plan.grid
    _, machines, widths, scores, seeds, limits = grid.shape
    if not sweep.plan.recipe.sensitivity:
        return ()
    step = widths * scores * seeds * limits
    answered = set(answered_rows(sweep.to_pandas())["point"])
    met = [sum(m * step + limit in answered for m in range(machines)) for limit in range(limits)]
    budget = int(np.argmax(met))
    kept = np.unique(np.linspace(0, machines - 1, min(machines, _MACHINES)).round().astype(int))
    return tuple(grid.at(machine * step + budget) for machine in kept.tolist())


def find_transfer(sweep: Sweep) -> pd.DataFrame:
    """The policy-transfer matrix of a product, see `transfer_matrix`; empty for a search."""
    if sweep.plan.recipe.search is not None:
        return pd.DataFrame()
    shared = Shared(sweep.folder, sweep.plan)
    return transfer_matrix(find_targets(shared, transfer_points(sweep)))


def find_survival(sweep: Sweep, *, samples: int, seed: int = 0) -> pd.DataFrame:
    """How the front of score against energy fares under uncertain energy constants.

    Columns: ``group``, ``point``, ``variant``, ``energy_pj``, its 5th and 95th percentile,
    ``on_front`` and ``least_energy``: shares of the draws.

    Raises:
        UnsupportedError: a cost model leaves open what its energies are made of.
    """
    answered = answered_rows(sweep.to_pandas())
    score: Quantity = "accuracy" if sweep.plan.recipe.method else "sensitivity"
    names: tuple[Quantity, ...] = (score, "energy")
    frames = [
        _survival(sweep, _contenders(group, names, rows), samples, seed)
        for group, rows in _groups(answered, names)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _contenders(group: str, names: tuple[Quantity, ...], rows: pd.DataFrame) -> Front:
    """Points that may be on the front: what no point of the same accelerator beats.

    Under any constants that raise or lower all energies of a machine alike, only these can lead.
    Accelerators are those on the front, then those with least energy, up to `_MACHINES`.
    """
    best = front_of(group, names, rows)
    order = [*best.rows["variant"], *rows.sort_values("energy_pj", kind="stable")["variant"]]
    kept = list(dict.fromkeys(order))[:_MACHINES]
    fronts = [front_of(group, names, rows[rows["variant"] == variant]).rows for variant in kept]
    return replace(best, rows=pd.concat(fronts).sort_values("energy_pj", kind="stable"))


def _survival(sweep: Sweep, front: Front, samples: int, seed: int) -> pd.DataFrame:
    shared = Shared(sweep.folder, sweep.plan)
    rows = front.rows
    energies: FloatArray = np.zeros((len(rows), samples))
    places: dict[str, list[int]] = {}
    for place, variant in enumerate(rows["variant"]):
        places.setdefault(variant, []).append(place)
    for here in places.values():
        records = [dict(rows.iloc[place]) for place in here]
        point = sweep.point(records[0])
        energies[here] = drawn_energies(
            shared.workload(point.workload),
            shared.variant(point),
            [sweep.assignment(record) for record in records],
            samples=samples,
            seed=seed,
        )
    scores = to_minimise(rows, front.quantities[:1])
    found = survival(energies, scores)
    low, high = np.percentile(energies, [_LOW, _HIGH], axis=1)
    frame = pd.DataFrame(
        {
            "group": front.group,
            "point": rows["point"].to_numpy(),
            "variant": rows["variant"].to_numpy(),
            "energy_pj": rows["energy_pj"].to_numpy(),
            f"energy_p{_LOW:02d}_pj": low,
            f"energy_p{_HIGH}_pj": high,
            "on_front": found.on_front,
            "least_energy": found.best,
        }
    )
    # What is never on the front says nothing, unless it stands there at the stated constants.
    nominal = undominated(to_minimise(rows, front.quantities))
    return frame[nominal | (found.on_front > 0)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """Everything that a sweep was asked to say.

    Attributes:
        fronts: as `find_fronts`.
        transfer: as `find_transfer`; empty where it was not asked for.
        survival: as `find_survival`; empty where it was not asked for.
        missing: what was asked for and could not be worked out, with the reason.
    """

    fronts: tuple[Front, ...]
    transfer: pd.DataFrame
    survival: pd.DataFrame
    missing: tuple[str, ...] = ()


def work_out(sweep: Sweep, folder: Path) -> Answered:
    """Work out what the recipe asks for and write it as CSV.

    Args:
        sweep: whose rows are there.
        folder: where to, such as the sweep's own.

    What cannot be worked out leaves the rest alone: rows may have taken days.

    Raises:
        OutputError: a file cannot be written.
    """
    wanted = sweep.plan.recipe.answers
    missing: list[str] = []

    def tried(what: str, make: Callable[[], Made], nothing: Made) -> Made:
        try:
            return make()
        except UnsupportedError as error:
            missing.append(f"{what}: {error}")
            return nothing

    found = Answered(
        fronts=tried("fronts", lambda: find_fronts(sweep), ()),
        transfer=tried("transfer", lambda: find_transfer(sweep), pd.DataFrame())
        if wanted.transfer
        else pd.DataFrame(),
        survival=tried(
            "energy_samples",
            lambda: find_survival(sweep, samples=wanted.energy_samples),
            pd.DataFrame(),
        )
        if wanted.energy_samples
        else pd.DataFrame(),
    )
    found = replace(found, missing=tuple(missing))
    frames = (fronts_frame(found.fronts), found.transfer, found.survival)
    for name, frame in zip(ANSWERS, frames, strict=True):
        if len(frame):
            write_text(folder / name, frame.to_csv(index=False))
    return found


def shortest_labels(variants: Sequence[str]) -> dict[str, str]:
    """Variants without the changes that all of them share.

    >>> shortest_labels(["a [rows=8, cols=4]", "a [rows=16, cols=4]"])
    {'a [rows=8, cols=4]': 'a [rows=8]', 'a [rows=16, cols=4]': 'a [rows=16]'}
    """
    split: dict[str, tuple[str, list[str]]] = {}
    for variant in variants:
        name, _, changes = variant.partition(" [")
        split[variant] = (name, changes.removesuffix("]").split(", ") if changes else [])
    every = [set(parts) for _, parts in split.values()]
    common = set.intersection(*every) if len(every) > 1 else set()
    found = {}
    for variant, (name, parts) in split.items():
        left = [part for part in parts if part not in common]
        found[variant] = f"{name} [{', '.join(left)}]" if left else name
    return found
