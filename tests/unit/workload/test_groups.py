"""Layers that share bits: readers of one tensor, residual partners, attention, repeats."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hwmpq.models.bert import Bert
from hwmpq.models.llama import Llama
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload, WorkloadBuilder
from hwmpq.workload.groups import (
    activation_groups,
    attention_groups,
    quantization_groups,
    repeated_layers,
    residual_partners,
)
from hwmpq.workload.layer import FreeOp, Linear, VectorOp

Shipped = Callable[[str], Workload]


def test_resnet18_downsampling_reads_what_the_main_path_reads(shipped: Shipped) -> None:
    groups = quantization_groups(shipped("resnet18"), tie_residual=False)
    assert groups.activations == tuple(
        (f"layer{stage}.0.conv1", f"layer{stage}.0.downsample.0") for stage in (2, 3, 4)
    )
    assert groups.weights == ()
    assert groups.repeated == ()


def test_resnet18_where_additions_need_one_format(shipped: Shipped) -> None:
    groups = quantization_groups(shipped("resnet18"), tie_residual=True)
    # The stream through a stage has one width, up to what reads it in the next stage.
    assert groups.activations[0] == (
        "layer1.0.conv1",
        "layer1.1.conv1",
        "layer2.0.conv1",
        "layer2.0.downsample.0",
    )
    assert len(groups.activations) == 3
    # HAWQ-V3's pairs of a downsampling convolution and the main path of its block.
    assert ("layer2.0.conv2", "layer2.0.downsample.0") in groups.weights
    assert ("conv1", "layer1.0.conv2") in groups.weights


def test_query_key_and_value_are_grouped() -> None:
    model = Bert(width=16, heads=2, depth=2, vocabulary=11)
    workload = extract(model, torch.zeros(1, 5, dtype=torch.long))
    first = tuple(f"encoder.layer.0.attention.self.{part}" for part in ("query", "key", "value"))
    assert attention_groups(workload)[0] == first
    assert activation_groups(workload)[0] == first
    assert len(attention_groups(workload)) == 2


def test_a_cache_does_not_tie_layers_together() -> None:
    model = Llama(width=16, heads=4, shared_heads=2, hidden=24, depth=3, vocabulary=11)
    cache = torch.zeros(1, 3, 2, 2, 8, 4)
    groups = attention_groups(extract(model, (torch.zeros(1, 1, dtype=torch.long), cache)))
    assert len(groups) == 3
    assert all(len(group) == 3 for group in groups)


def test_a_module_used_twice_is_one_group() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.relu(self.fc(x)))

    assert repeated_layers(extract(Twice(), torch.zeros(1, 4))) == (("fc", "fc#2"),)


def branches(join: str) -> WorkloadBuilder:
    """``input -> a, b -> join -> view -> c``, and ``c -> d`` behind a ReLU."""
    builder = WorkloadBuilder("branches")
    entry = builder.add_input("input", (1, 4))
    a = builder.add(Linear(name="a", in_features=4, out_features=4), [entry])
    b = builder.add(Linear(name="b", in_features=4, out_features=4), [entry])
    size = 8 if join == "concat" else 4
    joined = VectorOp(name="join", op=join, input_sizes=(4, 4), output_elements=size, operations=4)  # type: ignore[arg-type]
    view = builder.add(
        FreeOp(name="view", op="reshape", elements=size), [builder.add(joined, [a, b])]
    )
    c = builder.add(Linear(name="c", in_features=size, out_features=4), [view])
    relu = VectorOp(name="relu", op="relu", input_sizes=(4,), output_elements=4, operations=4)
    builder.add(Linear(name="d", in_features=4, out_features=4), [builder.add(relu, [c])])
    return builder


def test_readers_are_found_behind_views() -> None:
    builder = branches("add")
    builder.add(Linear(name="e", in_features=4, out_features=4), ["join"])
    assert activation_groups(builder.build()) == (("a", "b"), ("c", "e"))


def test_partners_of_additions_and_concatenations() -> None:
    for join in ("add", "concat"):
        assert residual_partners(branches(join).build()) == (("a", "b"),)
    assert residual_partners(branches("mul").build()) == ()


def test_a_shortcut_without_weights_has_no_partner(shipped: Shipped) -> None:
    # Only the first block adds to what a layer with weights writes; the others add to a sum.
    workload = shipped("resnet8-digits")
    assert residual_partners(workload) == (("conv1", "layer1.0.conv2"),)
