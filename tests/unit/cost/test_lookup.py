from pathlib import Path

import numpy as np
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.lookup import COST_MODEL
from hwmpq.cost.table import CostTable, cost_table
from hwmpq.errors import SpecError, UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.workload.graph import Workload, WorkloadBuilder
from hwmpq.workload.layer import Linear, VectorOp

CHIP = """
name: my-chip
architecture: lookup
source: measured on my chip
technology_nm: 28
clock_hz: 100MHz
precisions: {weight_bits: [4, 8], activation_bits: [8]}
compute: COMPUTE
memories:
  - name: sram
    holds: [weight, input, output]
    size_bits: 1MiB
    read_energy_pj_per_bit: 0
    write_energy_pj_per_bit: 0
dram: {bandwidth_bits_per_cycle: 64, read_energy_pj_per_bit: 0, write_energy_pj_per_bit: 0}
vector: {lanes: 4, element_bits: 8, energy_pj_per_operation: 0, operands: on_chip, fused: [relu]}
behavior: BEHAVIOR
"""
HEADER = "layer,weight_bits,activation_bits,latency_cycles,energy_pj\n"
ROWS = "a,4,8,10,1.5\na,8,8,20,2.5\nb,4,8,30,3\nb,8,8,50,5\n"


def chip(
    folder: Path,
    csv: str | None = HEADER + ROWS,
    compute: str = "{table: t.csv}",
    behavior: str = "{}",
) -> Path:
    file = folder / "chip.yaml"
    file.write_text(CHIP.replace("COMPUTE", compute).replace("BEHAVIOR", behavior))
    if csv is not None:
        (folder / "t.csv").write_text(csv)
    return file


def network(*names: str) -> Workload:
    builder = WorkloadBuilder("net")
    for name in names:
        builder.add(Linear(name=name, in_features=3, out_features=3))
    relu = VectorOp(name="relu", op="relu", input_sizes=(3,), output_elements=3, operations=3)
    builder.add(relu)
    return builder.build()


def priced(file: Path, *names: str, bits=((4, 8), (8, 8))) -> CostTable:
    return cost_table(network(*names), load_accelerator(file), [Precision(*pair) for pair in bits])


def problems(file: Path) -> str:
    with pytest.raises(SpecError) as caught:
        priced(file, "a", "b")
    return str(caught.value)


def test_equal_shapes_keep_their_own_measurements(tmp_path: Path) -> None:
    table = priced(chip(tmp_path), "b", "a")
    assert table.layers == ("b", "a", "relu")
    assert table.latency_cycles.tolist() == [[30, 50], [10, 20], [0, 0]]
    assert table.energy_pj.tolist() == [[3, 5], [1.5, 2.5], [0, 0]]
    assert table.latency_bound_cycles.tolist() == table.latency_cycles.tolist()
    assert table.stall_cycles.sum() == 0


def test_the_table_is_found_beside_the_accelerator_file(tmp_path: Path, monkeypatch) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    file = chip(deep)
    monkeypatch.chdir(tmp_path)
    assert priced(Path("deep") / file.name, "a").latency_cycles[0].tolist() == [10, 20]


def test_order_matches_any_names(tmp_path: Path) -> None:
    file = chip(tmp_path, compute="{table: t.csv, match: order}")
    assert priced(file, "conv1", "fc").latency_cycles[:2].tolist() == [[10, 20], [30, 50]]
    with pytest.raises(UnsupportedError, match=r"holds 2 layers, but 'net' has 3"):
        priced(file, "x", "y", "z")
    layer = Linear(name="conv1", in_features=3, out_features=3)
    with pytest.raises(UnsupportedError, match="needs the whole workload"):
        COST_MODEL.layer_cost(layer, [Precision(4, 8)], load_accelerator(file))


def test_a_layer_alone_is_found_by_name(tmp_path: Path) -> None:
    layer = Linear(name="b", in_features=3, out_features=3)
    costs = COST_MODEL.layer_cost(layer, [Precision(8, 8)], load_accelerator(chip(tmp_path)))
    assert costs.compute_cycles == 50


def test_a_missing_layer_is_named_with_near_misses(tmp_path: Path) -> None:
    file = chip(tmp_path, HEADER + ROWS.replace("b,", "layer4.fc,"))
    with pytest.raises(UnsupportedError, match=r"layer 'layer4.fx'.*Did you mean 'layer4.fc'"):
        priced(file, "a", "layer4.fx")


def test_a_missing_precision_is_named(tmp_path: Path) -> None:
    file = chip(tmp_path, HEADER + "a,4,8,10,1\n")
    assert priced(file, "a", bits=((4, 8),)).latency_cycles[0] == 10
    with pytest.raises(UnsupportedError, match=r"layer 'a'.* at 8/8 .*measured: 4/8"):
        priced(file, "a")


def test_seconds_become_cycles_of_the_clock(tmp_path: Path) -> None:
    rows = "layer,weight_bits,activation_bits,latency_seconds\na,4,8,2.5e-7\na,8,8,1e-6\n"
    file = chip(tmp_path, rows, behavior="{energy: none}")
    assert priced(file, "a").latency_cycles[0].tolist() == [25, 100]


def test_part_cycles_are_rounded_up(tmp_path: Path) -> None:
    file = chip(tmp_path, HEADER + "a,4,8,10.2,1\na,8,8,0.5,1\n")
    assert priced(file, "a").latency_cycles[0].tolist() == [11, 1]


def test_further_columns_fill_the_table(tmp_path: Path) -> None:
    header = HEADER.strip() + ",compute_cycles,dram_read_bits,dram_write_bits\n"
    file = chip(tmp_path, header + "a,4,8,10,1,7,64,32\na,8,8,20,1,20,128,32\n")
    table = priced(file, "a")
    assert table.stall_cycles[0].tolist() == [3, 0]
    assert table.dram_read_bits[0].tolist() == [64, 128]
    assert table.dram_write_bits[0].tolist() == [32, 32]


def test_energy_must_be_measured_or_declared_absent(tmp_path: Path) -> None:
    rows = (
        "layer,weight_bits,activation_bits,latency_cycles\na,4,8,10\na,8,8,20\nb,4,8,1\nb,8,8,1\n"
    )
    text = problems(chip(tmp_path, rows))
    assert "energy_pj: the table holds no energies" in text
    assert "behavior: {energy: none}" in text
    table = priced(chip(tmp_path, rows, behavior="{energy: none}"), "a")
    assert table.energy_pj.sum() == 0


@pytest.mark.parametrize(
    ("csv", "expected"),
    [
        ("", "there is no column 'layer'"),
        (HEADER, "holds no measurement"),
        ("layer,weight_bits,activation_bits\n", "exactly one of latency_cycles and latency_sec"),
        (HEADER.replace("energy_pj", "energy_uj") + ROWS, "unknown column (got energy_uj)"),
        (HEADER.replace("energy_pj", "layer") + ROWS, "the column appears twice (got layer)"),
        (HEADER + "a,4,8,nan,1\n", "latency_cycles (line 2): must be a finite number, positive"),
        (HEADER + "a,4,8,inf,1\n", "(got inf)"),
        (HEADER + "a,4,8,0,1\n", "must be a finite number, positive (got 0)"),
        (HEADER + "a,4,8,-3,1\n", "(got -3)"),
        (HEADER + "a,4,8,ten,1\n", "(got ten)"),
        (HEADER + "a,4,8,10,-1\n", "energy_pj (line 2): must be a finite number, zero or more"),
        (HEADER + "a,0,8,10,1\n", "weight_bits (line 2): must be a whole number from 1 to 64"),
        (HEADER + "a,4,8.5,10,1\n", "activation_bits (line 2)"),
        (HEADER + ",4,8,10,1\n", "layer (line 2): is empty"),
        (HEADER + "a,4,8,10\n", "row (line 2): needs 5 values"),
        (HEADER + "a,4,8,10,1,9\n", "row (line 2): needs 5 values"),
        (HEADER + ROWS + "a,4,8,11,1\n", "a 4/8 (line 6): appears twice"),
        (
            HEADER.strip() + ",compute_cycles\na,4,8,10,1,11\n",
            "compute_cycles of a at 4/8: must not exceed latency_cycles",
        ),
    ],
)
def test_broken_csv_says_where_and_what(tmp_path: Path, csv: str, expected: str) -> None:
    assert expected in problems(chip(tmp_path, csv))


def test_all_problems_come_at_once_but_not_thousands(tmp_path: Path) -> None:
    two = problems(chip(tmp_path, HEADER + "a,4,8,x,1\nb,0,8,10,1\n"))
    assert "line 2" in two
    assert "line 3" in two
    many = problems(chip(tmp_path, HEADER + "a,4,8,x,1\n" * 500))
    assert len(many.splitlines()) <= 22


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    assert "there is no such file" in problems(chip(tmp_path, None))
    assert "must end in .csv or .npy" in problems(chip(tmp_path, compute="{table: t.xlsx}"))
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00layer")
    assert "cannot be read" in problems(chip(tmp_path, None))


def test_an_accelerator_file_cannot_say_where_it_is(tmp_path: Path) -> None:
    file = chip(tmp_path)
    file.write_text(file.read_text() + "origin: /elsewhere\n")
    with pytest.raises(SpecError, match="origin: is where the file was read from"):
        load_accelerator(file)


def npy(folder: Path, values, name: str = "t.npy") -> None:
    np.save(folder / name, np.asarray(values))


ORDER = "{table: t.npy, match: order}"


def test_npy_in_the_form_of_haq(tmp_path: Path) -> None:
    # Layers x weight bits x activation bits, both from one bit upwards.
    cycles = np.arange(1, 2 * 8 * 8 + 1, dtype=np.int64).reshape(2, 8, 8)
    npy(tmp_path, cycles)
    table = priced(chip(tmp_path, None, ORDER, "{energy: none}"), "p", "q")
    assert table.latency_cycles[:2].tolist() == [
        [cycles[0, 3, 7], cycles[0, 7, 7]],
        [cycles[1, 3, 7], cycles[1, 7, 7]],
    ]


def test_npy_with_named_axes_and_energies(tmp_path: Path) -> None:
    npy(tmp_path, [[[1.5], [2.0]], [[3.0], [4.0]]])
    npy(tmp_path, [[[10.0], [20.0]], [[30.0], [0.0]]], "e.npy")
    compute = (
        "{table: t.npy, energy_table: e.npy, layers: [b, a], weight_bits: [4, 8], "
        "activation_bits: [8]}"
    )
    table = priced(chip(tmp_path, None, compute), "a", "b")
    assert table.latency_cycles[:2].tolist() == [[3, 4], [2, 2]]
    assert table.energy_pj[:2].tolist() == [[30, 0], [10, 20]]


@pytest.mark.parametrize(
    ("values", "compute", "expected"),
    [
        (np.ones((2, 8)), ORDER, "layers x weight bits x activation bits (got (2, 8))"),
        (np.ones((0, 8, 8)), ORDER, "(got (0, 8, 8))"),
        (np.array([[["x"]]]), ORDER, "must hold integers or floating-point numbers"),
        (np.full((2, 1, 1), np.nan), ORDER, "[0, 0, 0]: must be a finite number, positive"),
        (np.zeros((2, 1, 1), dtype=np.int64), ORDER, "(got 0.0)"),
        (-np.ones((2, 1, 1)), ORDER, "(got -1.0)"),
        (np.ones((2, 1, 1)), "{table: t.npy}", "an NPY table names no layers"),
        (
            np.ones((2, 1, 1)),
            "{table: t.npy, layers: [a]}",
            "compute.layers: names 1 entries, but the table's axis has 2",
        ),
        (np.ones((2, 1, 1)), "{table: t.npy, layers: [a, a]}", "must not repeat an entry"),
        (
            np.ones((2, 1, 2)),
            "{table: t.npy, match: order, activation_bits: [8]}",
            "compute.activation_bits: names 1 entries, but the table's axis has 2",
        ),
        (
            np.ones((2, 1, 1)),
            "{table: t.npy, match: order, energy_table: gone.npy}",
            "there is no such file",
        ),
    ],
)
def test_broken_npy_says_where_and_what(tmp_path: Path, values, compute, expected) -> None:
    npy(tmp_path, values)
    assert expected in problems(chip(tmp_path, None, compute, "{energy: none}"))


def test_energies_must_have_the_shape_of_the_latencies(tmp_path: Path) -> None:
    npy(tmp_path, np.ones((2, 1, 1)))
    npy(tmp_path, np.ones((2, 1, 2)), "e.npy")
    compute = "{table: t.npy, match: order, energy_table: e.npy}"
    text = problems(chip(tmp_path, None, compute))
    assert "must have the shape of 't.npy', (2, 1, 1) (got (2, 1, 2))" in text


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "is no NPY table" in problems(chip(tmp_path, None, ORDER))
    (tmp_path / "t.npy").write_bytes(b"")
    assert "is no NPY table" in problems(chip(tmp_path, None, ORDER))
    np.savez(tmp_path / "archive.npz", a=np.ones(3))
    (tmp_path / "archive.npz").rename(tmp_path / "t.npy")
    assert "NPZ archive" in problems(chip(tmp_path, None, ORDER))


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    first, second = load_accelerator(chip(here)), load_accelerator(chip(there))
    assert first.fingerprint == second.fingerprint
    before = first.fingerprint
    (here / "t.csv").write_text(HEADER + ROWS.replace("50", "51"))
    assert first.fingerprint != before


def test_measured_tables_can_cover_every_supported_pair(tmp_path: Path) -> None:
    accelerator = load_accelerator(chip(tmp_path))
    table = cost_table(network("a", "b"), accelerator, accelerator.supported)
    assert table.precisions == precisions([4, 8], [8])
