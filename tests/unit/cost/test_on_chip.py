"""Working sets and residency as columns of the cost table."""

import numpy as np
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.spec import Accelerator, Memory
from hwmpq.cost.memory import residency
from hwmpq.cost.on_chip import on_chip_columns
from hwmpq.cost.table import cost_table
from hwmpq.precision import Precision
from hwmpq.shipped import shipped_files
from hwmpq.workload.layer import Conv2d, Linear, MatMul, VectorOp
from hwmpq.workload.loader import load_workload

FC = Linear(name="fc", batch=10, in_features=100, out_features=40)
PAIRS = (Precision(8, 8), Precision(2, 4))


def memory(name: str, holds: tuple[str, ...], bits: int) -> Memory:
    return Memory(
        name=name,
        holds=holds,
        size_bits=bits,
        read_energy_pj_per_bit=1.0,
        write_energy_pj_per_bit=1.0,
    )


def machine(*memories: Memory) -> Accelerator:
    return load_accelerator("systolic-realistic").model_copy(update={"memories": memories})


def test_a_linear_layer_by_hand() -> None:
    """4000 weights, 1000 inputs; 400 outputs at the 8 bits of the vector unit."""
    split = machine(memory("w", ("weight",), 16_000), memory("io", ("input", "output"), 6_000))
    found = on_chip_columns(FC, PAIRS, split)
    assert found["working_set_bits"].tolist() == [32_000 + 8_000 + 3_200, 8_000 + 4_000 + 3_200]
    assert found["resident_fraction.w"].tolist() == [0.5, 1.0]
    assert found["resident_fraction.io"].tolist() == [6_000 / 11_200, 6_000 / 7_200]
    assert found["resident_fraction"].tolist() == pytest.approx(
        [(16_000 + 6_000) / 43_200, (8_000 + 6_000) / 15_200]
    )


def test_of_two_levels_the_one_that_holds_more_counts() -> None:
    levels = machine(
        memory("near", ("weight", "input", "output"), 4_320),
        memory("far", ("weight", "input", "output"), 21_600),
    )
    found = on_chip_columns(FC, PAIRS[:1], levels)
    assert found["resident_fraction.near"][0] == pytest.approx(0.1)
    assert found["resident_fraction.far"][0] == found["resident_fraction"][0] == 0.5


def test_an_operand_that_no_memory_holds_is_not_resident() -> None:
    found = on_chip_columns(FC, PAIRS[:1], machine(memory("w", ("weight",), 32_000)))
    assert found["resident_fraction"][0] == pytest.approx(32_000 / 43_200)


def test_vector_operators_lie_behind_the_vector_unit() -> None:
    split = machine(memory("w", ("weight",), 16_000), memory("o", ("output",), 4_000))
    add = VectorOp(name="add", op="add", input_sizes=(250, 250), output_elements=500, operations=1)
    found = on_chip_columns(add, PAIRS, split)
    assert found["working_set_bits"].tolist() == [8_000, 8_000]
    assert found["resident_fraction.w"].tolist() == [1.0, 1.0]
    assert found["resident_fraction"].tolist() == [0.5, 0.5]
    fused = VectorOp(name="r", op="relu", input_sizes=(250,), output_elements=250, operations=250)
    found = on_chip_columns(fused, PAIRS, split)
    assert found["working_set_bits"].tolist() == [0, 0]
    assert found["resident_fraction"].tolist() == [1.0, 1.0]


LAYERS = (
    FC,
    MatMul(name="qk", batch=3, m=50, k=70, n=90),
    Conv2d(name="c", in_channels=64, in_height=60, in_width=60, out_channels=64, kernel_size=3),
)


@pytest.mark.parametrize("name", tuple(shipped_files("accelerators")))
def test_columns_are_the_residency_of_each_memory(name: str) -> None:
    accelerator = load_accelerator(name)
    pairs = accelerator.supported[:1] + accelerator.supported[-1:]
    for layer in LAYERS:
        found = on_chip_columns(layer, pairs, accelerator)
        for index, precision in enumerate(pairs):
            parts = residency(layer, precision, accelerator)
            shares = {part.memory: part.share for part in parts}
            for memory_name, share in shares.items():
                column = found[f"resident_fraction.{memory_name}"]
                assert column[index] == pytest.approx(share)
            least, most = min(shares.values()), max(shares.values())
            assert least - 1e-12 <= found["resident_fraction"][index] <= most + 1e-12


def test_a_cost_table_has_them() -> None:
    table = cost_table(load_workload("resnet20"), load_accelerator("tpu-like"), PAIRS)
    assert np.issubdtype(table.working_set_bits.dtype, np.integer)
    assert (table.working_set_bits >= table.weight_memory_bits)[table.choosable].all()
    assert ((table.resident_fraction >= 0) & (table.resident_fraction <= 1)).all()
