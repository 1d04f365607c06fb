"""Published allocations, from the tables that their authors put out.

The tables are third party and are not part of this repository; the tests read them from
``../shared/reference`` beside it and are skipped where they are absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem, Resource, Status
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.ties import Tie
from hwmpq.precision import Precision, precisions

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "reference"
HAWQ_BUDGETS = [
    f"{name}_{share}" for name in ("modelsize", "bops", "latency") for share in (0.75, 0.5, 0.25)
]


def published(name: str) -> dict[str, Any]:
    file = FOLDER / name
    if not file.is_file():
        pytest.skip(f"third-party table {name} is not beside the repository")
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def limpq(macs_key: str) -> tuple[AllocationProblem, dict[str, Precision]]:
    """LIMPQ's ResNet-50: 52 layers, 25 pairs, BitOPs and size (search.py of 1hunters/LIMPQ)."""
    data = published("limpq_resnet50.json")
    bits = (2, 3, 4, 5, 6)
    columns = precisions(bits, bits)
    rows = data["layers"]
    macs = np.array([row[macs_key] for row in rows], dtype=np.int64)
    weights = np.array([row["weights"] for row in rows], dtype=np.int64)
    on_weights = {b: np.array([row["weight_importance"][str(b)] for row in rows]) for b in bits}
    on_activations = {
        b: np.array([row["activation_importance"][str(b)] for row in rows]) for b in bits
    }
    sensitivity = np.stack(
        [on_activations[p.activation_bits] + 2 * on_weights[p.weight_bits] for p in columns],
        axis=1,
    )

    def in_order(scores: dict[int, np.ndarray[Any, Any]], b: int) -> np.ndarray[Any, Any]:
        # an entry below that of the next higher width is an outlier and forbidden
        return scores[b] >= scores[b + 1] if b < 6 else np.ones(len(rows), dtype=bool)

    allowed = np.stack(
        [
            in_order(on_weights, p.weight_bits) & in_order(on_activations, p.activation_bits)
            for p in columns
        ],
        axis=1,
    )
    ends = data["constraints"]["first_layer_weights"] + data["constraints"]["last_layer_weights"]
    problem = AllocationProblem(
        layers=tuple(row["layer"] for row in rows),
        precisions=columns,
        sensitivity=sensitivity,
        allowed=allowed,
        resources=(
            Resource(
                name="bops",
                unit="operations",
                costs=np.stack([macs * p.weight_bits * p.activation_bits for p in columns], 1),
                limit=12 * int(macs.sum()),
            ),
            Resource(
                name="weight_memory",
                unit="bits",
                costs=np.stack([weights * p.weight_bits for p in columns], 1),
                constant=8 * ends,
                limit=32 * (int(weights.sum()) + ends) / 12.2,
            ),
        ),
    )
    policy = {
        row["layer"]: Precision(row["published_weight_bits"], row["published_activation_bits"])
        for row in rows
    }
    return problem, policy


def agreement(first: dict[str, Precision], second: dict[str, Precision]) -> tuple[int, int]:
    weights = sum(first[name].weight_bits == second[name].weight_bits for name in first)
    activations = sum(
        first[name].activation_bits == second[name].activation_bits for name in first
    )
    return weights, activations


def test_limpq_resnet50_with_correct_macs() -> None:
    problem, policy = limpq("macs")
    found = ILP().solve(problem)
    assert found.status is Status.OPTIMAL
    assert found.objective == pytest.approx(4.630866, abs=5e-7)
    assert found.gap is not None
    assert found.gap < 1e-12
    assert agreement(dict(found.assignment), policy) == (49, 50)
    # the published policy breaks its own BitOPs budget when outputs are counted right
    choices = problem.choices(policy)
    assert problem.exceeded(choices) == ("bops",)
    overshoot = problem.achieved("bops", choices) / problem.rows_of("bops")[0].limit
    assert overshoot == pytest.approx(1.00485, abs=5e-6)


def test_limpq_resnet50_with_unfloored_macs_is_the_published_policy() -> None:
    problem, policy = limpq("macs_unfloored")
    found = ILP().solve(problem)
    assert found.status is Status.OPTIMAL
    assert found.objective == pytest.approx(4.617439, abs=5e-7)
    assert agreement(dict(found.assignment), policy) == (52, 52)


def hawq(budget: str) -> tuple[AllocationProblem, dict[str, Precision]]:
    """HAWQ-V3's ResNet-18: 4 or 8 bits, three tied pairs, one budget (ILP.ipynb of HAWQ)."""
    data = published("hawq_v3_resnet18.json")
    kind, share = budget.split("_")
    layers = tuple(data["layers"])
    trace = np.array(data["hutchinson_trace"])
    four, eight = data["weight_error_4bit_squared"], data["weight_error_8bit_squared"]
    gain = trace * (np.array(four) - np.array(eight))
    if kind == "modelsize":
        at_eight = np.array(data["size_mib_8bit"])
        at_four = at_eight / 2
    elif kind == "bops":
        at_eight, at_four = (np.array(data["bops_g_fp32"]) / over for over in (16, 64))
    else:
        at_eight, at_four = (np.array(data[f"latency_ms_int{b}"]) for b in (8, 4))
    limit = at_four.sum() + float(share) * (at_eight.sum() - at_four.sum())
    problem = AllocationProblem(
        layers=layers,
        precisions=(Precision(4, 4), Precision(8, 8)),
        sensitivity=np.stack([gain, np.zeros_like(gain)], axis=1),
        allowed=np.ones((len(layers), 2), dtype=bool),
        resources=(
            Resource(name=kind, unit="", costs=np.stack([at_four, at_eight], axis=1), limit=limit),
        ),
        ties=tuple(Tie((layers[a], layers[b])) for a, b in data["tied_pairs"]),
    )
    policy = {
        name: Precision(bits, bits)
        for name, bits in zip(layers, data["published_bits"][budget], strict=True)
    }
    return problem, policy


@pytest.mark.parametrize("budget", HAWQ_BUDGETS)
def test_hawq_v3_resnet18_maps(budget: str) -> None:
    problem, policy = hawq(budget)
    found = ILP().solve(problem)
    assert found.status is Status.OPTIMAL
    assert found.assignment == policy
