from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hwmpq.data.base import TensorPart, load_data
from hwmpq.data.cifar import crop_and_flip, read_records
from hwmpq.data.image_folder import ImageFolder, read_image
from hwmpq.errors import TrainingError


def write_cifar(folder, files, labels_per_record, count=40):
    generator = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for file in files:
        labels = np.arange(count) % 4
        records = np.zeros((count, labels_per_record + 3072), dtype=np.uint8)
        records[:, labels_per_record - 1] = labels
        records[:, labels_per_record:] = generator.integers(0, 256, (count, 3072))
        (folder / file).write_bytes(records.tobytes())


@pytest.mark.parametrize(
    ("name", "files", "labels", "train"),
    [
        ("cifar10", [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], 1, 180),
        ("cifar100", ["train.bin", "test.bin"], 2, 36),
    ],
)
def test_cifar_is_read_and_normalised(tmp_path, name, files, labels, train):
    write_cifar(tmp_path / "files", files, labels)
    data = load_data(f"{name}={tmp_path / 'files'}")
    assert data.split_sizes == {"train": train, "validation": train // 9, "test": 40}
    assert isinstance(data.train, TensorPart)
    assert data.train.inputs.shape[1:] == (3, 32, 32)
    mean = data.train.inputs.mean(dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-4, rtol=0)
    deviation = data.train.inputs.std(dim=(0, 2, 3))
    torch.testing.assert_close(deviation, torch.ones(3), atol=1e-3, rtol=0)
    assert set(data.train.labels.tolist()) == {0, 1, 2, 3}
    assert data.train.augment is not None


def test_channels_are_red_green_blue_rows(tmp_path):
    record = np.zeros(3073, dtype=np.uint8)
    record[0] = 7
    record[1 + 32] = 200  # red, second row, first column
    record[1 + 2048 + 5] = 90  # blue, first row, sixth column
    (tmp_path / "one.bin").write_bytes(record.tobytes())
    images, labels = read_records(tmp_path / "one.bin", 1)
    assert labels.tolist() == [7]
    assert images[0, 0, 1, 0] == 200
    assert images[0, 2, 0, 5] == 90


def test_missing_and_broken_files_say_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match=r"is missing; unpack the binary version"):
        load_data(f"cifar10={tmp_path}x")
    (tmp_path / "short.bin").write_bytes(b"123")
    with pytest.raises(TrainingError, match="records of 3073 bytes, but has 3 bytes"):
        read_records(tmp_path / "short.bin", 1)


def test_augmentation_moves_and_mirrors_and_repeats_by_the_generator():
    images = torch.zeros(200, 1, 8, 8)
    images[:, 0, 4, 2] = 1

    def augmented():
        return crop_and_flip(images, torch.Generator().manual_seed(3))

    found = augmented()
    assert torch.equal(found, augmented())
    columns = {int(image[0].sum(dim=0).argmax()) for image in found if image.any()}
    assert columns == set(range(8))
    assert found.shape == images.shape


def write_images(folder, count=10):
    for colour in ("red", "blue"):
        (folder / colour).mkdir(parents=True)
        for index in range(count):
            size = (20 + index, 30)
            Image.new("RGB", size, colour).save(folder / colour / f"{index}.png")


def test_classes_side_by_side_are_split_by_image(tmp_path):
    write_images(tmp_path / "pets")
    data = load_data(str(tmp_path / "pets"))
    assert data.name == "pets"
    assert data.split_sizes == {"train": 14, "validation": 2, "test": 4}
    parts = [
        {file for file, _ in part.samples} for part in (data.train, data.validation, data.test)
    ]
    assert len(set.union(*parts)) == 20
    images, labels = next(iter(data.test.batches(4)))
    assert images.shape == (4, 3, 224, 224)
    # Classes are numbered by name: blue 0, red 1; red images have the brighter first channel.
    assert torch.equal(images[:, 0, 0, 0] > 0, labels == 1)


def test_given_parts_are_kept_and_a_missing_one_is_split_off(tmp_path):
    write_images(tmp_path / "train")
    write_images(tmp_path / "val", count=3)
    whole = ImageFolder(size=8).load(folder=tmp_path)
    assert whole.split_sizes == {"train": 18, "validation": 2, "test": 6}
    write_images(tmp_path / "test", count=2)
    whole = ImageFolder(size=8).load(folder=tmp_path)
    assert whole.split_sizes == {"train": 20, "validation": 6, "test": 4}
    generator = torch.Generator().manual_seed(0)
    images, _ = next(iter(whole.train.batches(5, generator=generator)))
    assert images.shape == (5, 3, 8, 8)


def test_bad_folders_and_files_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="needs a folder of images"):
        ImageFolder().load()
    (tmp_path / "empty" / "cats").mkdir(parents=True)
    with pytest.raises(TrainingError, match="holds no images in folders named after their class"):
        load_data(str(tmp_path / "empty"))
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(TrainingError, match="is no image that can be read"):
        read_image(tmp_path / "broken.png", 8)
