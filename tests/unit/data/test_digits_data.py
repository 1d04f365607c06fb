from __future__ import annotations

import numpy as np
import torch

from hwmpq.data.base import TensorPart, load_data, stratified_split
from hwmpq.data.digits import digit_images
from hwmpq.data.digits_hard import COPIES, LARGEST_SHIFT, harder


def test_digits_are_the_1797_images_between_minus_one_and_one():
    data = load_data("digits")
    assert sum(data.split_sizes.values()) == 1797
    assert isinstance(data.train, TensorPart)
    assert data.train.inputs.shape[1:] == (1, 8, 8)
    assert float(data.train.inputs.min()) == -1
    assert float(data.train.inputs.max()) == 1
    assert set(data.train.labels.tolist()) == set(range(10))


def test_no_image_lies_in_two_parts():
    data = load_data("digits")
    images = [
        {tuple(image.flatten().tolist()) for image in part.inputs}
        for part in (data.train, data.validation, data.test)
        if isinstance(part, TensorPart)
    ]
    assert len(images) == 3
    assert not images[0] & images[1]
    assert not images[0] & images[2]
    assert not images[1] & images[2]


def test_harder_images_are_moved_copies_without_noise(monkeypatch):
    monkeypatch.setattr("hwmpq.data.digits_hard.NOISE", 0.0)
    image = np.zeros((1, 1, 8, 8), dtype=np.float32)
    image[0, 0, 3, 4] = 1
    copies = harder(image, 50, np.random.default_rng(0))
    assert copies.shape == (50, 1, 8, 8)
    spots = {tuple(int(i) for i in np.argwhere(copy[0])[0]) for copy in copies}
    reach = range(-LARGEST_SHIFT, LARGEST_SHIFT + 1)
    assert spots == {(3 + down, 4 + right) for down in reach for right in reach}


def test_hard_digits_are_split_by_source_image():
    data = load_data("digits-hard")
    _, labels = digit_images()
    train, validation, test = stratified_split(labels, (0.65, 0.15), 0)
    assert data.split_sizes == {
        "train": COPIES * len(train),
        "validation": COPIES * len(validation),
        "test": COPIES * len(test),
    }
    assert isinstance(data.test, TensorPart)
    assert data.test.labels.tolist() == np.repeat(labels[test], COPIES).tolist()
    assert float(data.test.inputs.abs().max()) <= 1
    assert torch.isfinite(data.test.inputs).all()
