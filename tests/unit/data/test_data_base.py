from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.data.base import (
    Data,
    TensorPart,
    calibration_batches,
    from_arrays,
    load_data,
    stratified_split,
)
from hwmpq.errors import NotFoundError, TrainingError


@given(
    counts=st.lists(st.integers(10, 40), min_size=2, max_size=5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_parts_are_disjoint_complete_and_stratified(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    parts = stratified_split(labels, (0.6, 0.2), seed)
    together = np.concatenate(parts)
    assert len(parts) == 3
    assert sorted(together) == list(range(len(labels)))
    for label, count in enumerate(counts):
        shares = [int((labels[part] == label).sum()) for part in parts]
        assert abs(shares[0] - 0.6 * count) <= 0.5
        assert abs(shares[0] + shares[1] - 0.8 * count) <= 0.5


def test_split_depends_on_the_seed_only():
    labels = np.arange(200) % 4
    first, second = (stratified_split(labels, (0.5, 0.25), 7) for _ in range(2))
    other = stratified_split(labels, (0.5, 0.25), 8)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_class_too_small_for_every_part_is_refused():
    with pytest.raises(TrainingError, match="class 1 has only 2 samples"):
        stratified_split(np.array([0] * 20 + [1] * 2), (0.6, 0.2), 0)


def arrays(count=100):
    generator = np.random.default_rng(0)
    return generator.standard_normal((count, 3)), np.arange(count) % 2


def test_batches_hold_every_sample_once_and_repeat_with_the_generator():
    part = TensorPart(torch.arange(10.0)[:, None], torch.arange(10))

    def shuffled(seed):
        generator = torch.Generator().manual_seed(seed)
        return [labels.tolist() for _, labels in part.batches(4, generator=generator)]

    assert [len(batch) for batch in shuffled(0)] == [4, 4, 2]
    assert sorted(label for batch in shuffled(0) for label in batch) == list(range(10))
    assert shuffled(0) == shuffled(0) != shuffled(1)
    in_order = [labels.tolist() for _, labels in part.batches(4)]
    assert in_order == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_only_shuffled_batches_are_augmented():
    part = TensorPart(torch.zeros(4, 1), torch.arange(4), augment=lambda x, _: x + 1)
    generator = torch.Generator().manual_seed(0)
    assert all(bool((x == 1).all()) for x, _ in part.batches(2, generator=generator))
    assert all(bool((x == 0).all()) for x, _ in part.batches(2))


def test_nan_inputs_are_refused():
    with pytest.raises(TrainingError, match="must be finite"):
        TensorPart(torch.tensor([[float("nan")]]), torch.tensor([0]))


def test_unequal_lengths_are_refused():
    with pytest.raises(TrainingError, match="as many inputs as labels"):
        TensorPart(torch.zeros(2, 1), torch.tensor([0]))
    with pytest.raises(TrainingError, match="one label an input, but got 2 and 1"):
        from_arrays(np.zeros((2, 1)), np.zeros(1))


def test_arrays_become_data_with_a_fingerprint_of_content_and_split():
    inputs, labels = arrays()
    data = from_arrays(inputs, labels, seed=1)
    assert data.split_sizes == {"train": 64, "validation": 16, "test": 20}
    assert data.example.shape == (1, 3)
    assert from_arrays(inputs, labels, seed=1).fingerprint == data.fingerprint
    assert from_arrays(inputs, labels, seed=2).fingerprint != data.fingerprint
    assert from_arrays(inputs + 1, labels, seed=1).fingerprint != data.fingerprint


def test_calibration_draws_from_the_training_part_or_takes_batches():
    inputs, labels = arrays()
    data = from_arrays(inputs, labels)
    drawn = list(calibration_batches(data, batches=2, batch_size=8, seed=0))
    again = list(calibration_batches(data, batches=2, batch_size=8, seed=0))
    assert [len(y) for _, y in drawn] == [8, 8]
    assert torch.equal(drawn[1][0], again[1][0])
    assert isinstance(data.train, TensorPart)
    train = {tuple(row) for row in data.train.inputs.tolist()}
    assert all(tuple(row) in train for x, _ in drawn for row in x.tolist())
    assert list(calibration_batches(drawn, batches=1, batch_size=99, seed=0)) == drawn[:1]
    with pytest.raises(TrainingError, match="at least one batch"):
        list(calibration_batches([], batches=1, batch_size=1, seed=0))


@pytest.mark.parametrize("name", ["digits", "digits-hard", "synthetic"])
def test_registered_data_sets_load(name):
    data = load_data(name)
    assert isinstance(data, Data)
    assert len(data.train) > len(data.test) > 0
    assert load_data(name).fingerprint == data.fingerprint


def test_a_name_wins_over_a_folder_called_the_same(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_data("digits").name == "digits"
    with pytest.raises(TrainingError, match="no images"):
        load_data("./digits")


def test_unknown_data_set_suggests_a_near_one():
    with pytest.raises(NotFoundError, match="Did you mean 'digits'"):
        load_data("digit")
