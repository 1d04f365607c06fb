"""A hand-made run: costs, history and results that hang together, without training anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator
from hwmpq.allocate.base import Allocation, BudgetReport, Status
from hwmpq.codesign.folder import HISTORY, MANIFEST, RESULTS, Run, RunFolder
from hwmpq.codesign.record import EpochRecord, History, Manifest, Results, RoundRecord, Totals
from hwmpq.cost.table import CostTable
from hwmpq.precision import Precision, precisions
from hwmpq.sensitivity.base import SensitivityTable

REFERENCE = Precision(8, 8)
CHOICES = precisions((2, 4, 8), (4, 8))
EVIL = "<script>alert(1)</script>"


PROVENANCE = {
    "": "a paper",
    "memories[0]": "CACTI 7",
    "memories[0].size_bits": "table 2 of the paper",
    "vector.lanes": "assumed: one a column",
}


def make_accelerator(name: str = "toy-array") -> Accelerator:
    changes = {"name": name, "provenance": PROVENANCE, "uncertainties": {"dram": 0.3}}
    return load_accelerator("systolic-32x32").model_copy(update=changes)


def make_costs(names: Sequence[str], *, accelerator: str = "toy-array") -> CostTable:
    """Cycles go with the product of the bits; every fourth layer waits; one pool at the end."""
    layers = (*names, "pool")
    count = len(names)
    macs = np.array([1000 * (8 + 5 * (i % 4)) for i in range(count)] + [0], dtype=np.int64)
    product = np.array([p.weight_bits * p.activation_bits for p in CHOICES], dtype=np.int64)
    weights = np.array([p.weight_bits for p in CHOICES], dtype=np.int64)
    inputs = np.array([p.activation_bits for p in CHOICES], dtype=np.int64)
    compute = macs[:, None] * product // 64 // 16
    compute[-1] = 50
    traffic = (macs[:, None] // 10) * weights + 640
    slow = (np.arange(count + 1) % 4 == 3)[:, None]
    stall = np.where(slow, traffic // 4, 0).astype(np.int64)
    stall[-1] = 0
    energy = {
        "compute.array": macs[:, None] * product / 640.0,
        "sram.weight_buffer": traffic * 0.5,
        "dram": traffic * 2.0,
        "leakage": np.zeros(traffic.shape),
    }
    energy["compute.array"][-1] = 5.0
    total = sum(energy.values())
    columns = {
        "compute_cycles": compute,
        "stall_cycles": stall,
        "latency_cycles": compute + stall,
        "dram_read_bits": traffic,
        "dram_write_bits": traffic // 8,
        "sram_read_bits": traffic * 4,
        "sram_write_bits": traffic,
        "weight_memory_bits": (macs[:, None] // 50) * weights,
        "activation_memory_bits": np.full_like(traffic, 512) * inputs,
        "energy_pj": total,
        "energy_compute_pj": energy["compute.array"],
        "energy_sram_pj": energy["sram.weight_buffer"],
        "energy_dram_pj": energy["dram"],
        "energy_leakage_pj": energy["leakage"],
        "utilization": np.full(traffic.shape, 0.8),
        "bops": macs[:, None] * product,
        "compute_bound_cycles": (compute * 4) // 5,
        "compulsory_dram_bits": traffic,
        "latency_bound_cycles": np.maximum((compute * 4) // 5, 1),
        **{f"energy_pj.{name}": values for name, values in energy.items()},
    }
    for values in columns.values():
        values[-1] = values[-1, -1]
    return CostTable(
        workload="toy-net",
        accelerator=accelerator,
        clock_hz=500_000_000,
        layers=layers,
        ops=(*(["conv2d"] * count), "avg_pool2d"),
        macs=macs,
        choosable=np.array([True] * count + [False]),
        precisions=CHOICES,
        columns=columns,
    )


def make_totals(costs: CostTable, assignment: Mapping[str, Precision]) -> Totals:
    whole = ("latency_cycles", "weight_memory_bits", "bops")
    parts = ("energy_pj", "energy_compute_pj", "energy_sram_pj", "energy_dram_pj")
    return Totals(
        **{name: int(costs.total(name, assignment)) for name in whole},
        **{name: costs.total(name, assignment) for name in parts},
        energy_leakage_pj=costs.total("energy_leakage_pj", assignment),
        peak_activation_memory_bits=8192,
    )


def make_allocation(
    costs: CostTable, assignment: Mapping[str, Precision], *, limit: float
) -> Allocation:
    spent = costs.total("latency_cycles", assignment)
    report = BudgetReport(
        name="latency",
        unit="cycles",
        limit=limit,
        achieved=spent,
        reference=costs.total("latency_cycles", costs.uniform(REFERENCE)),
        least=costs.total("latency_cycles", costs.uniform(Precision(2, 4))),
        shadow_price=0.0125,
    )
    return Allocation(
        assignment=assignment,
        objective=1.25,
        status=Status.OPTIMAL,
        bound=1.25,
        budgets=(report,),
        solver="CP-SAT 9.15",
        seconds=0.012,
        notes=("the search ended with a proof",),
    )


def _bits(names: Sequence[str], turn: int) -> dict[str, Precision]:
    inner = (Precision(2, 4), Precision(4, 4), Precision(4, 8), Precision(2, 8))
    ends = {names[0], names[-1]}
    return {
        name: REFERENCE if name in ends else inner[(i * (1 + turn // 2) + turn) % len(inner)]
        for i, name in enumerate(names)
    }


def make_run(
    folder: Path,
    *,
    names: Sequence[str] = ("conv1", EVIL, "layer1.0.conv2", "fc"),
    rounds: int = 3,
    seed: int = 0,
    method: str = "bmpq",
    accuracy: float = 0.9625,
    epochs_per_round: int = 2,
    unpriced: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
    note: str = "",
) -> Run:
    files = RunFolder(folder)
    costs = make_costs(names)
    limit = 0.9 * costs.total("latency_cycles", costs.uniform(REFERENCE))
    history = []
    for turn in range(rounds):
        bits = _bits(names, turn)
        scores = np.array(
            [
                [(8 - p.weight_bits) * (8.5 - p.activation_bits) / (1 + i) for p in CHOICES]
                for i, _ in enumerate(names)
            ]
        )
        table = SensitivityTable(
            layers=tuple(names), precisions=CHOICES, values=scores, metric="bit_gradient"
        )
        history.append(
            RoundRecord(
                round=turn,
                epoch=(turn + 1) * epochs_per_round,
                allocation=make_allocation(costs, bits, limit=limit),
                accepted=turn != 1,
                assignment=bits,
                changed_layers=2,
                totals=make_totals(costs, bits),
                sensitivity_file=files.write_sensitivity(turn, table),
                seconds_allocating=0.25,
                note=note,
            )
        )
    count = (rounds + 2) * epochs_per_round
    epochs = tuple(
        EpochRecord(
            epoch=i,
            phase="search" if i < rounds * epochs_per_round else "fine-tune",
            train_loss=2.0 / (1 + i),
            validation_accuracy=1 - 0.8 / (1 + i),
            learning_rate=0.1,
            seconds=0.5,
        )
        for i in range(count)
    )
    final = _bits(names, max(rounds - 1, 0))
    results = Results(
        assignment=final,
        allocation=make_allocation(costs, final, limit=limit),
        totals=make_totals(costs, final),
        reference_totals=make_totals(costs, costs.uniform(REFERENCE)),
        validation_accuracy=0.97,
        test_accuracy=accuracy,
        float_validation_accuracy=0.985,
        float_test_accuracy=0.9750,
        codes_per_layer={name: 2 ** final[name].weight_bits for name in names},
        seconds_float_training=12.0,
        seconds_training=34.0,
        seconds_allocating=0.75,
    )
    manifest = Manifest(
        hwmpq_version="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        command="hwmpq optimize toy-net -a toy-array --latency 0.9x",
        workload="toy-net",
        accelerator="toy-array",
        method=method,
        data="digits",
        split_sizes={"train": 1000, "validation": 300, "test": 497},
        seed=seed,
        device="cpu",
        threads=1,
        epochs=count,
        settings=settings or {"recipe.learning_rate": "0.1"},
        budgets={"latency": "0.9x"},
        reference=REFERENCE,
        candidates=CHOICES,
        fixed={names[0]: REFERENCE, names[-1]: REFERENCE},
        unpriced=unpriced,
        inputs={"workload": "ab12", "accelerator": "cd34"},
        versions={"torch": "2.13.0"},
    )
    files.write(MANIFEST, manifest)
    files.write(HISTORY, History(epochs=epochs, rounds=tuple(history)))
    files.write(RESULTS, results)
    files.write_costs(costs)
    files.write_accelerator(make_accelerator())
    return Run.load(folder)


@pytest.fixture
def accelerator() -> Accelerator:
    return make_accelerator()


@pytest.fixture
def costs() -> CostTable:
    return make_costs(("conv1", EVIL, "layer1.0.conv2", "fc"))


@pytest.fixture
def build_costs() -> Callable[..., CostTable]:
    return make_costs


@pytest.fixture
def build_run(tmp_path: Path) -> Callable[..., Run]:
    def build(name: str = "run", **changes: object) -> Run:
        return make_run(tmp_path / name, **changes)

    return build


@pytest.fixture
def run(build_run: Callable[..., Run]) -> Run:
    return build_run()
