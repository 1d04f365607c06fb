"""The choice of a schedule: modes, groups at once, pieces and loop orders."""

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.cost.systolic_gemm import Gemm
from hwmpq.cost.systolic_mapping import packings
from hwmpq.cost.systolic_precision import modes
from hwmpq.cost.systolic_schedule import Scheduler
from hwmpq.cost.systolic_spec import Scaling
from hwmpq.precision import Precision
from hwmpq.workload.layer import Linear, MatMul, MultiplyLayer


def priced(layer: MultiplyLayer, precision: str, **changes: object) -> LayerCosts:
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    machine = load_accelerator("systolic-realistic", overrides)
    return COST_MODEL.layer_cost(layer, [Precision.parse(precision)], machine)


def latency(costs: LayerCosts) -> int:
    return int(costs.compute_cycles[0] + costs.stall_cycles[0])


def test_modes_hold_both_operands() -> None:
    fused = Scaling(mode="fused_2d", widths=(2, 4, 8))
    assert [str(mode) for mode in modes(Precision(3, 5), fused)] == ["4/8", "8/8"]
    assert [str(mode) for mode in modes(Precision(1, 4), fused)] == [
        "2/4",
        "2/8",
        "4/4",
        "4/8",
        "8/4",
        "8/8",
    ]
    assert modes(Precision(16, 5), fused) == (Precision(16, 8),)
    serial = Scaling(mode="serial_w", widths=(8,))
    assert modes(Precision(3, 5), serial) == (Precision(3, 8),)


def test_narrow_operands_run_in_a_wider_mode_where_that_is_faster() -> None:
    """One row, 512 x 32 weights of 2 bits, 192 bits a cycle.

    Mode 2/2: one fold, 32 + 32 + 62 cycles, after all weights and 512 inputs: 176 cycles. Mode
    2/4: two folds, 158 cycles, after half of both: 88. Mode 2/8: four, 222 after 44. The outputs
    add 32 x 2 / 192 of a cycle.
    """
    layer = Linear(name="fc", in_features=512, out_features=32)
    costs = priced(layer, "2/2")
    assert costs.mapping["mode"] == ["2/4"]
    assert latency(costs) == 158 + 88 + 1
    assert costs.compute_cycles[0] == 158
    wide = priced(layer, "2/4")
    assert costs.energy_pj["compute"][0] == wide.energy_pj["compute"][0]
    assert costs.utilization[0] == wide.utilization[0] == 512 * 32 / (1024 * 8 * 158)
    assert costs.dram_read_bits[0] == 2 * (512 * 32 + 512)
    # A bound is one of the fastest mode: 16 products an element and cycle.
    assert costs.compute_bound_cycles[0] == 1


def test_a_mode_that_gains_nothing_is_left() -> None:
    layer = Linear(name="fc", batch=400, in_features=512, out_features=32)
    costs = priced(layer, "2/2")
    assert costs.mapping["mode"] == ["2/2"]
    assert costs.compute_cycles[0] == 32 + 400 + 62


def test_a_set_of_groups_is_no_larger_than_it_must_be() -> None:
    machine = load_accelerator("systolic-realistic")
    gemm = Gemm(groups=7, samples=5, channels=8, n=8)
    found = list(packings(gemm, Precision(8, 8), machine.compute, machine.behavior))
    assert found == [(4, 2), (3, 3), (2, 4), (1, 7)]


def test_every_number_of_groups_at_once_is_tried() -> None:
    """A set of groups that cannot be faster says nothing of smaller ones, which load less."""
    machine = load_accelerator("systolic-psma", {"dram.bandwidth_bits_per_cycle": 8})
    scheduler = Scheduler(gemm=Gemm(groups=2, samples=3, channels=7, n=5), accelerator=machine)
    found = [scheduler.best(Precision.parse(bits), 8).latency_cycles for bits in ("2/4", "2/5")]
    assert found == [89, 90]


def test_fewer_groups_at_once_start_sooner() -> None:
    """Two products of [1, 16] x [16, 16]: both need 2 x (256 + 16) x 8 bits, at 32 a cycle 136.

    At once they compute 126 cycles after that, one after the other 158 after half of it. A
    last store of 16 x 8 bits takes 4 cycles more, 8 for both.
    """
    layer = MatMul(name="qk", batch=2, m=1, k=16, n=16)
    costs = priced(layer, "8/8", dram__bandwidth_bits_per_cycle=32.0)
    assert latency(costs) == 158 + 68 + 4 < 126 + 136 + 8
    assert "groups at once" not in costs.mapping["folds"][0]
    fast = priced(layer, "8/8", dram__bandwidth_bits_per_cycle=96.0)
    assert "2 groups at once" in fast.mapping["folds"][0]
    assert latency(fast) == 126 + (136 + 8) // 3


def test_pieces_keep_inputs_on_chip() -> None:
    """20 000 windows of 24 bytes are more than half of 256 KiB; 5461 of them are not.

    So inputs and weights, 7 680 bytes, are both read once, and the array works as long.
    """
    layer = Linear(name="fc", batch=20_000, in_features=24, out_features=320)
    costs = priced(layer, "8/8")
    assert costs.mapping["dram_order"] == ["input"]
    assert costs.dram_read_bits[0] == 8 * (20_000 * 24 + 24 * 320)
    assert costs.mapping["folds"] == ["1x10 folds of 5000, 4 chunks"]
    assert costs.compute_cycles[0] == 32 + 10 * 20_000 + 62


def test_tiles_leave_rows_idle_to_keep_inputs_on_chip() -> None:
    """64 windows of 1000 bytes: 24 of them fit half of their buffer, so three folds of 22.

    Two folds of 32 would read the inputs for each of ten column folds, 640 000 bytes, and the
    weights, whose tile of 32 000 bytes does not fit half of its buffer either, twice.
    """
    overrides = {"compute.dataflow": "os", "dram.bandwidth_bits_per_cycle": 8.0}
    machine = load_accelerator("systolic-realistic", overrides)
    sizes = (8 * 48_000, 8 * 32_000, machine.memories[2].size_bits)
    memories = tuple(
        memory.model_copy(update={"size_bits": size})
        for memory, size in zip(machine.memories, sizes, strict=True)
    )
    machine = machine.model_copy(update={"memories": memories})
    layer = Linear(name="fc", batch=64, in_features=1000, out_features=320)
    costs = COST_MODEL.layer_cost(layer, [Precision(8, 8)], machine)
    assert costs.mapping["folds"] == ["3x10 folds of 1000"]
    assert costs.dram_read_bits[0] == 8 * (64_000 + 3 * 320_000)
    assert costs.compute_cycles[0] == 30 * 1000 + 62


def test_simulator_buffers_leave_nothing_to_choose() -> None:
    machine = load_accelerator("systolic-32x32")
    gemm = Gemm(groups=1, samples=5, channels=8, n=8)
    best = Scheduler(gemm=gemm, accelerator=machine).best(Precision(3, 3), 8)
    assert best.latency_cycles == best.compute_cycles
    assert best.fetched.order is None
