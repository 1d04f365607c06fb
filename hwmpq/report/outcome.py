"""What runs are compared with, and the accelerator they were made for."""

from __future__ import annotations

from hwmpq.accelerator.loader import read_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.codesign.folder import ACCELERATOR, Run
from hwmpq.precision import Assignment


def reference_of(run: Run) -> Assignment | None:
    """The uniform reference, where the cost table holds it."""
    wanted = run.manifest.reference
    return run.costs.uniform(wanted) if wanted in run.costs.precisions else None


def accelerator_of(run: Run) -> Accelerator:
    """The accelerator as the run used it.

    Raises:
        SpecError: the run directory has no such file, or a broken one.
    """
    return read_accelerator(run.folder / ACCELERATOR)
