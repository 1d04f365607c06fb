"""How long a sweep will take, from a few of its points."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hwmpq.sweep.answer import answer, train
from hwmpq.sweep.plan import Plan
from hwmpq.sweep.run import count_points, keep_graphs
from hwmpq.sweep.shared import Shared
from hwmpq.workload.graph import Workload

_TRIED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a sweep will do.

    Attributes:
        points: allocations and training runs.
        variants: accelerators to price, per network and set of precisions.
        tried: points that were run for the estimate.
        shared_s: measuring scores, once.
        variant_s: pricing one variant.
        point_s: answering one point.
        workers: tasks that run at once.
    """

    points: int
    variants: int
    tried: int
    shared_s: float
    variant_s: float
    point_s: float
    workers: int

    @property
    def total_s(self) -> float:
        """Everything, perfectly shared between the workers."""
        busy = self.variants * self.variant_s + self.points * self.point_s
        return self.shared_s + busy / self.workers


def estimate(plan: Plan, workloads: Mapping[str, Workload], workers: int) -> Estimate:
    """Run a few points spread over the product in a folder that is thrown away.

    A training run is tried for one epoch of either network, and taken times its epochs.
    """
    grid = plan.grid
    networks, machines, widths, scores, seeds, _ = grid.shape
    count = count_points(plan.recipe)
    step = max(1, (len(grid) - 1) // max(1, _TRIED - 1))
    tried = sorted({min(number * step, len(grid) - 1) for number in range(_TRIED)})
    shared_s = variant_s = point_s = 0.0
    with TemporaryDirectory(prefix="hwmpq-estimate-") as folder:
        shared = Shared(Path(folder), plan)
        keep_graphs(shared, workloads)
        for number, index in enumerate(tried):
            point = grid.at(index)
            started = time.perf_counter()
            shared.question(point)
            priced = time.perf_counter()
            if point.kind == "sensitivity":
                shared.scores(point)
            scored = time.perf_counter()
            if point.kind == "sensitivity":
                answer(shared, point)
                answered = time.perf_counter() - scored
            else:
                train(shared, point, Path(folder) / f"run-{number}", epochs=1)
                answered = (time.perf_counter() - scored) * epochs_of(plan)
            variant_s += (priced - started) / len(tried)
            shared_s += (scored - priced) / len(tried)
            point_s += answered / len(tried)
    return Estimate(
        points=count,
        variants=networks * machines * widths if plan.recipe.search is None else count,
        tried=len(tried),
        shared_s=shared_s * networks * scores * seeds,
        variant_s=variant_s,
        point_s=point_s,
        workers=workers,
    )


def epochs_of(plan: Plan) -> int:
    """Epochs that a training point asks for."""
    from hwmpq.codesign.job import with_settings
    from hwmpq.codesign.train import Recipe as Training

    return plan.recipe.epochs or with_settings(Training(), plan.recipe.training, "training").epochs
