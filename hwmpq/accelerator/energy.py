"""Energy that flows whether or not anything is computed: leakage and DRAM background power."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from hwmpq.accelerator.spec import Accelerator

PJ_PER_MW_S: Final = 1e9
"""Picojoules of a milliwatt over a second."""


def leakage_mw(accelerator: Accelerator) -> float:
    """Leakage of the array (``compute.leakage_mw``, where the family has it) and the memories.

    What states no leakage adds none: some sources count it in the energy per cycle.
    """
    array = getattr(accelerator.compute, "leakage_mw", None)
    memories = sum(memory.leakage_mw or 0.0 for memory in accelerator.memories)
    return memories + (float(array) if isinstance(array, int | float) else 0.0)


def power_energy_pj(
    power_mw: float, latency_cycles: npt.NDArray[np.int64], clock_hz: float
) -> npt.NDArray[np.float64]:
    """Energy of a constant power over a run time: ``power_mw * cycles / clock_hz * 1e9``."""
    return latency_cycles.astype(np.float64) * (power_mw * PJ_PER_MW_S / clock_hz)


def leakage_energy_pj(
    accelerator: Accelerator, latency_cycles: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Leakage over a run time, the component ``leakage`` of a layer's energy.

    Cost models opt in by their ``behavior``: a file that reproduces a simulator without leakage
    sets ``leakage: false``, and then neither array nor vector unit add any.
    """
    if not counts_leakage(accelerator):
        return np.zeros(latency_cycles.shape, dtype=np.float64)
    return power_energy_pj(leakage_mw(accelerator), latency_cycles, accelerator.clock_hz)


def background_energy_pj(
    accelerator: Accelerator, latency_cycles: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """DRAM's background power over a run time, to be added to the component ``dram``."""
    power = accelerator.dram.background_mw or 0.0
    return power_energy_pj(power, latency_cycles, accelerator.clock_hz)


def counts_leakage(accelerator: Accelerator) -> bool:
    """Whether this accelerator's costs include static energy.

    True unless its ``behavior`` has a field ``leakage`` that says otherwise.
    """
    return bool(getattr(accelerator.behavior, "leakage", True))
