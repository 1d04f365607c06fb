"""A sweep that was run, as read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from hwmpq.errors import Problem, SpecError
from hwmpq.precision import Precision
from hwmpq.sweep.plan import Plan, plan_of
from hwmpq.sweep.points import Point
from hwmpq.sweep.rows import read_bits
from hwmpq.sweep.store import RESULTS, write_csv


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """The rows of a sweep.

    Attributes:
        folder: where it lies.
        plan: what was asked.
    """

    folder: Path
    plan: Plan

    @classmethod
    def load(cls, folder: str | Path) -> Sweep:
        """Read a sweep folder.

        Raises:
            SpecError: no sweep, or one that has not finished.
        """
        root = Path(folder)
        plan = Plan.load(root)
        if not (root / RESULTS).is_file():
            rule = "holds a sweep that has not finished"
            raise SpecError(str(root), [Problem("folder", rule, fix="Go on with --resume.")])
        return cls(folder=root, plan=plan_of(str(root), plan.recipe_hash))

    def to_pandas(self) -> pd.DataFrame:
        """One row a point; bits as text, one ``weights/activations`` a layer."""
        frame: pd.DataFrame = pq.read_table(self.folder / RESULTS).to_pandas()
        return frame

    def write_csv(self, file: Path) -> None:
        """Write the rows as CSV, a part at a time.

        Raises:
            OutputError: the file cannot be written.
        """
        rows = pq.ParquetFile(self.folder / RESULTS)
        write_csv(file, rows.iter_batches(), rows.schema_arrow)

    def assignment(self, row: Mapping[str, object]) -> dict[str, Precision]:
        """Bits by layer of one row, such as ``frame.loc[3]``; empty where there is no answer."""
        bits = row["bits"]
        if not isinstance(bits, str):
            return {}
        return read_bits(bits, self.plan.networks[str(row["workload"])].layers)

    def point(self, row: Mapping[str, object]) -> Point:
        """What was asked at one row."""
        grid = self.plan.grid
        if self.plan.recipe.search is None:
            return grid.at(int(str(row["point"])))
        base = grid.at(0)
        changes = {
            path: next(
                value for value in self.plan.recipe.set[path] if value == row[f"set.{path}"]
            )
            for path in base.set
        }
        return replace(base, index=int(str(row["point"])), set=changes)
