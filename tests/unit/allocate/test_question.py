"""What is asked of an allocator by default: ties by the graph and the machine, pins by pattern."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.allocate.budget import Budget
from hwmpq.allocate.ilp import ILP
from hwmpq.allocate.question import Question, ask
from hwmpq.allocate.ties import Tie
from hwmpq.models.bert import Bert
from hwmpq.precision import Precision, precisions
from hwmpq.sensitivity.base import SensitivityTable
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload, WorkloadBuilder
from hwmpq.workload.layer import Conv2d, Linear, VectorOp

CANDIDATES = precisions([2, 4, 8], [2, 4, 8])
PIN = Precision(8, 8)


@pytest.fixture(scope="module")
def resnet() -> Workload:
    """``stem -> main.1 -> main.2``, ``stem -> shortcut``, both added and read by ``last -> fc``.

    ``last`` is added to what it reads, so that its input and its output are one format.
    """
    builder = WorkloadBuilder("residual")
    size = {"in_height": 4, "in_width": 4, "kernel_size": 1, "in_channels": 8, "out_channels": 8}

    def conv(name: str, reads: str) -> str:
        return builder.add(Conv2d(name=name, **size), [reads], shape=(1, 8, 4, 4))

    def add(name: str, *reads: str) -> str:
        layer = VectorOp(
            name=name, op="add", input_sizes=(128, 128), output_elements=128, operations=128
        )
        return builder.add(layer, reads, shape=(1, 8, 4, 4))

    stem = conv("stem", builder.add_input("input", (1, 8, 4, 4)))
    joined = add("join", conv("main.2", conv("main.1", stem)), conv("shortcut", stem))
    end = add("end", joined, conv("last", joined))
    builder.add(Linear(name="fc", in_features=128, out_features=8), [end])
    return builder.build(fixed_precisions={"stem": "8/8"})


@pytest.fixture(scope="module")
def bert() -> Workload:
    model = Bert(width=16, heads=2, depth=1, vocabulary=11)
    return extract(model, torch.zeros(1, 5, dtype=torch.long))


def question(workload: Workload, *, tie: bool = False, **options: object) -> Question:
    accelerator = load_accelerator("bitfusion-edge", {"tie_residual": tie})
    assert accelerator.tie_residual is tie
    budget = Budget(bops="0.4x")
    return ask(workload, accelerator, budget, candidates=CANDIDATES, **options)


def scores(found: Question) -> SensitivityTable:
    """Layers take turns at being sensitive, so that neighbours want different bits."""
    layers = found.costs.choosable_layers
    values = [
        [
            (1 + 9 * (row % 2)) * (2.0**-p.weight_bits + 2.0**-p.activation_bits)
            for p in found.costs.precisions
        ]
        for row in range(len(layers))
    ]
    return SensitivityTable(
        layers=layers, precisions=found.costs.precisions, values=np.array(values), metric="planted"
    )


def test_the_machine_decides_whether_residual_partners_are_tied(resnet: Workload) -> None:
    readers = Tie(("main.1", "shortcut"), "activations")
    assert question(resnet).rules.groups == (readers,)
    assert question(resnet, tie=True).rules.groups == (
        readers,
        Tie(("last", "fc"), "activations"),
        Tie(("main.2", "shortcut"), "weights"),
    )


def test_a_pinned_weight_leaves_its_partners_free(resnet: Workload) -> None:
    found = question(resnet, tie=True, fixed={"shortcut": PIN})
    assert [tie.layers for tie in found.rules.groups if tie.shared == "weights"] == []


def test_ties_reach_the_allocation(resnet: Workload) -> None:
    def answer(found: Question) -> dict[str, Precision]:
        return dict(ILP().solve(found.problem(scores(found))).assignment)

    free, tied = answer(question(resnet)), answer(question(resnet, tie=True))
    assert free["main.2"].weight_bits != free["shortcut"].weight_bits
    assert free["last"].activation_bits != free["fc"].activation_bits
    assert tied["main.2"].weight_bits == tied["shortcut"].weight_bits
    assert tied["last"].activation_bits == tied["fc"].activation_bits
    assert free["stem"] == tied["stem"] == PIN


def test_query_key_and_value_share_their_bits(bert: Workload) -> None:
    found = question(bert, fixed={})
    parts = tuple(f"encoder.layer.0.attention.self.{part}" for part in ("query", "key", "value"))
    assert Tie(parts, "weights") in found.rules.groups
    assert Tie(parts, "activations") in found.rules.groups
    bits = ILP().solve(found.problem(scores(found))).assignment
    assert len({bits[part] for part in parts}) == 1


def test_pins_by_rule_by_file_and_by_pattern(resnet: Workload, bert: Workload) -> None:
    assert question(resnet).fixed == {"stem": PIN}
    assert set(question(resnet, fixed={"main.?": PIN}).fixed) == {"main.1", "main.2"}
    first, last = bert.multiply_layers[0].name, bert.multiply_layers[-1].name
    assert question(bert).fixed == {first: PIN, last: PIN}
    attention = {"*.qk": PIN, "*.av": Precision(4, 8), "pooler.*": Precision(2, 2)}
    assert question(bert, fixed=attention).fixed == {
        "encoder.layer.0.attention.self.qk": PIN,
        "encoder.layer.0.attention.self.av": Precision(4, 8),
        "pooler.dense": Precision(2, 2),
    }
    assert question(bert, fixed={}).fixed == {}


def test_groups_stated_outright_replace_those_of_the_graph(resnet: Workload) -> None:
    stated = Tie(("main.1", "main.2"), "both")
    assert question(resnet, tie=True, groups=[stated]).rules.groups == (stated,)
