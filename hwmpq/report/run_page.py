"""The sections of a report about one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pandas as pd

from hwmpq.allocate.base import Allocation, BudgetReport
from hwmpq.codesign.folder import Run
from hwmpq.cost.summary import totals
from hwmpq.precision import Precision, precisions
from hwmpq.report import columns, cost_figures, run_figures
from hwmpq.report.columns import BUDGET_TITLES, budget_amount, budget_grid
from hwmpq.report.grid import Column, Flag, make_grid, percent, points, share, times, whole
from hwmpq.report.layer_figure import layer_profile
from hwmpq.report.outcome import accelerator_of, reference_of
from hwmpq.report.page import Block, Card, Cards, Chart, Facts, Listing, Remark, Section
from hwmpq.report.run_tables import (
    TOTAL_OF_BUDGET,
    bits_by_column,
    budget_frame,
    epoch_frame,
    round_frame,
)
from hwmpq.report.sources_page import sources_section
from hwmpq.report.tables import (
    ENERGY_GROUPS,
    average_bits,
    component_frame,
    fold_unchoosable,
    layer_frame,
    summed,
)
from hwmpq.report.training_figure import training_figure
from hwmpq.units import format_bits, format_energy, format_seconds

LONG_TABLE: Final = 30
"""Tables with more rows are folded on the screen."""


def run_sections(run: Run, prefix: str = "") -> tuple[Section, ...]:
    """Everything about one run, in the order in which people ask.

    Args:
        run: read from its folder.
        prefix: put before the anchors, when a page shows several runs.
    """
    sections = [
        Section("asked", "What was asked", (_asked(run),)),
        Section("result", "What came out", tuple(_result(run))),
        Section("layers", "Layer by layer", tuple(_layers(run))),
        Section("parts", "Where the cost goes", tuple(_parts(run))),
        Section("training", "Training and rounds", tuple(_training(run))),
        Section("rounds", "Bits over the rounds", tuple(_rounds(run))),
        sources_section(accelerator_of(run), run.manifest.unpriced, "sources"),
        Section("again", "To reproduce it", tuple(_again(run))),
    ]
    return tuple(Section(f"{prefix}{s.key}", s.title, s.blocks) for s in sections if s.blocks)


def _asked(run: Run) -> Facts:
    manifest = run.manifest
    budgets = (f"{BUDGET_TITLES.get(k, k)} ≤ {v}" for k, v in manifest.budgets.items())
    splits = ", ".join(f"{count:,} {name}" for name, count in manifest.split_sizes.items())
    pins = ", ".join(f"{layer}: {precision}" for layer, precision in manifest.fixed.items())
    pairs = [
        ("network", manifest.workload),
        ("accelerator", manifest.accelerator),
        ("method", manifest.method),
        ("budgets", f"{'; '.join(budgets)} (x is relative to all {manifest.reference})"),
        ("data", f"{manifest.data} ({splits})"),
        ("seed", str(manifest.seed)),
        ("epochs", str(manifest.epochs)),
        ("bits to choose from", _choices(manifest.candidates)),
        ("pinned", pins or "nothing"),
        ("command", manifest.command or "from Python"),
    ]
    return Facts(tuple(pairs))


def _choices(candidates: Sequence[Precision]) -> str:
    """Candidates in short where they are every pair of some widths."""
    weights = sorted({precision.weight_bits for precision in candidates})
    activations = sorted({precision.activation_bits for precision in candidates})
    if set(candidates) == set(precisions(weights, activations)):
        listed = (", ".join(map(str, widths)) for widths in (weights, activations))
        return "weights {}; activations {}".format(*listed)
    return ", ".join(str(precision) for precision in candidates)


def _verdict(run: Run, allocation: Allocation) -> Remark:
    broken = [b.name for b in allocation.budgets if b.achieved > b.limit]
    names = ", ".join(BUDGET_TITLES.get(name, name) for name in broken)
    held = "Every budget holds" if allocation.budgets else "No budget was set"
    start = f"Over budget: {names}." if broken else f"{held}."
    change = run.results.test_accuracy - run.results.float_test_accuracy
    side = "above" if change > 0 else "below" if change < 0 else "equal to"
    distance = f"{abs(100 * change):.2f} points {side}" if change else side
    text = (
        f"{start} Test accuracy {percent(run.results.test_accuracy)}, {distance} the float "
        f"baseline of the same recipe ({percent(run.results.float_test_accuracy)})."
    )
    return Remark(text, "warning" if broken else "good")


def _result(run: Run) -> Iterator[Block]:
    yield _verdict(run, run.results.allocation)
    yield Cards(tuple(_cards(run)))
    if run.results.allocation.budgets:
        frame = budget_frame(run.results.allocation, run.manifest.budgets)
        note = (
            "Slack is what is left. The shadow price is how much the allocator's objective would "
            "fall if the budget grew by one unit (linear relaxation)."
        )
        yield Listing(budget_grid(frame), "Budgets", note)
    for note in run.results.allocation.notes:
        yield Remark(note)


def _cards(run: Run) -> Iterator[Card]:
    results, allocation = run.results, run.results.allocation
    change = results.test_accuracy - results.float_test_accuracy
    detail = f"{points(change)} against float {percent(results.float_test_accuracy)}"
    yield Card(title="Test accuracy", value=percent(results.test_accuracy), detail=detail)
    reports = {report.name: report for report in allocation.budgets}
    spent, base = results.totals.model_dump(), results.reference_totals.model_dump()
    for name in ("latency", "energy", "weight_memory", "peak_activation_memory"):
        field = TOTAL_OF_BUDGET[name]
        yield _cost_card(run, name, spent[field], base[field], reports.get(name))
    weights, activations = average_bits(run.costs, results.assignment)
    pair = f"{weights:.2f} / {activations:.2f}"
    yield Card(
        title="Average bits, W / A", value=pair, detail="by elements, pinned layers included"
    )
    gap = "no bound" if allocation.gap is None else f"gap {percent(allocation.gap)}"
    detail = f"{gap}, {format_seconds(allocation.seconds, 3)} by {allocation.solver}"
    yield Card(title="Last allocation", value=str(allocation.status), detail=detail)


def _cost_card(
    run: Run, name: str, spent: float, base: float, report: BudgetReport | None
) -> Card:
    shows = {
        "latency": format_seconds(spent / run.costs.clock_hz),
        "energy": format_energy(spent),
    }
    parts = [f"{whole(spent)} cycles"] if name == "latency" else []
    if base:
        parts.append(f"{times(spent / base)} of all {run.manifest.reference}")
    flag: Flag = ""
    if report is not None:
        flag = "good" if report.achieved <= report.limit else "bad"
        limit = budget_amount(name, report.limit, report.unit)
        parts.append(f"limit {limit}, slack {share(report.slack / report.limit)}")
    return Card(
        title=BUDGET_TITLES[name].capitalize(),
        value=shows.get(name, format_bits(spent)),
        detail=" · ".join(parts),
        flag=flag,
        filled=min(spent / base, 1.0) if base else None,
        limit=report.limit / base if report is not None and base else None,
    )


def _layers(run: Run) -> Iterator[Block]:
    reference = reference_of(run)
    frame = layer_frame(run.costs, run.results.assignment, reference)
    title = str(run.manifest.reference) if reference is not None else ""
    yield Chart(
        layer_profile(fold_unchoosable(frame), reference=title),
        "Each row is a layer. The coloured bars are the chosen bits, the pale ones behind them "
        f"all {run.manifest.reference}; the black tick is the roofline, which no mapping on this "
        "machine can beat. An arrow marks a bar that goes on.",
    )
    if run.results.codes_per_layer:
        codes = frame["layer"].map(run.results.codes_per_layer)
        frame.insert(4, "codes", codes.astype("Float64"))
    last = {**summed(frame), "layer": "total"}
    note = (
        "Every priced operator in execution order; those without bits run on the vector unit. "
        "Codes counts the different weight values in the saved network."
    )
    grid = make_grid(frame, columns.LAYERS, last)
    yield Listing(grid, "All layers", note, folded=len(frame) > LONG_TABLE)


def _parts(run: Run) -> Iterator[Block]:
    reference = reference_of(run)
    named = {"chosen": run.results.assignment}
    if reference is not None:
        named = {f"all {run.manifest.reference}": reference, **named}
    rows = {title: totals(run.costs, bits) for title, bits in named.items()}
    index = pd.Index(list(rows))
    latency = pd.DataFrame(
        {part: [row[f"{part}_cycles"] for row in rows.values()] for part in ("compute", "stall")},
        index=index,
    )
    energy = pd.DataFrame(
        {group: [row[f"energy_{group}_pj"] for row in rows.values()] for group in ENERGY_GROUPS},
        index=index,
    )
    yield Chart(cost_figures.totals_figure(latency, energy, highlight="chosen"))
    assignments = {"chosen": run.results.assignment}
    if reference is not None:
        assignments["reference"] = reference
    frame = component_frame(run.costs, assignments)
    if "reference" in frame:
        frame["ratio"] = frame["chosen"] / frame["reference"].where(frame["reference"] > 0)
    yield Listing(make_grid(frame, columns.COMPONENTS), "Energy by component")


def _training(run: Run) -> Iterator[Block]:
    if not run.history.epochs:
        return
    rounds = round_frame(run.history, run.results.reference_totals)
    epochs = epoch_frame(run.history.epochs)
    limits = {
        report.name: report.limit / report.reference
        for report in run.results.allocation.budgets
        if report.reference
    }
    names = [n for n in TOTAL_OF_BUDGET if n in limits] or ["latency"]
    titles = {name: BUDGET_TITLES[name] for name in names}
    drawn = rounds.rename(columns={f"{name}_vs_reference": titles[name] for name in names})
    yield Chart(
        training_figure(
            epochs,
            drawn,
            float_accuracy=run.results.float_validation_accuracy,
            costs={titles[name]: limits.get(name) for name in names},
        ),
        "Dotted lines are rounds: green ones changed bits, grey ones left all as they were.",
    )
    if len(rounds):
        rounds["accepted"] = rounds["accepted"].map({True: "yes", False: "kept old bits"})
        yield Listing(make_grid(rounds, columns.ROUNDS), "Rounds")


def _rounds(run: Run) -> Iterator[Block]:
    rounds = run.history.rounds
    if not rounds:
        return
    weights, activations = bits_by_column({str(r.round): r.assignment for r in rounds})
    yield Chart(
        run_figures.bits_over_rounds(weights, activations), "Bits in force after each round."
    )
    chosen = {layer: str(bits) for layer, bits in rounds[-1].allocation.assignment.items()}
    table = run.sensitivity(len(rounds) - 1)
    frame = pd.DataFrame(
        table.values, index=list(table.layers), columns=list(map(str, table.precisions))
    )
    yield Chart(
        run_figures.sensitivity_heatmap(frame, chosen),
        f"Scores of the last allocation ({table.metric}): what each layer would lose at each "
        "precision, in the metric's own unit. Darker is worse; the dot marks what it got.",
    )


def _again(run: Run) -> Iterator[Block]:
    manifest = run.manifest
    pairs = [
        ("created", manifest.created),
        ("hwmpq", manifest.hwmpq_version),
        ("command", manifest.command or "from Python"),
        ("seed", str(manifest.seed)),
        ("device", f"{manifest.device}, {manifest.threads} thread(s)"),
        ("network from", manifest.workload_source or "not stated"),
        ("float training", format_seconds(run.results.seconds_float_training, 3)),
        ("quantised training", format_seconds(run.results.seconds_training, 3)),
        ("scoring and allocating", format_seconds(run.results.seconds_allocating, 3)),
    ]
    yield Facts(tuple(pairs))
    tables = (
        ("Settings", manifest.settings),
        ("Versions", manifest.versions),
        ("Inputs, sha256", manifest.inputs),
    )
    for title, values in tables:
        frame = pd.DataFrame({"name": list(values), "value": list(values.values())})
        grid = make_grid(frame, (Column("name", "name"), Column("value", "value")))
        yield Listing(grid, title)
