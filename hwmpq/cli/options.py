"""Options that several verbs share.

Verbs import what they run inside their functions, so that ``hwmpq --help`` starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from hwmpq.errors import BudgetError, NotFoundError
from hwmpq.precision import Precision, precisions

if TYPE_CHECKING:
    from hwmpq.allocate.budget import Budget

WorkloadName: TypeAlias = Annotated[
    str, typer.Argument(metavar="WORKLOAD", help="A shipped workload's name, or a path.")
]
AcceleratorName: TypeAlias = Annotated[
    str,
    typer.Option("--accelerator", "-a", metavar="ACCELERATOR", help="A shipped name, or a path."),
]
AcceleratorNames: TypeAlias = Annotated[
    list[str],
    typer.Option(
        "--accelerator",
        "-a",
        metavar="ACCELERATOR",
        help="A shipped name, or a path; repeat to compare.",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Batch: TypeAlias = Annotated[
    int, typer.Option("--batch", min=1, metavar="N", help="Samples that run together.")
]
Exempt: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--exempt", metavar="NAME", help="Leave this operator unpriced and list it; patterns work."
    ),
]
Set: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change the accelerator, such as compute.rows=8; repeatable.",
    ),
]
Reference: TypeAlias = Annotated[
    str, typer.Option("--reference", metavar="W/A", help="What 0.5x is relative to.")
]
Latency: TypeAlias = Annotated[
    str | None, typer.Option("--latency", metavar="0.5x|3ms|CYCLES", help="Latency budget.")
]
Energy: TypeAlias = Annotated[
    str | None, typer.Option("--energy", metavar="0.5x|2mJ", help="Energy budget.")
]
WeightMemory: TypeAlias = Annotated[
    str | None,
    typer.Option("--weight-memory", metavar="0.5x|500KiB", help="Weight storage budget."),
]
PeakActivationMemory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--peak-activation-memory", metavar="0.5x|64KiB", help="Peak activation memory budget."
    ),
]
Bops: TypeAlias = Annotated[
    str | None, typer.Option("--bops", metavar="0.5x|34Gops", help="Bit-operations budget.")
]
AverageWeightBits: TypeAlias = Annotated[
    str | None,
    typer.Option("--average-weight-bits", metavar="BITS", help="Mean bits per weight."),
]
AverageActivationBits: TypeAlias = Annotated[
    str | None,
    typer.Option("--average-activation-bits", metavar="BITS", help="Mean bits per activation."),
]
WeightBitChoices: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--weight-bits", metavar="2,4,8|2..8", help="Widths to choose from, for weights."
    ),
]
ActivationBitChoices: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--activation-bits", metavar="2,4,8|2..8", help="Widths to choose from, for activations."
    ),
]
Fix: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--fix", metavar="LAYER=W/A", help="Pin layers; patterns work; repeatable."),
]
Seed: TypeAlias = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Seeds: TypeAlias = Annotated[
    str | None,
    typer.Option("--seeds", metavar="0,1,2|0..4", help="A run with each, and their spread."),
]
Device: TypeAlias = Annotated[str, typer.Option("--device", help="Torch device.")]
Threads: TypeAlias = Annotated[
    int, typer.Option("--threads", min=1, help="CPU threads; one is fastest for small networks.")
]
CsvFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Write one row per layer and precision."),
]
ReportFolder: TypeAlias = Annotated[
    Path | None, typer.Option("--report", metavar="DIR", help="Write an HTML report.")
]


def parse_assignments(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read ``key=value`` options.

    Raises:
        BudgetError: an entry without ``=``, or a key given twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not separator or not key.strip() or not value.strip():
            msg = f"{option} takes KEY=VALUE, but got '{text}'"
            raise BudgetError(msg)
        if key.strip() in found:
            msg = f"{option} names '{key.strip()}' twice"
            raise BudgetError(msg)
        found[key.strip()] = value.strip()
    return found


def parse_bits(text: str) -> tuple[int, ...]:
    """Read bit-widths as ``2,4,8`` or ``2..8``.

    Raises:
        BudgetError: neither form, or no width.

    >>> parse_bits("2..4,8")
    (2, 3, 4, 8)
    """
    return _parse_whole(text, "bit-widths", least=1)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds as ``0,1,2`` or ``0..2``.

    Raises:
        BudgetError: neither form, or none.

    >>> parse_seeds("0..2")
    (0, 1, 2)
    """
    return _parse_whole(text, "seeds", least=0)


def _parse_whole(text: str, what: str, *, least: int) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        try:
            low = int(first)
            high = int(last) if dots else low
        except ValueError:
            msg = f"{what} are given as 2,4,8 or 2..8, but got '{text}'"
            raise BudgetError(msg) from None
        numbers.extend(range(low, high + 1))
    if not numbers or min(numbers) < least:
        msg = f"{what} must be at least {least}, but got '{text}'"
        raise BudgetError(msg)
    return tuple(dict.fromkeys(numbers))


def parse_fixed(texts: Sequence[str] | None) -> dict[str, Precision]:
    """Read pins such as ``conv1=8/8``."""
    entries = parse_assignments(texts, "--fix")
    return {layer: Precision.parse(value) for layer, value in entries.items()}


def parse_candidates(
    weight_bits: str | None, activation_bits: str | None
) -> tuple[Precision, ...] | None:
    """Precisions to choose from; None leaves the choice to the method.

    Raises:
        BudgetError: only one of the two is given.
    """
    if weight_bits is None and activation_bits is None:
        return None
    if weight_bits is None or activation_bits is None:
        msg = "give both --weight-bits and --activation-bits, or neither"
        raise BudgetError(msg)
    return precisions(parse_bits(weight_bits), parse_bits(activation_bits))


def parse_ablation(text: str | None) -> Literal["reversed", "random"] | None:
    """Read the name of an ablation.

    Raises:
        NotFoundError: there is none of that name.
    """
    known: dict[str | None, Literal["reversed", "random"] | None] = {
        None: None,
        "reversed": "reversed",
        "random": "random",
    }
    if text in known:
        return known[text]
    kind = "ablation"
    raise NotFoundError(kind, str(text), ("reversed", "random"))


def make_budget(
    *,
    latency: str | None,
    energy: str | None,
    weight_memory: str | None,
    peak_activation_memory: str | None,
    bops: str | None,
    average_weight_bits: str | None,
    average_activation_bits: str | None,
) -> Budget:
    """The budget that the options ask for."""
    from hwmpq.allocate.budget import Budget

    return Budget(
        latency=latency,
        energy=energy,
        weight_memory=weight_memory,
        peak_activation_memory=peak_activation_memory,
        bops=bops,
        average_weight_bits=average_weight_bits,
        average_activation_bits=average_activation_bits,
    )
