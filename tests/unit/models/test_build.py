"""Models by name: repeatable, without touching torch's global random state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hwmpq.errors import SpecError
from hwmpq.models.build import build_model


def test_one_seed_gives_one_network() -> None:
    first, again, other = (build_model("resnet8-digits", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_model("resnet8-digits", seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_listed_layers_cannot_be_trained(tmp_path: Path) -> None:
    file = tmp_path / "layers.yaml"
    file.write_text(
        "name: x\nlayers:\n  - {name: f, op: linear, in_features: 1, out_features: 1}\n"
    )
    with pytest.raises(SpecError, match="no network built from code"):
        build_model(file, seed=0)
