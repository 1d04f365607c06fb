"""Weight storage, working sets, residency and the peak of live activations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.activation_cuts import activation_cuts
from hwmpq.cost.liveness import live_cuts, peak_cut
from hwmpq.cost.memory import (
    peak_activation,
    residency,
    weight_storage_bits,
    working_set_bits,
)
from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.workload.graph import WorkloadBuilder
from hwmpq.workload.layer import Conv2d, FreeOp, Linear, MatMul, VectorOp


def linear(name, inputs, outputs):
    return Linear(name=name, in_features=inputs, out_features=outputs)


def vector(name, op, sizes, output, **fields):
    return VectorOp(
        name=name, op=op, input_sizes=sizes, output_elements=output, operations=output, **fields
    )


def chain():
    """input 10 -> a 20 -> relu -> b 5."""
    builder = WorkloadBuilder("chain")
    builder.add_input("input", (10,))
    builder.add(linear("a", 10, 20), ["input"])
    builder.add(vector("relu", "relu", (20,), 20), ["a"])
    builder.add(linear("b", 20, 5), ["relu"])
    return builder.build()


def residual():
    """input 8 -> a 8 -> b 8; add of a and b -> c 4: a is held over b."""
    builder = WorkloadBuilder("residual")
    builder.add_input("input", (8,))
    builder.add(linear("a", 8, 8), ["input"])
    builder.add(linear("b", 8, 8), ["a"])
    builder.add(vector("add", "add", (8, 8), 8), ["a", "b"])
    builder.add(linear("c", 8, 4), ["add"])
    return builder.build()


AT = {"a": Precision(8, 4), "b": Precision(8, 2), "c": Precision(8, 6)}


def sizes(workload, assignment, **fields):
    cuts = live_cuts(workload, vector_bits=16, **fields)
    return {cut.layer: cut.bits(assignment) for cut in cuts}


def test_a_chain_by_hand():
    # a: input at 4 bits, its output is read by the vector unit at 16
    found = sizes(chain(), AT)
    assert found == {"a": 10 * 4 + 20 * 16, "relu": 20 * 16 + 20 * 2, "b": 20 * 2 + 5 * 16}


def test_a_fused_operator_rewrites_its_input():
    found = sizes(chain(), AT, fused=("relu",))
    assert found == {"a": 10 * 4 + 20 * 2, "relu": 20 * 2, "b": 20 * 2 + 5 * 16}


def test_a_branch_is_held_until_its_last_reader():
    found = sizes(residual(), AT)
    assert found == {
        "a": 8 * 4 + 8 * 16,
        "b": 8 * 16 + 8 * 16,
        "add": 8 * 16 + 8 * 16 + 8 * 6,
        "c": 8 * 6 + 4 * 16,
    }


def test_a_fused_addition_keeps_only_the_skipped_branch():
    # b is added on the way out and stored for c; a is read by b and by the vector unit
    found = sizes(residual(), AT, fused=("add",))
    assert found["b"] == found["add"] == 8 * 16 + 8 * 6
    assert found["a"] == 8 * 4 + 8 * 16


def test_a_fused_operator_leaves_alone_what_others_read():
    builder = WorkloadBuilder("two readers")
    builder.add_input("input", (10,))
    builder.add(linear("a", 10, 20), ["input"])
    builder.add(vector("relu", "relu", (20,), 20), ["a"])
    builder.add(linear("b", 20, 5), ["relu"])
    builder.add(linear("c", 20, 5), ["a"])
    found = sizes(builder.build(), AT, fused=("relu",))
    # a at c's 6 bits or the vector unit's 16, relu at b's 2, the result of b at 16
    assert found["b"] == 20 * 16 + 20 * 2 + 5 * 16


def test_free_operators_rename():
    builder = WorkloadBuilder("free")
    builder.add_input("input", (12,))
    builder.add(linear("a", 12, 20), ["input"])
    builder.add(FreeOp(name="flat", op="flatten", elements=20), ["a"])
    builder.add(linear("b", 20, 5), ["flat"])
    builder.add(FreeOp(name="out", op="reshape", elements=5), ["b"])
    found = sizes(builder.build(), AT)
    assert found == {"a": 12 * 4 + 20 * 2, "b": 20 * 2 + 5 * 16}


def test_a_slice_holds_the_whole_tensor():
    builder = WorkloadBuilder("slice")
    builder.add_input("input", (12,))
    builder.add(linear("a", 12, 30), ["input"])
    builder.add(FreeOp(name="part", op="slice", elements=10), ["a"])
    builder.add(linear("b", 10, 5), ["part"])
    assert sizes(builder.build(), AT)["b"] == 30 * 2 + 5 * 16


def test_a_tensor_is_stored_at_the_widest_of_its_readers():
    builder = WorkloadBuilder("two widths")
    builder.add_input("input", (10,))
    for name in ("a", "c"):
        builder.add(linear(name, 10, 1), ["input"])
    found = sizes(builder.build(), AT)
    # 4 bits for a, 6 for c; the result of a stays to the end
    assert found == {"a": 10 * 6 + 16, "c": 10 * 6 + 16 + 16}


def test_the_second_operand_of_a_matmul_is_held_at_weight_bits():
    builder = WorkloadBuilder("attention")
    builder.add_input("q", (2, 3))
    builder.add_input("k", (3, 5))
    builder.add(MatMul(name="qk", m=2, k=3, n=5), ["q", "k"])
    assert sizes(builder.build(), {"qk": Precision(2, 8)}) == {"qk": 6 * 8 + 15 * 2 + 10 * 16}


def test_operands_without_a_producer_count_in_their_step():
    builder = WorkloadBuilder("loose")
    builder.add(MatMul(name="qk", m=2, k=3, n=5))
    builder.add(linear("a", 7, 1))
    found = sizes(builder.build(), {"qk": Precision(2, 8), "a": Precision(8, 4)})
    assert found == {"qk": 6 * 8 + 15 * 2 + 160, "a": 160 + 7 * 4 + 16}


def test_the_peak_names_its_step():
    cuts = live_cuts(residual(), vector_bits=16)
    cut, bits = peak_cut(cuts, AT)
    assert (cut.layer, bits) == ("add", 8 * 16 + 8 * 16 + 8 * 6)
    with pytest.raises(UnsupportedError, match="no entry for layer 'a'"):
        peak_cut(cuts, {})
    with pytest.raises(UnsupportedError, match="without operators"):
        peak_cut([], {})


@st.composite
def networks(draw):
    """A random network, an order of readers and widths for every layer."""
    builder = WorkloadBuilder("random")
    builder.add_input("input", (draw(st.integers(1, 40)),))
    nodes = ["input"]
    assignment = {}
    width = st.sampled_from([1, 2, 4, 8, 16])
    for index in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(["linear", "linear", "matmul", "vector", "free"]))
        count = {"linear": 1, "free": 1, "matmul": 2, "vector": draw(st.integers(1, 3))}[kind]
        inputs = [draw(st.sampled_from(nodes)) for _ in range(count)]
        sizes_in = tuple(builder.graph.nodes[name]["tensor"].elements for name in inputs)
        output = draw(st.integers(1, 40))
        name = f"{kind}{index}"
        if kind == "linear":
            layer = linear(name, sizes_in[0], output)
        elif kind == "matmul":
            layer = MatMul(name=name, m=1, k=1, n=output)
        elif kind == "vector":
            layer = vector(name, "concat", sizes_in, output)
        else:
            layer = FreeOp(name=name, op="reshape", elements=sizes_in[0])
        if kind in {"linear", "matmul"}:
            assignment[name] = Precision(draw(width), draw(width))
        nodes.append(builder.add(layer, inputs))
    return builder.build(), assignment


def replayed(workload, assignment, vector_bits):
    """Bits held at every step, by counting references as a run-time would."""
    graph = workload.graph
    buffer = {}
    for node, data in graph.nodes(data=True):
        renames = isinstance(data["layer"], FreeOp)
        buffer[node] = buffer[workload.inputs_of(node)[0].producer] if renames else node

    def read_bits(node, slot):
        if node not in assignment:
            return vector_bits
        precision = assignment[node]
        second = node.startswith("matmul") and slot == 1
        return precision.weight_bits if second else precision.activation_bits

    references = dict.fromkeys(buffer.values(), 0)
    bits = dict.fromkeys(buffer.values(), 0)
    for node, data in graph.nodes(data=True):
        if data["layer"] is not None and not isinstance(data["layer"], FreeOp):
            for slot, tensor in enumerate(workload.inputs_of(node)):
                references[buffer[tensor.producer]] += 1
                bits[buffer[tensor.producer]] = max(
                    bits[buffer[tensor.producer]], read_bits(node, slot)
                )
        if data["layer"] is not None and not list(graph.successors(node)):
            references[buffer[node]] += 1  # the caller takes the result and never gives it back
            bits[buffer[node]] = max(bits[buffer[node]], vector_bits)
    held = {buffer["input"]} if references["input"] else set()
    steps = {}
    for node, data in graph.nodes(data=True):
        if data["layer"] is None or isinstance(data["layer"], FreeOp):
            continue
        held.add(node)
        steps[node] = sum(graph.nodes[name]["tensor"].elements * bits[name] for name in held)
        for tensor in workload.inputs_of(node):
            references[buffer[tensor.producer]] -= 1
            if not references[buffer[tensor.producer]]:
                held.discard(buffer[tensor.producer])
    return steps


@settings(max_examples=150, deadline=None)
@given(network=networks(), vector_bits=st.sampled_from([4, 8, 32]))
def test_every_step_equals_a_replay_that_counts_references(network, vector_bits):
    workload, assignment = network
    cuts = live_cuts(workload, vector_bits=vector_bits)
    found = {cut.layer: cut.bits(assignment) for cut in cuts}
    assert found == replayed(workload, assignment, vector_bits)


@settings(max_examples=100, deadline=None)
@given(network=networks(), vector_bits=st.sampled_from([4, 8, 32]))
def test_the_largest_row_is_the_peak_for_any_assignment(network, vector_bits):
    workload, assignment = network
    every = [Precision(w, a) for w in (1, 2, 4, 8, 16) for a in (1, 2, 4, 8, 16)]
    if not live_cuts(workload, vector_bits=vector_bits):
        return
    rows = activation_cuts(workload, every, vector_bits=vector_bits)
    held = rows.constant_bits.copy()
    contributions = rows.bits(every)
    for column, layer in enumerate(rows.layers):
        held += contributions[:, column, every.index(assignment[layer])]
    _, peak = peak_cut(live_cuts(workload, vector_bits=vector_bits), assignment)
    assert held.max() == peak


def test_one_row_a_cut_where_readers_are_tied():
    every = [Precision(8, bits) for bits in (2, 4, 8)]
    builder = WorkloadBuilder("branches")
    builder.add_input("input", (100,))
    builder.add(linear("a", 100, 50), ["input"])
    builder.add(linear("b", 100, 60), ["input"])
    workload = builder.build()
    untied = activation_cuts(workload, every, vector_bits=8)
    assert len(untied.labels) == 2
    tied = activation_cuts(workload, every, vector_bits=8, same_width={"b": "a"})
    assert tied.labels == ("b",)
    assert tied.elements.tolist() == [[100, 0]]
    assert tied.constant_bits.tolist() == [(50 + 60) * 8]
    assert tied.weight_path_elements is None
    assert tied.bits(every)[0, 0].tolist() == [200, 400, 800]


def test_rows_of_a_chain_by_hand():
    rows = activation_cuts(chain(), [Precision(8, 4), Precision(8, 8)], vector_bits=16)
    # a: 10 a + 320; relu: 320 + 20 b; b: 20 b + 80 is implied by relu's row
    assert rows.labels == ("a", "relu")
    assert rows.elements.tolist() == [[10, 0], [0, 20]]
    assert rows.constant_bits.tolist() == [320, 320]


def test_too_many_untied_readers_are_refused():
    builder = WorkloadBuilder("wide")
    builder.add_input("input", (8,))
    sources = [builder.add(linear(f"s{i}", 8, 8), ["input"]) for i in range(13)]
    for source in sources:
        for reader in range(2):
            builder.add(linear(f"{source}r{reader}", 8, 1), [source])
    with pytest.raises(UnsupportedError, match="tie the activation bits"):
        activation_cuts(builder.build(), [Precision(8, 2), Precision(8, 4)], vector_bits=2)
    with pytest.raises(UnsupportedError, match="at least one precision"):
        activation_cuts(chain(), [], vector_bits=8)


def test_weight_storage():
    builder = WorkloadBuilder("storage")
    builder.add(linear("a", 10, 20))
    builder.add(vector("norm", "layer_norm", (20,), 20, parameter_elements=40), ["a"])
    builder.add(MatMul(name="qk", m=2, k=3, n=5))
    workload = builder.build()
    assignment = {"a": Precision(2, 8), "qk": Precision(4, 4)}
    assert weight_storage_bits(workload, assignment, parameter_bits=16) == 200 * 2 + 40 * 16
    with pytest.raises(UnsupportedError, match="no entry for layer 'qk'"):
        weight_storage_bits(workload, {"a": Precision(2, 8)}, parameter_bits=16)


def test_working_set_and_residency():
    layer = Conv2d(
        name="c", in_channels=4, in_height=8, in_width=8, out_channels=16, kernel_size=3, padding=1
    )
    found = working_set_bits(layer, Precision(2, 4), output_bits=8)
    assert found == {"weight": 16 * 4 * 9 * 2, "input": 4 * 64 * 4, "output": 16 * 64 * 8}
    product = MatMul(name="qk", batch=2, m=2, k=3, n=5)
    found = working_set_bits(product, Precision(2, 4), output_bits=8)
    assert found == {"weight": 30 * 2, "input": 12 * 4, "output": 20 * 8}
    accelerator = load_accelerator("systolic-32x32")
    small = tuple(m.model_copy(update={"size_bits": 1000}) for m in accelerator.memories)
    machine = accelerator.model_copy(update={"memories": small})
    by_memory = {r.memory: r for r in residency(layer, Precision(2, 4), machine, output_bits=8)}
    assert by_memory["filter_buffer"].wanted_bits == 1152
    assert not by_memory["filter_buffer"].fits
    assert by_memory["filter_buffer"].share == pytest.approx(1000 / 1152)
    tiny = residency(Linear(name="f", in_features=2, out_features=2), Precision(2, 2), machine)
    assert all(item.fits and item.share == 1.0 for item in tiny)


def test_peak_on_an_accelerator_uses_its_vector_unit():
    accelerator = load_accelerator("systolic-32x32")
    assert "relu" in accelerator.vector.fused
    found = peak_activation(chain(), AT, accelerator)
    # relu is fused there and elements are 8 bits wide: b reads 20 at 2 bits and writes 5 at 8
    assert (found.layer, found.bits) == ("a", max(10 * 4 + 20 * 2, 20 * 2 + 5 * 8))
    assert sum(found.tensors.values()) == found.bits


def test_bits_never_lower_the_peak():
    narrow = dict.fromkeys("abc", Precision(2, 2))
    wide = dict.fromkeys("abc", Precision(8, 8))
    cuts = live_cuts(residual(), vector_bits=1)
    assert peak_cut(cuts, narrow)[1] < peak_cut(cuts, wide)[1]
    assert np.all([cut.bits(narrow) <= cut.bits(wide) for cut in cuts])
