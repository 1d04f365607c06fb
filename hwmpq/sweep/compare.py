"""Fronts of several sweeps side by side, where their rows can be compared.

Rows meet if they are about one network (the same graph) and, where sensitivity is a quantity,
about the same scores: one table by its content, or one metric of the same weights, data and seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from hwmpq.sweep.answers import Front, default_fronts, front_of, fronts_frame
from hwmpq.sweep.fronts import hypervolume
from hwmpq.sweep.quantities import answered_rows, to_minimise
from hwmpq.sweep.questions import weights_of
from hwmpq.sweep.recipe import Quantity
from hwmpq.sweep.result import Sweep

SWEEP: Final = "sweep"
_NETWORK, _SCORES = "network_key", "scores_key"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contest:
    """Fronts of several sweeps among rows that can be compared.

    Attributes:
        joint: the front of all their rows together.
        fronts: each sweep's own, by its name; hypervolumes are shares of the box of all rows.
        leading: points of each sweep on the joint front.
    """

    joint: Front
    fronts: Mapping[str, Front]
    leading: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Several sweeps as one.

    Attributes:
        names: of the sweeps.
        frame: all rows, with the column ``sweep``.
        layers: of each workload.
        contests: one for each set of quantities and comparable rows.
    """

    names: tuple[str, ...]
    frame: pd.DataFrame
    layers: Mapping[str, tuple[str, ...]]
    contests: tuple[Contest, ...]


def sweep_names(sweeps: Sequence[Sweep]) -> tuple[str, ...]:
    """A name for each: the recipe's, with the folder where several share it."""
    names = [sweep.plan.recipe.name or sweep.folder.name for sweep in sweeps]
    count = Counter(names)
    return tuple(
        f"{name} ({sweep.folder})" if count[name] > 1 else name
        for name, sweep in zip(names, sweeps, strict=True)
    )


def compare_sweeps(sweeps: Sequence[Sweep]) -> Comparison:
    """Compare the fronts of several sweeps.

    Raises:
        UnsupportedError: a quantity is not known for some row.
    """
    names = sweep_names(sweeps)
    hashes: dict[str, str] = {}
    layers: dict[str, tuple[str, ...]] = {}
    frames = []
    for name, sweep in zip(names, sweeps, strict=True):
        frame = sweep.to_pandas()
        shown: dict[str, str] = {}
        for workload, network in sweep.plan.networks.items():
            same = hashes.setdefault(workload, network.sha256) == network.sha256
            shown[workload] = workload if same else f"{workload} ({name})"
            layers[shown[workload]] = network.layers
        pairs = [sweep.plan.networks[workload].sha256 for workload in frame["workload"]]
        keys = {SWEEP: name, _NETWORK: pairs, _SCORES: _score_keys(sweep, frame)}
        frames.append(frame.assign(**keys, workload=frame["workload"].map(shown)))
    joined = pd.concat(frames, ignore_index=True)
    wanted = dict.fromkeys(names_ for sweep in sweeps for names_ in default_fronts(sweep))
    answered = answered_rows(joined)
    contests = tuple(
        _contest(group, quantities, rows, names)
        for quantities in wanted
        for group, rows in _groups(answered, quantities)
    )
    kept = joined.drop(columns=[_NETWORK, _SCORES])
    return Comparison(names=names, frame=kept, layers=layers, contests=contests)


def _score_keys(sweep: Sweep, frame: pd.DataFrame) -> list[str]:
    """What tells rows apart whose scores cannot be compared."""
    plan = sweep.plan
    found = []
    columns = (frame["workload"], frame["score"], frame["seed"])
    for workload, score, seed in zip(*columns, strict=True):
        if score in plan.places:
            found.append(plan.inputs[score])
            continue
        weights = weights_of(plan.recipe, workload)
        known = "" if weights is None else plan.inputs.get(weights, "")
        found.append(f"{score}|{known}|{plan.recipe.data}|{seed}")
    return found


def _groups(
    frame: pd.DataFrame, quantities: tuple[Quantity, ...]
) -> Iterator[tuple[str, pd.DataFrame]]:
    keys = [_NETWORK]
    if "sensitivity" in quantities:
        frame = frame[frame["kind"] == "sensitivity"]
        keys.append(_SCORES)
    elif "accuracy" in quantities:
        frame = frame[frame["kind"] == "method"]
    for _, rows in frame.groupby(keys, sort=False):
        names = [rows["workload"].iloc[0]]
        if "sensitivity" in quantities:
            names.append(rows["score"].iloc[0])
        yield ", ".join(names), rows


def _contest(
    group: str, quantities: tuple[Quantity, ...], rows: pd.DataFrame, names: Sequence[str]
) -> Contest:
    joint = front_of(group, quantities, rows)
    values = to_minimise(rows, quantities)
    low, high = values.min(axis=0), values.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    fronts, leading = {}, {}
    best = {tuple(row) for row in to_minimise(joint.rows, quantities).tolist()}
    for name in names:
        mine = rows[rows[SWEEP] == name]
        if mine.empty:
            continue
        front = front_of(group, quantities, mine)
        reached = to_minimise(front.rows, quantities)
        share = hypervolume((reached - low) / span, np.ones(len(quantities)))
        fronts[name] = Front(
            group=group,
            quantities=quantities,
            rows=front.rows,
            candidates=mine,
            knee=front.knee,
            hypervolume=share,
        )
        leading[name] = sum(tuple(row) in best for row in reached.tolist())
    return Contest(joint=joint, fronts=fronts, leading=leading)


def contests_frame(contests: Sequence[Contest]) -> pd.DataFrame:
    """One row a point of a sweep's front, and whether no other sweep beats it."""
    frames = []
    for contest in contests:
        best = {tuple(row) for row in _values(contest.joint)}
        for name, front in contest.fronts.items():
            frame = fronts_frame([front])
            frame.insert(0, SWEEP, name)
            frame["on_joint_front"] = [tuple(row) in best for row in _values(front)]
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _values(front: Front) -> list[list[float]]:
    values: list[list[float]] = to_minimise(front.rows, front.quantities).tolist()
    return values
