"""Opening a sweep folder: fresh, to go on with, or to start anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from hwmpq.errors import OutputError
from hwmpq.files import require_writable
from hwmpq.sweep.plan import PLAN, Plan, changed
from hwmpq.sweep.store import CHUNKS, CSV, RESULTS

ANSWERS: Final = ("fronts.csv", "transfer.csv", "energy.csv")
_MADE: Final = (CHUNKS, "cache", "runs", RESULTS, CSV, "recipe.yaml", *ANSWERS)


def open_sweep_folder(folder: Path, plan: Plan, *, resume: bool, overwrite: bool) -> None:
    """Make a folder ready for a plan.

    Args:
        folder: made if missing.
        plan: a sweep to resume must be of the same.
        resume: go on with what lies there; an empty folder is begun.
        overwrite: remove a sweep that lies there.

    Raises:
        OutputError: the folder holds a sweep or other files, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"cannot write the sweep to '{folder}': it is a file; choose another folder"
        raise OutputError(msg)
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if PLAN in found:
        if overwrite:
            remove_sweep(folder)
        elif resume:
            _require_same(folder, plan)
        else:
            msg = (
                f"'{folder}' holds a sweep; go on with it (--resume), replace it (--overwrite), "
                "or choose another folder with -o"
            )
            raise OutputError(msg)
    elif foreign := sorted(name for name in found if not name.startswith(".")):
        msg = f"'{folder}' holds other files ({', '.join(foreign[:3])}); choose an empty folder"
        raise OutputError(msg)
    require_writable(folder)
    plan.save(folder)


def _require_same(folder: Path, plan: Plan) -> None:
    before = Plan.load(folder)
    if before.recipe_hash != plan.recipe_hash:
        what = ", ".join(changed(before, plan)[:5]) or "the recipe"
        msg = (
            f"cannot resume '{folder}': it was started with another recipe; changed: {what}. "
            "Start it anew with --overwrite, or choose another folder with -o"
        )
        raise OutputError(msg)


def remove_sweep(folder: Path) -> None:
    """Remove what a sweep wrote; the plan goes last, so that half a removal is still a sweep."""
    for name in _MADE:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (folder / PLAN).unlink(missing_ok=True)
