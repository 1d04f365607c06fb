"""What is asked at a point, before any score: network, machine, costs and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.question import Question, ask
from hwmpq.cost.table import CostTable, cost_model_of, cost_table
from hwmpq.precision import Precision, precisions
from hwmpq.sweep.recipe import Recipe, Widen
from hwmpq.workload.graph import Workload

Price: TypeAlias = Callable[[Workload, Accelerator, Sequence[Precision]], CostTable]


def candidates_of(widths: Widen | None) -> tuple[Precision, ...] | None:
    """Precisions that a point may choose from; None leaves them to the accelerator."""
    if widths is None:
        return None
    return precisions(widths.weight_bits, widths.activation_bits)


def make_question(
    recipe: Recipe,
    workload: Workload,
    variant: Accelerator,
    widths: Widen | None,
    price: Price = cost_table,
) -> Question:
    """The question of all points that differ only in score, seed and budget; it has no budget.

    Raises:
        UnsupportedError: an operator or a precision cannot be priced.
    """
    return ask(
        workload,
        variant,
        Budget(),
        reference=Precision.parse(recipe.reference),
        candidates=candidates_of(widths),
        fixed=recipe.pins,
        price=price,
    )


def price_largest_layer(
    workload: Workload, variant: Accelerator, columns: Sequence[Precision]
) -> None:
    """Price the layer with the most MACs, to learn early what a machine cannot run.

    Raises:
        UnsupportedError: the layer or a precision cannot be priced.
    """
    variant.require(columns)
    model, _ = cost_model_of(workload, variant)
    model.layer_cost(max(workload.multiply_layers, key=lambda each: each.macs), columns, variant)


def columns_of(question: Question) -> tuple[Precision, ...]:
    """Precisions that scores are needed at: candidates and pins."""
    return tuple(dict.fromkeys((*question.candidates, *question.fixed.values())))


def weights_of(recipe: Recipe, workload: str) -> str | None:
    """Trained weights of a workload, if the recipe names any."""
    if isinstance(recipe.weights, str):
        return recipe.weights
    return (recipe.weights or {}).get(workload)


def weights_file(path: Path) -> Path:
    """The file behind weights: itself, or that of a run directory."""
    return path / "weights.safetensors" if path.is_dir() else path
