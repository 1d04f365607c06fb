"""The CIFAR images: 32 x 32 colour, read from the published binary files.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The binary version
(``cifar-10-binary.tar.gz``, ``cifar-100-binary.tar.gz``) holds records of label bytes followed by
3072 bytes of red, green and blue rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwmpq.data.base import Data, TensorPart, fingerprint, stratified_split
from hwmpq.errors import TrainingError

PIXELS: Final = 3 * 32 * 32
VALIDATION_SHARE: Final = 0.1
"""Share of each class of the published training images that is kept for validation."""
REACH: Final = 4
"""Pixels that a training image is moved at most, each way."""

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def read_records(file: Path, label_bytes: int) -> tuple[Images, Labels]:
    """Images ``[count, 3, 32, 32]`` and the last label of each record.

    Raises:
        TrainingError: the file is missing or no whole number of records.
    """
    if not file.is_file():
        msg = (
            f"'{file}' is missing; unpack the binary version of the data set and give its folder, "
            "such as --data cifar10=data/cifar-10-batches-bin"
        )
        raise TrainingError(msg)
    content = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    size = label_bytes + PIXELS
    if len(content) == 0 or len(content) % size:
        msg = f"'{file}' must hold records of {size} bytes, but has {len(content)} bytes"
        raise TrainingError(msg)
    records = content.reshape(-1, size)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return images, records[:, label_bytes - 1].astype(np.int64)


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to four pixels, zeros coming in, and mirror every second one.

    The usual augmentation: K. He et al., CVPR 2016, section 4.2.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (REACH, REACH, REACH, REACH))
    moves = torch.randint(0, 2 * REACH + 1, (count, 2), generator=generator).tolist()
    mirrored = (torch.rand(count, generator=generator) < 0.5).tolist()
    cropped = [
        padded[index, :, down : down + height, right : right + width]
        for index, (down, right) in enumerate(moves)
    ]
    return torch.stack(
        [image.flip(-1) if flip else image for image, flip in zip(cropped, mirrored, strict=True)]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cifar:
    """One of the two data sets.

    Attributes:
        name: what manifests call it.
        train_files: files of the training images.
        test_files: files of the test images.
        label_bytes: labels at the start of a record, of which the last is used.
        folder: where the files lie unless said otherwise.
    """

    name: str
    train_files: Sequence[str]
    test_files: Sequence[str]
    label_bytes: int
    folder: str

    def load(self, *, folder: Path | None = None, seed: int = 0) -> Data:
        """Read, keep a tenth of the training images for validation, and normalise.

        Channels get mean zero and variance one over the training part.

        Raises:
            TrainingError: a file is missing or broken.
        """
        root = Path(self.folder) if folder is None else folder
        images, labels = self._read(root, self.train_files)
        test_images, test_labels = self._read(root, self.test_files)
        train, validation = stratified_split(labels, (1 - VALIDATION_SHARE,), seed)
        mean = images[train].mean(axis=(0, 2, 3)).astype(np.float32)
        deviation = images[train].std(axis=(0, 2, 3)).astype(np.float32)

        def part(found: Images, targets: Labels, *, training: bool = False) -> TensorPart:
            scaled = (found - mean[:, None, None]) / deviation[:, None, None]
            inputs = torch.from_numpy(scaled.astype(np.float32))
            augment = crop_and_flip if training else None
            return TensorPart(inputs, torch.from_numpy(targets), augment)

        return Data(
            name=self.name,
            train=part(images[train], labels[train], training=True),
            validation=part(images[validation], labels[validation]),
            test=part(test_images, test_labels),
            fingerprint=fingerprint(images, labels, test_images, test_labels, train),
        )

    def _read(self, root: Path, files: Sequence[str]) -> tuple[Images, Labels]:
        parts = [read_records(root / file, self.label_bytes) for file in files]
        images, labels = zip(*parts, strict=True)
        return np.concatenate(images), np.concatenate(labels)
