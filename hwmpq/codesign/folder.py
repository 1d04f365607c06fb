"""The run directory: opened once, written file by file at once, read back as a `Run`."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from hwmpq.accelerator.spec import Accelerator
from hwmpq.codesign.record import History, Manifest, Record, Results
from hwmpq.cost.table import CostTable
from hwmpq.errors import OutputError, Problem, SpecError
from hwmpq.files import require_writable, write_atomic, write_json, write_text
from hwmpq.precision import Assignment
from hwmpq.sensitivity.base import SensitivityTable

MANIFEST: Final = "manifest.json"
HISTORY: Final = "history.json"
RESULTS: Final = "results.json"
POLICY: Final = "policy.json"
COSTS: Final = "costs.parquet"
ACCELERATOR: Final = "accelerator.json"
WEIGHTS: Final = "weights.safetensors"
CHECKPOINT: Final = "checkpoint"
_MADE_BY_RUN: Final = frozenset(
    {MANIFEST, HISTORY, RESULTS, POLICY, COSTS, ACCELERATOR, WEIGHTS, CHECKPOINT, "rounds"}
)
_MAY_DIFFER: Final = frozenset({"created", "command"})
"""Fields of a manifest that a resumed run need not repeat."""
_RESERVE_BYTES: Final = 16 * 2**20
RecordKind = TypeVar("RecordKind", bound=Record)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A complete run, as read from its directory.

    Attributes:
        folder: the directory.
        manifest: what was asked.
        history: every epoch and round.
        results: what came out.
        costs: the cost table that was allocated on.
    """

    folder: Path
    manifest: Manifest
    history: History
    results: Results
    costs: CostTable

    def __repr__(self) -> str:
        """In a notebook, what it is and what came out instead of every number."""
        asked = self.manifest
        return (
            f"Run('{self.folder}': {asked.workload} on {asked.accelerator} by {asked.method}, "
            f"test accuracy {self.results.test_accuracy:.4f})"
        )

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run directory.

        Raises:
            SpecError: it is no run directory, or the run is not complete.
        """
        root = Path(folder)
        if not (root / MANIFEST).is_file():
            rule = "is no run directory (it holds no manifest.json)"
            raise SpecError(str(root), [Problem("folder", rule, fix="Check the path.")])
        if not (root / RESULTS).is_file():
            rule = "holds a run that has not finished"
            fix = "Resume it with the same settings and resume=True, or --resume."
            raise SpecError(str(root), [Problem("folder", rule, fix=fix)])
        return cls(
            folder=root,
            manifest=_read(root / MANIFEST, Manifest),
            history=_read(root / HISTORY, History),
            results=_read(root / RESULTS, Results),
            costs=CostTable.load(root / COSTS),
        )

    def sensitivity(self, round_index: int) -> SensitivityTable:
        """The sensitivities that a round was allocated on.

        Raises:
            SpecError: the file is missing or broken.
        """
        return SensitivityTable.load(
            self.folder / self.history.rounds[round_index].sensitivity_file
        )


def _read(file: Path, kind: type[RecordKind]) -> RecordKind:
    try:
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        rule = f"is not the {kind.__name__.lower()} of a run written by hwmpq ({error})"
        raise SpecError(str(file), [Problem("file", rule)]) from error


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Writes a run's files; each appears whole or not at all."""

    root: Path

    @property
    def checkpoint_file(self) -> Path:
        """Where the state to resume from lies."""
        return self.root / CHECKPOINT / "state.safetensors"

    @property
    def complete(self) -> bool:
        """Whether the run has results."""
        return (self.root / RESULTS).is_file()

    def write(self, name: str, value: Record) -> None:
        """Write one value as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(self.root / name, value.model_dump_json(indent=2) + "\n")

    def write_costs(self, costs: CostTable) -> None:
        """Write the cost table."""
        write_atomic(self.root / COSTS, costs.save)

    def write_accelerator(self, accelerator: Accelerator) -> None:
        """Write the accelerator as it was used."""
        write_text(self.root / ACCELERATOR, accelerator.model_dump_json(indent=2) + "\n")

    def write_sensitivity(self, round_index: int, table: SensitivityTable) -> str:
        """Write a round's sensitivities; returns the path inside the run directory."""
        name = f"rounds/{round_index:02d}/sensitivity.parquet"
        write_atomic(self.root / name, table.save)
        return name

    def write_policy(self, assignment: Assignment) -> None:
        """Write the bits of every layer."""
        write_json(
            self.root / POLICY,
            {
                name: {"weight_bits": bits.weight_bits, "activation_bits": bits.activation_bits}
                for name, bits in assignment.items()
            },
        )

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a binary file."""
        write_atomic(self.root / name, lambda part: part.write_bytes(content))

    def drop_checkpoint(self) -> None:
        """Remove the state to resume from."""
        shutil.rmtree(self.root / CHECKPOINT, ignore_errors=True)


def open_run_folder(
    folder: str | Path, manifest: Manifest, *, resume: bool, overwrite: bool, needed_bytes: int
) -> RunFolder:
    """Make a directory ready for a run, before any training.

    Args:
        folder: where the run goes; made if missing.
        manifest: what is asked; a run to resume must have been asked the same.
        resume: go on with what lies there; an empty directory is begun.
        overwrite: remove a run that lies there.
        needed_bytes: what the run will write, roughly.

    Raises:
        OutputError: the directory holds a run or other files, belongs to another run, or cannot be
            written.
    """
    root = Path(folder)
    existed = root.exists()
    if existed and not root.is_dir():
        msg = f"cannot write the run to '{root}': it is a file; choose another folder"
        raise OutputError(msg)
    found = {entry.name for entry in root.iterdir()} if existed else set()
    if MANIFEST in found:
        if overwrite:
            _remove_run(root)
        elif resume:
            _require_same(root, manifest)
        else:
            state = "a finished" if RESULTS in found else "an unfinished"
            msg = (
                f"'{root}' holds {state} run; resume it (resume=True, --resume), "
                "overwrite it (overwrite=True, --overwrite), or choose another folder"
            )
            raise OutputError(msg)
    elif foreign := sorted(name for name in found if not name.startswith(".")):
        msg = f"'{root}' holds other files ({', '.join(foreign[:3])}); choose an empty folder"
        raise OutputError(msg)
    try:
        require_writable(root)
        _require_space(root, needed_bytes)
    except OutputError:
        if not existed and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
        raise
    return RunFolder(root)


def _remove_run(root: Path) -> None:
    # results.json first: what is left of a removal that fails half-way is no finished run.
    (root / RESULTS).unlink(missing_ok=True)
    for name in _MADE_BY_RUN - {RESULTS, MANIFEST}:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)


def _require_same(root: Path, asked: Manifest) -> None:
    before = _read(root / MANIFEST, Manifest).model_dump(mode="json", exclude=set(_MAY_DIFFER))
    now = json.loads(asked.model_dump_json(exclude=set(_MAY_DIFFER)))
    different = [name for name in now if now[name] != before[name]]
    if different:
        shown = "; ".join(
            f"{name} was {before[name]!r} and is now {now[name]!r}" for name in different[:3]
        )
        msg = f"cannot resume '{root}': it was started with other settings ({shown})"
        raise OutputError(msg)


def _require_space(root: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(root).free
    needed = needed_bytes + _RESERVE_BYTES
    if free < needed:
        msg = (
            f"cannot write the run to '{root}': about {needed // 2**20} MiB are needed and "
            f"{free // 2**20} MiB are free. Choose another folder with -o, or free space there"
        )
        raise OutputError(msg)
