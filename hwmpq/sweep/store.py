"""Rows on disk: one Parquet file a chunk, written at once, merged when all are there.

Names of chunk files follow from the plan, so whoever finishes a chunk, and however often, the
rows stand there once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hwmpq.files import write_atomic
from hwmpq.sweep.rows import Row

CHUNKS: Final = "chunks"
RESULTS: Final = "results.parquet"
CSV: Final = "results.csv"
_SUFFIX: Final = ".parquet"


class Store:
    """The rows of one sweep.

    Args:
        folder: the sweep folder.
        recipe_hash: files of another recipe do not count.
    """

    def __init__(self, folder: Path, recipe_hash: str) -> None:
        self.folder = folder
        self.recipe_hash = recipe_hash

    def file(self, number: int) -> Path:
        """Where a chunk's rows lie."""
        return self.folder / CHUNKS / f"{number:07d}{_SUFFIX}"

    def write(self, number: int, rows: Sequence[Row], schema: Any) -> None:
        """Store the rows of a chunk, all at once.

        Raises:
            OutputError: the file cannot be written.
        """
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        write_atomic(self.file(number), lambda part: pq.write_table(table, part))

    def read(self, number: int) -> list[Row]:
        """The rows of a finished chunk."""
        rows: list[Row] = pq.read_table(self.file(number)).to_pylist()
        return rows

    def finished(self) -> dict[int, int]:
        """Rows of each finished chunk; files of other recipes and broken ones are removed."""
        found: dict[int, int] = {}
        for file in sorted((self.folder / CHUNKS).glob(f"*{_SUFFIX}")):
            if not file.stem.isdigit():
                continue
            try:
                meta = pq.read_metadata(file)
            except (OSError, pa.ArrowException):
                meta = None
            ours = meta is not None and (meta.metadata or {}).get(b"hwmpq")
            if meta is None or ours != self.recipe_hash.encode():
                file.unlink()
            else:
                found[int(file.stem)] = meta.num_rows
        return found

    def failed(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Chunks that hold a failed row."""
        return tuple(number for number in numbers if "failed" in self._statuses(number))

    def _statuses(self, number: int) -> list[str]:
        found: list[str] = pq.read_table(self.file(number), columns=["status"])[
            "status"
        ].to_pylist()
        return found

    def clean(self) -> None:
        """Remove what a killed writer left half written."""
        for file in (self.folder / CHUNKS).glob(".*.part"):
            file.unlink(missing_ok=True)

    def tables(self, numbers: Iterable[int]) -> Iterator[Any]:
        """Chunks as Arrow tables, one at a time."""
        return (pq.read_table(self.file(number)) for number in numbers)

    def merge(self, numbers: Sequence[int], schema: Any) -> None:
        """Put all rows into one Parquet file and one CSV file, chunk by chunk.

        Raises:
            OutputError: a file cannot be written.
        """

        def parquet(part: Path) -> None:
            with pq.ParquetWriter(part, schema) as writer:
                for table in self.tables(numbers):
                    writer.write_table(table.cast(schema))

        write_csv(
            self.folder / CSV, (table.cast(schema) for table in self.tables(numbers)), schema
        )
        write_atomic(self.folder / RESULTS, parquet)


def write_csv(file: Path, tables: Iterable[Any], schema: Any) -> None:
    """Write rows as CSV, table by table.

    Raises:
        OutputError: the file cannot be written.
    """

    def write(part: Path) -> None:
        with pyarrow.csv.CSVWriter(part, schema) as writer:
            for table in tables:
                writer.write(table)

    write_atomic(file, write)
