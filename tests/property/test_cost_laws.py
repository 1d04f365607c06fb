"""Laws of every shipped accelerator, over layers that hypothesis makes."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.families import energy_uncertainties
from hwmpq.accelerator.loader import load_accelerator
from hwmpq.accelerator.provenance import is_energy, numbers
from hwmpq.accelerator.spec import Accelerator
from hwmpq.precision import Precision
from hwmpq.registry import entries
from hwmpq.shipped import shipped_files
from hwmpq.testing.cost_laws import check_all_laws
from hwmpq.workload.layer import Conv2d, Linear, MatMul, VectorOp

ACCELERATORS = tuple(shipped_files("accelerators"))
load = cache(load_accelerator)

channels = st.sampled_from([1, 2, 3, 8, 16, 17, 48, 64])
small = st.integers(1, 3)


@st.composite
def conv2d(draw) -> Conv2d:
    kernel = (draw(small), draw(small))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    groups = draw(st.sampled_from([1, 1, 2, 8]))
    return Conv2d(
        name="conv",
        batch=draw(st.sampled_from([1, 2, 5])),
        in_channels=groups * draw(channels),
        in_height=draw(st.integers(6, 20)),
        in_width=draw(st.integers(6, 20)),
        out_channels=groups * draw(channels),
        kernel_size=kernel,
        stride=(draw(small), draw(small)),
        padding=(draw(st.integers(0, 1)), draw(st.integers(0, 1))),
        dilation=dilation,
        groups=groups,
    )


sizes = st.integers(1, 300)
linear = st.builds(
    Linear, name=st.just("fc"), batch=st.integers(1, 20), in_features=sizes, out_features=sizes
)
matmul = st.builds(
    MatMul, name=st.just("qk"), batch=st.integers(1, 4), m=sizes, k=st.integers(1, 99), n=sizes
)
pool = st.builds(
    VectorOp,
    name=st.just("pool"),
    op=st.sampled_from(["max_pool2d", "add", "softmax", "layer_norm", "gelu"]),
    input_sizes=st.tuples(sizes),
    output_elements=sizes,
    operations=st.integers(1, 5000),
)


def some_precisions(accelerator: Accelerator) -> tuple[Precision, ...]:
    """The corners and the middle of what a machine runs."""
    weights = accelerator.precisions.weight_bits
    activations = accelerator.precisions.activation_bits
    pairs = {
        Precision(w, a)
        for w in (weights[0], weights[len(weights) // 2], weights[-1])
        for a in (activations[0], activations[len(activations) // 2], activations[-1])
    }
    return tuple(sorted(pairs))


@pytest.mark.parametrize("name", ACCELERATORS)
@settings(max_examples=12, deadline=None)
@given(layers=st.tuples(conv2d(), linear, matmul, pool))
def test_laws_hold_on_every_shipped_accelerator(name: str, layers) -> None:
    accelerator = load(name)
    check_all_laws(accelerator, layers, some_precisions(accelerator))


@pytest.mark.parametrize("name", ACCELERATORS)
def test_every_shipped_file_states_where_its_numbers_come_from(name: str) -> None:
    accelerator = load(name)
    assert accelerator.provenance
    assert accelerator.name == name
    assert accelerator.description.endswith(".")
    assert all(len(source) > 5 for source in accelerator.provenance.values())


@pytest.mark.parametrize("name", ACCELERATORS)
def test_every_energy_of_a_shipped_file_has_an_uncertainty(name: str) -> None:
    accelerator = load(name)
    stated = energy_uncertainties(accelerator)
    parts = ("compute", "memories", "dram", "vector")
    energies = [
        path
        for part in parts
        for path, value in numbers(getattr(accelerator, part), part)
        if is_energy(path) and value and not path.endswith("_fraction")
    ]
    assert energies
    assert [path for path in energies if path not in stated] == []


def test_every_cost_model_has_a_shipped_file_that_the_laws_run_over() -> None:
    """A measured table knows layers by name, so its laws are in its own tests."""
    covered = {load(name).architecture for name in ACCELERATORS}
    assert {name.replace("-", "_") for name in covered} | {"lookup"} == set(entries("cost"))
