"""Answering one point: an allocation, or a training run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hwmpq.accelerator.area import area_mm2
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.question import Question
from hwmpq.errors import HwmpqError, InfeasibleError, OutputError
from hwmpq.sweep.machines import excess_area
from hwmpq.sweep.points import Point
from hwmpq.sweep.questions import candidates_of
from hwmpq.sweep.rows import Row, answered, asked, out_of_reach
from hwmpq.sweep.shared import Shared

if TYPE_CHECKING:
    from hwmpq.codesign.run import Run

RUNS: Final = "runs"
FAILURES: Final = (
    HwmpqError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a point may raise without ending the sweep; interrupts and exits do end it."""


def question_at(shared: Shared, point: Point) -> Question:
    """Costs, rules and budget of a point."""
    return dataclasses.replace(shared.question(point), budget=Budget.from_mapping(point.budget))


def answer(shared: Shared, point: Point, *, retries: int = 0) -> Row:
    """The row of a point; what goes wrong becomes a row, too.

    Faults of the input are final. Others, such as a full disk, are tried again ``retries`` times.
    """
    row = asked(shared.plan, point, shared.columns)
    for attempt in range(retries + 1):
        try:
            return row | _answer(shared, point)
        except FAILURES as error:
            final = isinstance(error, HwmpqError) and not isinstance(error, OutputError)
            if final or attempt == retries:
                return row | {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    return row


def _answer(shared: Shared, point: Point) -> Row:
    variant = shared.variant(point)
    excess = excess_area(variant, shared.plan.area_limit_mm2)
    if excess:
        return {
            "status": "excluded",
            "error": excess,
            "area_mm2": area_mm2(variant).total_mm2,
        }
    question = question_at(shared, point)
    try:
        if point.kind == "method":
            return _train(shared, point, question)
        found = ILP().solve(question.problem(shared.scores(point)))
    except InfeasibleError as error:
        return out_of_reach(question, error)
    return answered(question, shared.cuts(point), found)


def _train(shared: Shared, point: Point, question: Question) -> Row:
    run = train(shared, point, shared.folder / RUNS / point.key(shared.plan.recipe_hash))
    results = run.results
    return answered(question, shared.cuts(point), results.allocation) | {
        "accuracy": results.test_accuracy,
        "float_accuracy": results.float_test_accuracy,
        "run": run.folder.relative_to(shared.folder).as_posix(),
    }


def train(shared: Shared, point: Point, out: Path, *, epochs: int | None = None) -> Run:
    """The training run of a point; one that was stopped goes on where it was.

    Args:
        shared: the sweep.
        point: a point of a method.
        out: the run directory.
        epochs: instead of the recipe's.
    """
    from hwmpq import registry
    from hwmpq.codesign.job import with_settings
    from hwmpq.codesign.run import optimize
    from hwmpq.codesign.train import Recipe as Training

    recipe = shared.plan.recipe
    return optimize(
        shared.plan.place(point.workload),
        recipe.data,
        shared.variant(point),
        method=with_settings(registry.resolve("method", point.score), recipe.settings, "settings"),
        budget=Budget.from_mapping(point.budget),
        out=out,
        recipe=with_settings(Training(), recipe.training, "training"),
        epochs=epochs or recipe.epochs,
        seed=point.seed,
        device=recipe.device,
        threads=recipe.threads,
        reference=shared.question(point).reference,
        candidates=candidates_of(point.precisions),
        fixed=recipe.pins,
        resume=True,
        progress=False,
    )
