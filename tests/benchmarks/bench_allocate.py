"""Times of allocation, against the same problems in PuLP with CBC in the same run.

    pytest tests/benchmarks/bench_allocate.py

Each problem is solved by both; ours must not be slower in total nor its objectives worse.
Instances of published size come from a fixed seed, so that the bench needs no third-party table;
with LIMPQ's table beside the repository the real one is timed too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwmpq.allocate.base import AllocationProblem, Resource, Status
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.pareto import pareto_front
from hwmpq.allocate.ties import Tie
from hwmpq.precision import precisions

pulp = pytest.importorskip("pulp", reason="the bench extra is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*PuLP 4.0.*:DeprecationWarning")
LIMPQ = Path(__file__).resolve().parents[3] / "shared" / "reference" / "limpq_resnet50.json"


def instance(layers: int, bits: tuple[int, ...], names: tuple[str, ...], seed: int = 0) -> Any:
    """Layers of varied size and sensitivity; budgets at 0.4 of all layers at their widest."""
    generator = np.random.default_rng(seed)
    columns = precisions(bits, bits)
    w = np.array([p.weight_bits for p in columns])
    a = np.array([p.activation_bits for p in columns])
    level = 10.0 ** generator.uniform(-9, -6, (layers, 1))
    sensitivity = level * (
        4.0**-w * generator.uniform(0.5, 2, (layers, 1))
        + 4.0**-a * generator.uniform(0.1, 1, (layers, 1))
    )
    macs = generator.integers(10**6, 10**8, (layers, 1))
    weights = generator.integers(10**3, 10**6, (layers, 1))
    costs: dict[str, Any] = {
        "latency": macs * w * a // 64 + generator.integers(0, 10**5, (layers, 1)),
        "energy": macs * (w * a) * 0.013 + weights * w * 2.7,
        "weight_memory": weights * w,
    }
    return AllocationProblem(
        layers=tuple(f"layer{index}" for index in range(layers)),
        precisions=columns,
        sensitivity=sensitivity,
        allowed=np.ones(sensitivity.shape, dtype=np.bool_),
        resources=tuple(
            Resource(
                name=name, unit="", costs=costs[name], limit=0.4 * float(costs[name][:, -1].sum())
            )
            for name in names
        ),
    )


def hawq_size() -> AllocationProblem:
    """52 layers, two precisions, one budget, ties, as HAWQ-V3's ResNet-50."""
    problem = instance(52, (4, 8), ("latency",))
    matched = np.array([p.weight_bits == p.activation_bits for p in problem.precisions])
    names = problem.layers
    ties = tuple(Tie((names[index], names[index + 3])) for index in (0, 10, 22, 40))
    return replace(problem, allowed=problem.allowed & matched, ties=ties)


def limpq_size() -> AllocationProblem:
    """52 layers, 25 pairs, two budgets."""
    return instance(52, (2, 3, 4, 5, 6), ("latency", "weight_memory"))


def limpq_published() -> AllocationProblem:
    """LIMPQ's own table."""
    if not LIMPQ.is_file():
        pytest.skip("LIMPQ's table is not beside the repository")
    rows = json.loads(LIMPQ.read_text(encoding="utf-8"))["layers"]
    bits = (2, 3, 4, 5, 6)
    columns = precisions(bits, bits)
    sensitivity = np.array(
        [
            [
                row["activation_importance"][str(p.activation_bits)]
                + 2 * row["weight_importance"][str(p.weight_bits)]
                for p in columns
            ]
            for row in rows
        ]
    )
    macs = np.array([row["macs"] for row in rows], dtype=np.int64)
    weights = np.array([row["weights"] for row in rows], dtype=np.int64)
    bops = np.stack([macs * p.weight_bits * p.activation_bits for p in columns], axis=1)
    memory = np.stack([weights * p.weight_bits for p in columns], axis=1)
    return AllocationProblem(
        layers=tuple(row["layer"] for row in rows),
        precisions=columns,
        sensitivity=sensitivity,
        allowed=np.ones(sensitivity.shape, dtype=np.bool_),
        resources=(
            Resource(name="bops", unit="", costs=bops, limit=12 * int(macs.sum())),
            Resource(
                name="weight_memory",
                unit="",
                costs=memory,
                limit=2 * int(weights.sum()) + 4 * 10**6,
            ),
        ),
    )


def large() -> AllocationProblem:
    """500 layers, 49 pairs, three budgets."""
    return instance(500, tuple(range(2, 9)), ("latency", "energy", "weight_memory"), seed=1)


@dataclass(frozen=True)
class Case:
    """A problem, its time limit and the gap that must be proved."""

    name: str
    problem: AllocationProblem
    seconds: float
    gap: float


def cases() -> list[Case]:
    found = [
        Case("hawq size", hawq_size(), 0.030, 0.0),
        Case("limpq size", limpq_size(), 1.0, 0.0),
        Case("500 layers", large(), 10.0, 1e-3),
    ]
    if LIMPQ.is_file():
        found.insert(2, Case("limpq table", limpq_published(), 1.0, 0.0))
    return found


def solve_by_cbc(problem: AllocationProblem, gap: float) -> float:
    """Objective of the same problem as binaries in PuLP, sensitivities scaled to one."""
    model = pulp.LpProblem("allocation", pulp.LpMinimize)
    scale = float(np.abs(problem.sensitivity).max())
    taken = [
        [
            pulp.LpVariable(f"x_{row}_{column}", cat="Binary") if allowed else None
            for column, allowed in enumerate(allowed_row)
        ]
        for row, allowed_row in enumerate(problem.allowed.tolist())
    ]
    cells = [
        (row, column, variable)
        for row, variables in enumerate(taken)
        for column, variable in enumerate(variables)
        if variable is not None
    ]
    model += pulp.lpSum(problem.sensitivity[r, c] / scale * x for r, c, x in cells)
    for variables in taken:
        model += pulp.lpSum(x for x in variables if x is not None) == 1
    for row in problem.resources:
        unit = float(row.limit)
        model += pulp.lpSum(float(row.costs[r, c]) / unit * x for r, c, x in cells) <= 1
    index = {name: row for row, name in enumerate(problem.layers)}
    for tie in problem.ties:
        first = taken[index[tie.layers[0]]]
        for name in tie.layers[1:]:
            for one, other in zip(first, taken[index[name]], strict=True):
                if one is not None and other is not None:
                    model += one == other
    model.solve(pulp.PULP_CBC_CMD(msg=False, threads=1, gapRel=gap or None, timeLimit=60))
    choices = np.array(
        [
            max((x.value() or 0.0, c) for c, x in enumerate(variables) if x is not None)[1]
            for variables in taken
        ]
    )
    value = problem.objective(choices)
    return value if not problem.exceeded(choices) else float("inf")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_time_of_one_allocation(case: Case, benchmark: Any) -> None:
    allocator = ILP(gap_limit=case.gap)
    found = benchmark.pedantic(
        allocator.solve, args=(case.problem,), rounds=5, iterations=1, warmup_rounds=1
    )
    assert found.gap is not None
    assert found.gap <= max(case.gap, 1e-9)
    assert case.gap or found.status is Status.OPTIMAL
    assert benchmark.stats.stats.min < case.seconds


def test_time_of_a_front_of_fifty_points(benchmark: Any) -> None:
    problem = limpq_published() if LIMPQ.is_file() else limpq_size()
    name = problem.budget_names[0]
    front = benchmark.pedantic(
        pareto_front, args=(problem, name), kwargs={"points": 50}, rounds=1, iterations=1
    )
    assert len(front.points) >= 40
    assert all(point.status is Status.OPTIMAL for point in front.points)
    assert benchmark.stats.stats.min < 5.0


def test_never_slower_in_total_than_cbc_and_never_worse(
    figure: Callable, cpu_seconds: Callable[[], float]
) -> None:
    ours_total = theirs_total = 0.0
    ILP().solve(hawq_size())
    for case in cases():
        started = cpu_seconds()
        ours = ILP(gap_limit=case.gap).solve(case.problem).objective
        between = cpu_seconds()
        theirs = solve_by_cbc(case.problem, case.gap)
        ended = cpu_seconds()
        ours_total += between - started
        theirs_total += ended - between
        figure(
            "Allocation beside PuLP with CBC",
            {
                "problem": case.name,
                "hwmpq, CPU s": between - started,
                "CBC, CPU s": ended - between,
                "times faster": (ended - between) / (between - started),
                "hwmpq, objective": f"{ours:.9g}",
                "CBC, objective": f"{theirs:.9g}",
            },
        )
        assert ours <= theirs * (1 + max(case.gap, 1e-9))
    assert ours_total <= theirs_total
