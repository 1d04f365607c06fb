"""Energy that flows whether or not anything is computed: leakage and DRAM background power."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from hwmpq.accelerator.spec import Accelerator

PJ_PER_MW_S: Final = 1e9
"""Picojoules of a milliwatt over a second."""


def static_power_mw(accelerator: Accelerator) -> float:
    """Leakage of array and memories, and background power of DRAM.

    The array's is the optional field ``leakage_mw`` of the family's ``compute``. What states none
    adds none: some sources count leakage in the energy per cycle.
    """
    array = getattr(accelerator.compute, "leakage_mw", None)
    memories = sum(memory.leakage_mw or 0.0 for memory in accelerator.memories)
    background = accelerator.dram.background_mw or 0.0
    return memories + background + (float(array) if isinstance(array, int | float) else 0.0)


def leakage_energy_pj(
    accelerator: Accelerator, latency_cycles: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Static energy over a run time: ``power_mw * cycles / clock_hz * 1e9``.

    It is the component ``leakage`` of a layer's energy. Cost models opt in by their ``behavior``:
    a file that reproduces a simulator without leakage sets ``leakage: false``, and then neither
    array nor vector unit add any.
    """
    power = static_power_mw(accelerator) if counts_leakage(accelerator) else 0.0
    return latency_cycles.astype(np.float64) * (power * PJ_PER_MW_S / accelerator.clock_hz)


def counts_leakage(accelerator: Accelerator) -> bool:
    """Whether this accelerator's costs include static energy.

    True unless its ``behavior`` has a field ``leakage`` that says otherwise.
    """
    return bool(getattr(accelerator.behavior, "leakage", True))
