"""Hardware-aware co-design simulator for mixed-precision quantisation.

The names below are the public Python API. Those that need torch are imported on first use, so that
``import hwmpq`` and costing start at once.

    accelerator = hwmpq.load_accelerator("bitfusion-isca18")
    workload = hwmpq.load_workload("resnet18")
    costs = hwmpq.cost_table(workload, accelerator, hwmpq.precisions([2, 4, 8], [2, 4, 8]))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from hwmpq.version import __version__

if TYPE_CHECKING:
    from hwmpq import methods, sensitivity
    from hwmpq.accelerator.loader import load_accelerator
    from hwmpq.accelerator.spec import Accelerator
    from hwmpq.allocate.base import Allocation, AllocationProblem
    from hwmpq.allocate.budget import Budget
    from hwmpq.allocate.run import allocate
    from hwmpq.codesign.run import Run, optimize
    from hwmpq.cost.table import CostTable, cost_table
    from hwmpq.data.base import from_arrays, load_data
    from hwmpq.errors import (
        BudgetError,
        HwmpqError,
        InfeasibleError,
        NotFoundError,
        OutputError,
        SpecError,
        TrainingError,
        UnsupportedError,
    )
    from hwmpq.precision import Assignment, Precision, precisions
    from hwmpq.report.html import write_run_report as write_report
    from hwmpq.sensitivity.base import SensitivityTable
    from hwmpq.sweep.result import Sweep
    from hwmpq.sweep.run import run_sweep
    from hwmpq.workload.from_torch import extract
    from hwmpq.workload.graph import Workload
    from hwmpq.workload.loader import load_workload

_HOMES: Final = {
    "Accelerator": "hwmpq.accelerator.spec",
    "Allocation": "hwmpq.allocate.base",
    "AllocationProblem": "hwmpq.allocate.base",
    "Assignment": "hwmpq.precision",
    "Budget": "hwmpq.allocate.budget",
    "BudgetError": "hwmpq.errors",
    "CostTable": "hwmpq.cost.table",
    "HwmpqError": "hwmpq.errors",
    "InfeasibleError": "hwmpq.errors",
    "NotFoundError": "hwmpq.errors",
    "OutputError": "hwmpq.errors",
    "Precision": "hwmpq.precision",
    "Run": "hwmpq.codesign.run",
    "SensitivityTable": "hwmpq.sensitivity.base",
    "SpecError": "hwmpq.errors",
    "Sweep": "hwmpq.sweep.result",
    "TrainingError": "hwmpq.errors",
    "UnsupportedError": "hwmpq.errors",
    "Workload": "hwmpq.workload.graph",
    "allocate": "hwmpq.allocate.run",
    "cost_table": "hwmpq.cost.table",
    "extract": "hwmpq.workload.from_torch",
    "from_arrays": "hwmpq.data.base",
    "load_accelerator": "hwmpq.accelerator.loader",
    "load_data": "hwmpq.data.base",
    "load_workload": "hwmpq.workload.loader",
    "methods": "hwmpq.methods",
    "optimize": "hwmpq.codesign.run",
    "precisions": "hwmpq.precision",
    "run_sweep": "hwmpq.sweep.run",
    "sensitivity": "hwmpq.sensitivity",
    "write_report": "hwmpq.report.html",
}
_RENAMED: Final = {"write_report": "write_run_report"}

__all__ = [
    "Accelerator",
    "Allocation",
    "AllocationProblem",
    "Assignment",
    "Budget",
    "BudgetError",
    "CostTable",
    "HwmpqError",
    "InfeasibleError",
    "NotFoundError",
    "OutputError",
    "Precision",
    "Run",
    "SensitivityTable",
    "SpecError",
    "Sweep",
    "TrainingError",
    "UnsupportedError",
    "Workload",
    "__version__",
    "allocate",
    "cost_table",
    "extract",
    "from_arrays",
    "load_accelerator",
    "load_data",
    "load_workload",
    "methods",
    "optimize",
    "precisions",
    "run_sweep",
    "sensitivity",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'hwmpq' has no attribute '{name}'"
        raise AttributeError(msg)
    module = importlib.import_module(home)
    if home.endswith(f".{name}"):
        return module
    return getattr(module, _RENAMED.get(name, name))


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)
