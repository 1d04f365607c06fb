"""Latency of double-buffered tiles: hand-worked layers, the recurrence in plain code, laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.base import LayerCosts
from hwmpq.cost.systolic import COST_MODEL
from hwmpq.cost.systolic_gemm import lower
from hwmpq.cost.systolic_latency import Exposed, Port, exposed, latency
from hwmpq.cost.systolic_spec import MacEnergy, SystolicCompute
from hwmpq.precision import Precision
from hwmpq.workload.layer import Linear

FC = Linear(name="fc", batch=40, in_features=100, out_features=70)


def array(dataflow: str) -> SystolicCompute:
    energy = MacEnergy(pj_per_mac={"8x8": 1.0})
    return SystolicCompute(dataflow=dataflow, rows=16, cols=8, mac_energy=energy)


@pytest.mark.parametrize(
    ("dataflow", "together", "apart", "expected"),
    [
        # One window of 100 values at most: 16 rows of one or of four products.
        ("ws", 1, 1, Exposed(inputs=16, weights=16 * 8, outputs=8)),
        ("ws", 4, 1, Exposed(inputs=64, weights=64 * 8, outputs=8)),
        ("ws", 1, 4, Exposed(inputs=16, weights=16 * 32, outputs=32)),
        # 16 values of 8 windows stay; a step takes 16 weights and leaves 8 outputs.
        ("is", 1, 1, Exposed(inputs=8 * 16, weights=16, outputs=8)),
        ("is", 8, 1, Exposed(inputs=8 * 100, weights=100, outputs=8)),
        # Nothing stays; 16 windows and 8 channels take a value each, and leave 16 x 8 outputs.
        ("os", 1, 1, Exposed(inputs=16, weights=8, outputs=16 * 8)),
        ("os", 4, 1, Exposed(inputs=64, weights=32, outputs=16 * 8)),
    ],
)
def test_what_the_edges_of_a_layer_expose(dataflow, together, apart, expected) -> None:
    assert exposed(lower(FC), array(dataflow), together=together, apart=apart) == expected


def priced(layer: Linear, precision: str, **changes: object) -> LayerCosts:
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    machine = load_accelerator("systolic-realistic", overrides)
    return COST_MODEL.layer_cost(layer, [Precision.parse(precision)], machine)


def test_a_layer_bound_by_computing_waits_at_its_edges() -> None:
    """12 folds of 40 steps: 32 + 480 + 62 cycles. 32 x 32 weights and 32 inputs come first.

    (1024 + 32) x 8 bits in, 32 x 8 bits out, 192 a cycle: 44 and 1.33 cycles. All bits, 8 x (40 x
    100 + 100 x 70 + 40 x 70) = 110 400, would take 575.
    """
    costs = priced(FC, "8/8")
    assert costs.compute_cycles[0] == 574
    assert costs.stall_cycles[0] == 46


def test_a_layer_bound_by_traffic_keeps_the_port_busy_but_for_the_drain() -> None:
    """One row: 12 folds of 32 cycles; 8 x (100 + 7000) bits in at 24 a cycle, 2366.67 cycles.

    Its outputs, 560 bits or 23.3 cycles, pass while the array drains for 62, but for the last 32:
    10.67 cycles.
    """
    costs = priced(FC.model_copy(update={"batch": 1}), "8/8", dram__bandwidth_bits_per_cycle=24.0)
    assert costs.compute_cycles[0] == 32 + 12 * 32 + 62
    assert costs.compute_cycles[0] + costs.stall_cycles[0] == 2440


def recurrence(compute: list[float], loads: list[float], stores: list[float]) -> float:
    """The module's first equation in plain code."""
    total = loads[0] + stores[-1]
    for piece, busy in enumerate(compute):
        loading = loads[piece + 1] if piece + 1 < len(loads) else 0.0
        storing = stores[piece - 1] if piece else 0.0
        total += max(busy, loading + storing)
    return total


@given(
    work=st.integers(1, 10_000),
    drain=st.integers(0, 500),
    pieces=st.integers(3, 40),
    read=st.integers(0, 100_000),
    write=st.integers(0, 100_000),
    edges=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    bandwidth=st.sampled_from([1.0, 7.0, 64.0]),
)
def test_latency_is_the_recurrence(work, drain, pieces, read, write, edges, bandwidth) -> None:
    """Pieces share loads and stores evenly and compute as much as passes behind them.

    The last one is the draining, behind which pass as many stores as it has time for.
    """
    first, last = int(read * edges[0]), int(write * edges[1])
    behind_drain = min((write - last) / bandwidth, drain)
    loads = [first / bandwidth] + [(read - first) / bandwidth / (pieces - 2)] * (pieces - 2) + [0]
    kept = (write - last) / bandwidth - behind_drain
    stores = [kept / (pieces - 2)] * (pieces - 2) + [behind_drain, last / bandwidth]
    behind = [
        loads[piece + 1] + (stores[piece - 1] if piece else 0.0) for piece in range(pieces - 1)
    ]
    share = [part / sum(behind) if sum(behind) else 1 / (pieces - 1) for part in behind]
    compute = [work * part for part in share] + [drain]
    found = latency(
        work + drain,
        drain,
        1,
        read_bits=read,
        write_bits=write,
        first_bits=first,
        last_bits=last,
        port=Port(bandwidth_bits_per_cycle=bandwidth),
    )
    assert found == pytest.approx(recurrence(compute, loads, stores), abs=1.01)
    assert found >= max(work + drain, (read + write) / bandwidth - 1e-5)


sizes = st.tuples(*[st.integers(0, 5000)] * 7)


@given(less=sizes, more=sizes)
def test_latency_grows_with_work_and_traffic(less, more) -> None:
    more = tuple(a + b for a, b in zip(less, more, strict=True))
    port = Port(bandwidth_bits_per_cycle=7.0, fetch_latency_cycles=3)
    assert latency(*more, port) >= latency(*less, port)


def test_each_fold_may_have_a_latency_of_its_fetch() -> None:
    """Ten folds of 100 cycles that wait 150 for their data each; the last 30 cycles drain."""
    port = Port(bandwidth_bits_per_cycle=64.0, fetch_latency_cycles=150)
    edges = {"read_bits": 0, "write_bits": 0, "first_bits": 0, "last_bits": 0}
    assert latency(1000, 30, 10, **edges, port=port) == 10 * 150 + 30
    assert latency(2000, 30, 10, **edges, port=port) == 2000 + 150
