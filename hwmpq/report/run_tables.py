"""What runs asked for and what came out, as frames in canonical units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from hwmpq.allocate.base import Allocation
from hwmpq.codesign.folder import Run
from hwmpq.codesign.record import EpochRecord, History, RoundRecord, Totals
from hwmpq.precision import Assignment

TOTAL_OF_BUDGET: Final[Mapping[str, str]] = {
    "latency": "latency_cycles",
    "energy": "energy_pj",
    "weight_memory": "weight_memory_bits",
    "peak_activation_memory": "peak_activation_memory_bits",
    "bops": "bops",
}
"""The field of the totals that each budget limits; averages have none."""

SPREAD_COLUMNS: Final = (
    "test_accuracy",
    "accuracy_change",
    "latency_vs_reference",
    "energy_vs_reference",
    "weight_memory_bits",
    "seconds_allocating",
    "seconds_training",
)
"""Columns whose spread over seeds is reported."""

COMPARED_SETTINGS: Final = ("workload", "accelerator", "budgets")
"""What runs should have in common where they are compared."""


def budget_frame(allocation: Allocation, asked: Mapping[str, str]) -> pd.DataFrame:
    """One row a budget: what was asked, the limit, what was spent, and what more would be worth.

    Args:
        allocation: the answer.
        asked: the budgets as stated, such as ``{"latency": "0.25x"}``.
    """
    rows = [
        {
            "budget": report.name,
            "asked": asked.get(report.name, ""),
            "unit": report.unit,
            "limit": report.limit,
            "achieved": report.achieved,
            "slack": report.slack,
            "slack_share": report.slack / report.limit if report.limit else float("nan"),
            "reference": report.reference,
            "achieved_vs_reference": report.achieved / report.reference
            if report.reference
            else float("nan"),
            "least": report.least,
            "shadow_price": report.shadow_price,
            "held": report.achieved <= report.limit,
        }
        for report in allocation.budgets
    ]
    columns = list(rows[0]) if rows else ["budget", "limit", "achieved", "slack", "held"]
    frame = pd.DataFrame(rows, columns=columns)
    numbers = [c for c in ("reference", "least", "shadow_price") if c in frame]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def epoch_frame(epochs: Sequence[EpochRecord]) -> pd.DataFrame:
    """One row an epoch."""
    fields = list(EpochRecord.model_fields)
    return pd.DataFrame([epoch.model_dump() for epoch in epochs], columns=fields)


def round_frame(history: History, reference: Totals) -> pd.DataFrame:
    """One row a round: the solver's answer, what is in force after it, and its costs.

    Args:
        history: of the run.
        reference: totals of the reference; ``NAME_vs_reference`` columns say each cost
            relative to it.
    """
    return pd.DataFrame([_round_row(record, reference) for record in history.rounds])


def _round_row(record: RoundRecord, reference: Totals) -> dict[str, object]:
    allocation = record.allocation
    row: dict[str, object] = {
        "round": record.round,
        "epoch": record.epoch,
        "status": str(allocation.status),
        "objective": allocation.objective,
        "bound": allocation.bound,
        "gap": allocation.gap,
        "accepted": record.accepted,
        "changed_layers": record.changed_layers,
        "seconds_allocating": record.seconds_allocating,
        "solver": allocation.solver,
        "note": "; ".join(filter(None, (record.note, *allocation.notes))),
    }
    spent = record.totals.model_dump()
    row |= spent
    base = reference.model_dump()
    for name, field in TOTAL_OF_BUDGET.items():
        row[f"{name}_vs_reference"] = spent[field] / base[field] if base[field] else None
    return row


def bits_by_column(assignments: Mapping[str, Assignment]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Weight and activation bits, ``[layers, assignments]`` each, missing where a layer is."""
    layers = list(dict.fromkeys(layer for bits in assignments.values() for layer in bits))
    frames = []
    for field in ("weight_bits", "activation_bits"):
        columns = {
            title: pd.array(
                [getattr(bits[layer], field) if layer in bits else None for layer in layers],
                dtype="Int64",
            )
            for title, bits in assignments.items()
        }
        frames.append(pd.DataFrame(columns, index=pd.Index(layers, name="layer")))
    return frames[0], frames[1]


def run_names(runs: Sequence[Run]) -> tuple[str, ...]:
    """A different short name for each run: its folder's, with a number where two are equal."""
    names: list[str] = []
    for run in runs:
        name = run.folder.resolve().name
        same = sum(1 for earlier in names if earlier == name or earlier.startswith(f"{name} ("))
        names.append(f"{name} ({same + 1})" if same else name)
    return tuple(names)


def method_titles(runs: Sequence[Run]) -> tuple[str, ...]:
    """Method of each run, with the settings in which runs of the same method differ.

    An ablation is always named: by its name alone it would pass for the method.
    """
    settings = [run.manifest.settings for run in runs]
    titles = []
    for run, own in zip(runs, settings, strict=True):
        method = run.manifest.method
        same = [
            s for s, other in zip(settings, runs, strict=True) if other.manifest.method == method
        ]
        stated = [
            f"{name.removeprefix('method.').removeprefix('recipe.')} {value}"
            for name, value in own.items()
            if (value != "None" if name == "ablation" else any(o.get(name) != value for o in same))
        ]
        titles.append(f"{method} ({', '.join(stated)})" if stated else method)
    return tuple(titles)


def comparison_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: what was asked and the headline results."""
    rows = []
    for name, method, run in zip(run_names(runs), method_titles(runs), runs, strict=True):
        manifest = run.manifest
        row: dict[str, object] = {
            "run": name,
            "workload": manifest.workload,
            "accelerator": manifest.accelerator,
            "method": method,
            "budgets": ", ".join(f"{k} {v}" for k, v in manifest.budgets.items()),
            "seed": manifest.seed,
        }
        row |= _result_row(run)
        rows.append(row)
    return pd.DataFrame(rows)


def settings_in_common(comparison: pd.DataFrame) -> list[str]:
    """Which of network, accelerator and budgets are the same in all runs compared."""
    return [key for key in COMPARED_SETTINGS if comparison[key].nunique() == 1]


def _result_row(run: Run) -> dict[str, object]:
    results = run.results
    spent, base = results.totals, results.reference_totals
    return {
        "test_accuracy": results.test_accuracy,
        "float_test_accuracy": results.float_test_accuracy,
        "accuracy_change": results.test_accuracy - results.float_test_accuracy,
        "latency_cycles": spent.latency_cycles,
        "latency_s": spent.latency_cycles / run.costs.clock_hz,
        "latency_vs_reference": spent.latency_cycles / max(base.latency_cycles, 1),
        "energy_pj": spent.energy_pj,
        "energy_vs_reference": spent.energy_pj / base.energy_pj if base.energy_pj else None,
        "weight_memory_bits": spent.weight_memory_bits,
        "peak_activation_memory_bits": spent.peak_activation_memory_bits,
        "bops": spent.bops,
        "seconds_float_training": results.seconds_float_training,
        "seconds_training": results.seconds_training,
        "seconds_allocating": results.seconds_allocating,
        "rounds": len(run.history.rounds),
        "budgets_held": all(b.achieved <= b.limit for b in results.allocation.budgets),
    }


def spread_frame(comparison: pd.DataFrame) -> pd.DataFrame:
    """One row a set of runs that differ only in their seed: mean and sample deviation.

    The method's column tells settings and ablations apart.

    Args:
        comparison: as `comparison_frame` gives.
    """
    keys = ["workload", "accelerator", "method", "budgets"]
    rows = []
    for asked, group in comparison.groupby(keys, sort=False):
        row: dict[str, object] = dict(zip(keys, asked, strict=True))
        row |= {"runs": len(group), "seeds": group["seed"].nunique()}
        for name in SPREAD_COLUMNS:
            values = group[name].astype("float64")
            row[f"{name}_mean"] = values.mean()
            row[f"{name}_std"] = values.std(ddof=1) if len(values) > 1 else float("nan")
        row["test_accuracy_min"] = group["test_accuracy"].min()
        row["test_accuracy_max"] = group["test_accuracy"].max()
        rows.append(row)
    return pd.DataFrame(rows)
