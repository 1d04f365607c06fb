from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from hwmpq.codesign.checkpoint import (
    Checkpoint,
    Standing,
    load_optimizer_state,
    network_state,
    optimizer_state,
)
from hwmpq.codesign.record import EpochRecord, History
from hwmpq.errors import OutputError, SpecError
from hwmpq.precision import Precision


def standing():
    epoch = EpochRecord(
        epoch=0,
        phase="warm-up",
        train_loss=0.1 + 0.2,
        validation_accuracy=1 / 3,
        learning_rate=0.1,
        seconds=1.5,
    )
    return Standing(
        stage="quantised",
        epochs=1,
        history=History(epochs=(epoch,)),
        assignment={"conv": Precision(2, 4)},
        best_accuracy=1 / 3,
    )


def test_everything_comes_back_exactly(tmp_path):
    tensors = {
        "network": {"weight": torch.randn(3, 2), "count": torch.tensor(7)},
        "session": {"sums": torch.tensor([1 / 3, 1e-300], dtype=torch.float64)},
        "best": {},
    }
    file = tmp_path / "checkpoint" / "state.safetensors"
    Checkpoint(standing(), tensors).save(file)
    found = Checkpoint.load(file)
    assert found.standing == standing()
    assert found.section("best") == {}
    for section in ("network", "session"):
        assert found.section(section).keys() == tensors[section].keys()
        for name, tensor in tensors[section].items():
            assert torch.equal(found.section(section)[name], tensor)
            assert found.section(section)[name].dtype == tensor.dtype
    assert [path.name for path in file.parent.iterdir()] == ["state.safetensors"]


def test_a_broken_file_is_one_clear_error(tmp_path):
    file = tmp_path / "state.safetensors"
    Checkpoint(standing(), {"network": {"w": torch.ones(100)}}).save(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SpecError, match="is not a checkpoint written by hwmpq"):
        Checkpoint.load(file)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "state.safetensors"
    Checkpoint(standing(), {"network": {"w": torch.ones(4)}}).save(file)
    before = file.read_bytes()

    def full(*_arguments, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        Checkpoint(Standing(), {"network": {"w": torch.zeros(4)}}).save(file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["state.safetensors"]


def test_momentum_goes_through_and_training_continues_identically(tmp_path):
    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    def fresh():
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    model, optimizer = fresh()
    step(model, optimizer)
    tensors = {"network": network_state(model), "optimizer": optimizer_state(optimizer)}
    Checkpoint(Standing(), tensors).save(tmp_path / "state.safetensors")
    step(model, optimizer)

    other, other_optimizer = fresh()
    found = Checkpoint.load(tmp_path / "state.safetensors")
    other.load_state_dict(dict(found.section("network")))
    load_optimizer_state(other_optimizer, found.section("optimizer"))
    step(other, other_optimizer)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)
