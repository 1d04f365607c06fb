"""Precision in a systolic array."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.cost.systolic_ports import port_bits
from hwmpq.cost.systolic_precision import accumulator_bits, energy_pj_per_mac, rate, rounded_up
from hwmpq.cost.systolic_spec import MacEnergy, Scaling, SystolicCompute
from hwmpq.errors import SpecError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.layer import Linear, MatMul

QK = MatMul(name="qk", m=197, k=64, n=197)


def scaling(mode: str, **more) -> Scaling:
    return Scaling(mode=mode, widths=(2, 4, 8), **more)


@pytest.mark.parametrize(
    ("mode", "precision", "products", "passes"),
    [
        ("fixed", (4, 4), 1, 1),
        ("fixed", (16, 8), 1, 2),
        ("fixed", (16, 16), 1, 4),
        ("fixed", (9, 17), 1, 6),
        ("subword", (4, 4), 2, 1),
        ("subword", (2, 4), 2, 1),
        ("subword", (2, 8), 1, 1),
        ("subword", (2, 2), 4, 1),
        ("subword", (16, 2), 1, 2),
        ("fused_2d", (4, 4), 4, 1),
        ("fused_2d", (2, 2), 16, 1),
        ("fused_2d", (3, 5), 2, 1),
        ("fused_2d", (1, 8), 4, 1),
        ("fused_2d", (16, 4), 2, 2),
        ("fused_w", (2, 8), 4, 1),
        ("fused_w", (8, 2), 1, 1),
        ("serial_w", (5, 8), 1, 5),
        ("serial_w", (5, 16), 1, 10),
    ],
)
def test_products_and_passes(mode: str, precision, products: int, passes: int) -> None:
    found = rate(Precision(*precision), scaling(mode))
    assert (found.products, found.passes) == (products, passes)


def test_serial_weights_take_several_bits_a_cycle() -> None:
    assert rate(Precision(5, 8), scaling("serial_w", serial_bits=2)).passes == 3


def test_products_go_to_the_depth_or_to_the_outputs() -> None:
    together = rate(Precision(2, 2), scaling("fused_2d"))
    assert (together.together, together.apart) == (16, 1)
    assert (together.weight_lanes, together.activation_lanes) == (16, 16)
    apart = rate(Precision(2, 2), scaling("fused_2d", products="apart"))
    assert (apart.together, apart.apart) == (1, 16)
    assert (apart.weight_lanes, apart.activation_lanes) == (16, 1)


def test_widths_round_up_to_a_mode() -> None:
    assert [rounded_up(bits, scaling("fused_2d")) for bits in (1, 2, 3, 5, 9)] == [2, 2, 4, 8, 8]


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide the largest, 8"):
        Scaling(mode="fused_2d", widths=(3, 8))


@given(bits=st.integers(1, 16), other=st.integers(1, 16), depth=st.integers(1, 5000))
def test_the_accumulator_holds_the_largest_sum(bits: int, other: int, depth: int) -> None:
    """Unsigned, the largest product is (2^w - 1)(2^a - 1)."""
    largest = depth * (2**bits - 1) * (2**other - 1)
    assert largest < 2 ** accumulator_bits(Precision(bits, other), depth)


@pytest.mark.parametrize(
    ("precision", "energy"),
    [
        # Measured: bitblade_like of arXiv 2108.04773, results/breakdown, 28 nm, pJ per MAC.
        ((8, 8), 0.873),
        ((7, 5), 0.873),
        ((4, 8), 0.431),
        ((8, 4), 0.431),
        ((8, 2), 0.210),
        ((3, 4), 0.212),
        ((2, 1), 0.0516),
        # Not measured: power is constant.
        ((4, 2), 0.873 * 8 / 64),
    ],
)
def test_measured_energies_come_first(precision, energy: float) -> None:
    compute = load_accelerator("systolic-psma").compute
    found = energy_pj_per_mac(Precision(*precision), compute.scaling, compute.mac_energy)
    assert found == pytest.approx(energy)


def test_other_rules_of_energy() -> None:
    """Subword of arXiv 2108.04773: 0.703, 0.199, 0.0637 pJ; only the wider operand counts."""
    table = {"8x8": 0.703, "4x4": 0.199, "2x2": 0.0637}
    widest = MacEnergy(pj_per_mac=table, otherwise="widest")
    assert energy_pj_per_mac(Precision(2, 4), scaling("subword"), widest) == 0.199
    assert energy_pj_per_mac(Precision(2, 8), scaling("subword"), widest) == 0.703
    constant = MacEnergy(pj_per_mac={"8x8": 0.2357}, otherwise="constant")
    fixed = Scaling(mode="fixed", widths=(8,))
    assert energy_pj_per_mac(Precision(2, 2), fixed, constant) == 0.2357
    assert energy_pj_per_mac(Precision(16, 12), fixed, constant) == pytest.approx(4 * 0.2357)


def test_fused_element_against_the_fixed_one() -> None:
    """45 nm, results/systolic_array_synth.csv: fused loses at 8/4, wins 6.5 times at 2/2."""
    compute = load_accelerator("systolic-realistic").compute

    def energy(weight: int, activation: int) -> float:
        pair = Precision(weight, activation)
        return energy_pj_per_mac(pair, compute.scaling, compute.mac_energy)

    fixed = 0.2357
    assert energy(8, 4) == pytest.approx(0.289, abs=0.001)
    assert energy(8, 4) > fixed
    assert fixed / energy(4, 4) == pytest.approx(1.63, abs=0.01)
    assert fixed / energy(2, 2) == pytest.approx(6.53, abs=0.01)


def cycles(precision: str, **changes) -> int:
    """Cycles of an attention head on SCALE-Sim's array with a fused element."""
    overrides = {"compute.scaling": {"mode": "fused_2d", "widths": [2, 4, 8]}}
    overrides |= {key.replace("__", "."): value for key, value in changes.items()}
    accelerator = load_accelerator("systolic-32x32", overrides)
    return int(
        COST_MODEL.layer_cost(QK, [Precision.parse(precision)], accelerator).compute_cycles[0]
    )


def test_speed_up_is_far_below_the_number_of_products() -> None:
    """49 folds of 126 and of 66 cycles: 1.9 times, not 16."""
    assert (cycles("8/8"), cycles("2/2")) == (49 * 126 - 1, 49 * 66 - 1)


def test_products_kept_apart_save_column_folds_instead() -> None:
    """197 / 16 output channels lie in one column fold of seven row folds."""
    apart = {"mode": "fused_2d", "widths": [2, 4, 8], "products": "apart"}
    assert cycles("2/2", compute__scaling=apart) == 7 * 126 - 1


def test_passes_repeat_folds_or_run_inside_them() -> None:
    repeat = {"mode": "fixed", "widths": [8], "passes": "repeat_fold"}
    inside = {"mode": "fixed", "widths": [8], "passes": "inside_fold"}
    assert cycles("16/8", compute__scaling=repeat) == 2 * 49 * 126 - 1
    assert cycles("16/8", compute__scaling=inside) == 49 * (2 * 64 + 62) - 1


def test_ports_of_fused_products() -> None:
    """A row takes 16 x 2 bits where 8 did; kept apart, it takes one of 2."""
    compute = SystolicCompute(
        dataflow="os",
        rows=4,
        cols=8,
        scaling=scaling("fused_2d"),
        mac_energy=MacEnergy(pj_per_mac={"8x8": 1.0}),
    )
    assert port_bits(Precision(8, 8), 64, compute) == {
        "input": 32,
        "weight": 64,
        "output": 8 * 22,
    }
    wide = port_bits(Precision(2, 2), 64, compute)
    assert (wide["input"], wide["weight"], wide["output"]) == (4 * 32, 8 * 32, 8 * 10)
    other = compute.model_copy(update={"scaling": scaling("fused_2d", products="apart")})
    narrow = port_bits(Precision(2, 2), 64, other)
    assert (narrow["input"], narrow["weight"], narrow["output"]) == (4 * 2, 8 * 32, 8 * 16 * 10)


def test_a_narrow_port_is_named_with_its_bits() -> None:
    accelerator = load_accelerator("systolic-psma", {"memories.filter_buffer.banks": 2})
    COST_MODEL.layer_cost(QK, [Precision(8, 8)], accelerator)
    with pytest.raises(UnsupportedError, match=r"'filter_buffer' must move 512 bits .* move 256"):
        COST_MODEL.layer_cost(QK, [Precision(2, 2)], accelerator)


def test_a_narrow_accumulator_names_the_layer() -> None:
    accelerator = load_accelerator("systolic-psma", {"compute.accumulator_bits": 25})
    deep = Linear(name="fc", in_features=1000, out_features=10)
    with pytest.raises(UnsupportedError, match=r"'fc' at 8/8 needs accumulators of 26 bits"):
        COST_MODEL.layer_cost(deep, [Precision(8, 8)], accelerator)


def test_the_native_energy_must_be_there() -> None:
    with pytest.raises(SpecError, match="must hold the native width 8x8"):
        load_accelerator("systolic-32x32", {"compute.mac_energy.pj_per_mac": {"4x4": 0.1}})
