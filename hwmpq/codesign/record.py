"""What a run directory holds, as values that go to JSON and back.

::

    manifest.json        what was asked, with versions, seeds and hashes of the inputs (Manifest)
    history.json         every epoch and every round (History)
    results.json         what came out; present only when the run is complete (Results)
    policy.json          {layer: {weight_bits, activation_bits}}
    weights.safetensors  the trained network, shadow weights and quantiser state
    accelerator.json     the accelerator as it was used
    costs.parquet        the cost table
    rounds/NN/           sensitivity.parquet of that allocation
    checkpoint/          state to resume from; removed at the end
    report.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hwmpq.allocate.base import Allocation
from hwmpq.precision import Precision

Phase = Literal["float", "warm-up", "search", "fine-tune"]


class Record(BaseModel):
    """Base of everything that is written as JSON: frozen, no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Totals(Record):
    """Network totals of one assignment on one accelerator."""

    latency_cycles: int
    energy_pj: float
    energy_compute_pj: float
    energy_sram_pj: float
    energy_dram_pj: float
    energy_leakage_pj: float
    weight_memory_bits: int
    peak_activation_memory_bits: int
    bops: int


class EpochRecord(Record):
    """One pass over the training data."""

    epoch: int
    phase: Phase
    train_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


class RoundRecord(Record):
    """One alternation: training, then an allocation.

    Attributes:
        round: counted from 0.
        epoch: epochs of the quantised network that were finished when the allocation was made.
        allocation: the solver's answer.
        accepted: whether the answer replaced the assignment in force (hysteresis may keep the old
            one).
        assignment: bits in force after the round.
        changed_layers: layers whose bits changed.
        totals: costs of the assignment in force.
        sensitivity_file: path inside the run directory, relative to it.
        seconds_allocating: time of scoring and solving.
        note: what the method has to say about the round.
    """

    round: int
    epoch: int
    allocation: Allocation
    accepted: bool
    assignment: Mapping[str, Precision]
    changed_layers: int
    totals: Totals
    sensitivity_file: str
    seconds_allocating: float
    note: str = ""


class History(Record):
    """Everything that happened, in order."""

    float_epochs: tuple[EpochRecord, ...] = ()
    epochs: tuple[EpochRecord, ...] = ()
    rounds: tuple[RoundRecord, ...] = ()


class Manifest(Record):
    """What was asked of a run.

    Attributes:
        settings: the method's and the trainer's settings by name, as text.
        budgets: budgeted quantity -> what was asked for, such as ``0.25x``.
        reference: what relative budgets are relative to.
        candidates: precisions that the allocator may choose from.
        fixed: pinned layers (patterns) -> precision.
        inputs: sha256 of workload, accelerator, data, by name.
        versions: package -> version.
    """

    hwmpq_version: str
    created: str
    command: str = ""
    workload: str
    workload_source: str = ""
    accelerator: str
    method: str
    data: str
    split_sizes: Mapping[str, int]
    seed: int
    device: str
    threads: int
    epochs: int
    settings: Mapping[str, str]
    budgets: Mapping[str, str]
    reference: Precision
    candidates: tuple[Precision, ...]
    fixed: Mapping[str, Precision]
    unpriced: tuple[str, ...] = ()
    inputs: Mapping[str, str]
    versions: Mapping[str, str]


class Results(Record):
    """What came out of a run.

    Attributes:
        assignment: final bits.
        allocation: the final answer, verified against the cost table.
        totals: costs of the final assignment.
        reference_totals: costs of the uniform reference.
        test_accuracy: of the quantised network; the test split is used once, here.
        float_test_accuracy: of the float baseline trained with the same recipe.
        codes_per_layer: distinct weight codes in the saved network, by layer.
    """

    assignment: Mapping[str, Precision]
    allocation: Allocation
    totals: Totals
    reference_totals: Totals
    validation_accuracy: float
    test_accuracy: float
    float_validation_accuracy: float
    float_test_accuracy: float
    codes_per_layer: Mapping[str, int]
    seconds_float_training: float
    seconds_training: float
    seconds_allocating: float
