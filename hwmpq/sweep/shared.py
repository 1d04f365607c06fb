"""What points share, made once a sweep and kept in its folder, and once a process in memory.

Graphs, scores and the cost tables of variants whose points fill several chunks lie under
``cache/``, named by hashes of everything they depend on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, Generic, TypeVar

from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.question import Question
from hwmpq.cost.liveness import Cut, live_cuts
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.files import write_atomic
from hwmpq.precision import Precision
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.sensitivity.measure import measure_metric, table_file
from hwmpq.sweep.graph_file import load_graph
from hwmpq.sweep.machines import make_variant
from hwmpq.sweep.plan import Plan, chunk_size, plan_of
from hwmpq.sweep.points import Point, digest
from hwmpq.sweep.questions import make_question, weights_of
from hwmpq.sweep.rows import schema
from hwmpq.workload.graph import Workload

CACHE: Final = "cache"
_KEPT: Final = 8
Made = TypeVar("Made")


class _Recent(Generic[Made]):
    """The last few values by key, so that memory does not grow with the number of points."""

    def __init__(self, size: int = _KEPT) -> None:
        self.size = size
        self.values: OrderedDict[Hashable, Made] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        if key not in self.values:
            self.values[key] = make()
            if len(self.values) > self.size:
                self.values.popitem(last=False)
        self.values.move_to_end(key)
        return self.values[key]


class Shared:
    """Makes or finds what the points of one sweep share.

    Attributes:
        folder: the sweep folder.
        plan: of the sweep.
        columns: of its rows.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.columns = schema(plan)
        self._workloads: _Recent[Workload] = _Recent()
        self._variants: _Recent[Accelerator] = _Recent()
        self._questions: _Recent[Question] = _Recent()
        self._scores: _Recent[SensitivityTable] = _Recent()
        self._cuts: _Recent[tuple[Cut, ...]] = _Recent()

    def graph_file(self, name: str) -> Path:
        """Where the graph of a workload lies."""
        return self.folder / CACHE / f"graph-{self.plan.networks[name].sha256[:32]}.json"

    def workload(self, name: str) -> Workload:
        """The graph of a workload."""
        return self._workloads.get(name, lambda: load_graph(self.graph_file(name)))

    def variant(self, point: Point) -> Accelerator:
        """The accelerator of a point.

        Raises:
            SpecError: its values do not fit together.
        """
        return self._variants.get(
            point.variant,
            lambda: make_variant(
                self.plan.place(point.accelerator),
                point.set,
                bandwidth_bits_per_second=self.plan.bandwidth_bits_per_second,
            ),
        )

    def question(self, point: Point) -> Question:
        """Costs and rules of a point, without budget."""
        return self._questions.get(
            self._question_key(point),
            lambda: make_question(
                self.plan.recipe,
                self.workload(point.workload),
                self.variant(point),
                point.precisions,
                self._price,
            ),
        )

    @staticmethod
    def _question_key(point: Point) -> str:
        widths = "" if point.precisions is None else point.precisions.label
        return f"{point.workload}|{point.variant}|{widths}"

    def _price(
        self, workload: Workload, variant: Accelerator, columns: Sequence[Precision]
    ) -> CostTable:
        if not keeps_costs(self.plan):
            return cost_table(workload, variant, columns)
        # The name and bits decide nothing of a cost, but stand in the table.
        parts = [workload.fingerprint, variant.fingerprint, *map(str, columns)]
        file = self.folder / CACHE / f"costs-{digest(parts)}.parquet"
        if not file.is_file():
            made = cost_table(workload, variant, columns)
            write_atomic(file, made.save)
        return CostTable.load(file)

    def scores_file(self, point: Point) -> Path:
        """Where the measured scores of a point lie."""
        recipe = self.plan.recipe
        weights = weights_of(recipe, point.workload)
        network = self.plan.networks[point.workload]
        parts = {
            "metric": point.score,
            "workload": network.sha256,
            "columns": list(network.columns),
            "weights": "" if weights is None else self.plan.inputs.get(weights, ""),
            "data": recipe.data,
            "seed": point.seed,
            "version": self.plan.hwmpq_version,
        }
        return self.folder / CACHE / f"scores-{digest(parts)}.parquet"

    def scores(self, point: Point) -> SensitivityTable:
        """Sensitivities of a point: read from the table it names, else measured once."""
        key = (point.workload, point.score, point.seed)
        return self._scores.get(key, lambda: self._load_scores(point))

    def _load_scores(self, point: Point) -> SensitivityTable:
        if point.score in self.plan.places:
            table = table_file(Path(self.plan.place(point.score)))
            if table is not None:
                return SensitivityTable.load(table)
        file = self.scores_file(point)
        if not file.is_file():
            self._measure(point).save(file)
        return SensitivityTable.load(file)

    def _measure(self, point: Point) -> SensitivityTable:
        recipe = self.plan.recipe
        weights = weights_of(recipe, point.workload)
        return measure_metric(
            point.score,
            self.workload(point.workload),
            self.plan.place(point.workload),
            [Precision.parse(text) for text in self.plan.networks[point.workload].columns],
            weights=None if weights is None else Path(self.plan.place(weights)),
            data=recipe.data,
            seed=point.seed,
            threads=recipe.threads,
        )

    def cuts(self, point: Point) -> tuple[Cut, ...]:
        """Live activations of a point's network on its machine."""
        unit = self.variant(point).vector
        key = (point.workload, unit.element_bits, unit.fused)
        return self._cuts.get(
            key,
            lambda: live_cuts(
                self.workload(point.workload), vector_bits=unit.element_bits, fused=unit.fused
            ),
        )


def keeps_costs(plan: Plan) -> bool:
    """Whether the points of one variant fill several chunks, so that its costs go on disk."""
    if plan.recipe.search is not None:
        return False
    _, _, _, scores, seeds, budgets = plan.grid.shape
    return scores * seeds * budgets > chunk_size(plan)


@lru_cache(maxsize=2)
def shared_of(folder: str, recipe_hash: str) -> Shared:
    """What this process keeps of a sweep."""
    return Shared(Path(folder), plan_of(folder, recipe_hash))
