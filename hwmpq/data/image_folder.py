"""Images in folders named after their class, decoded as they are needed.

Either ``train/``, ``validation/`` (or ``val/``) and ``test/`` hold a folder a class each, or the
folders of the classes lie side by side and are split by image. Without a test part, the validation
part of the files becomes the test part and validation is split from training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from hwmpq.data.base import Augment, Batch, Data, batch_indices, stratified_split
from hwmpq.errors import TrainingError

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"})
MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet as torchvision's pretrained networks expect them."""
_ENLARGED: Final = 256 / 224
"""The shorter side is scaled to this multiple of the crop, as in the usual ImageNet evaluation."""

Sample = tuple[Path, int]


def read_image(file: Path, size: int) -> Tensor:
    """An image ``[3, size, size]``: shorter side scaled, centre cut out, channels normalised.

    Raises:
        TrainingError: the file is no image.
    """
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        msg = f"'{file}' is no image that can be read; remove it or repair it"
        raise TrainingError(msg) from error
    scale = round(size * _ENLARGED) / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image, dtype=np.float32) / 255
    normalised = (pixels - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


def mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every second image."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


@dataclass(frozen=True, slots=True, eq=False)
class ImagePart:
    """Image files with labels.

    Attributes:
        samples: files and labels.
        size: height and width handed out.
        augment: applied to shuffled batches.
    """

    samples: tuple[Sample, ...]
    size: int
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """All samples once, decoded batch by batch."""
        for chosen in batch_indices(len(self), batch_size, generator):
            picked = [self.samples[index] for index in chosen.tolist()]
            images = torch.stack([read_image(file, self.size) for file, _ in picked])
            if generator is not None and self.augment is not None:
                images = self.augment(images, generator)
            yield images, torch.tensor([label for _, label in picked])


def find_samples(root: Path) -> tuple[Sample, ...]:
    """Files and labels below a folder, classes numbered in the order of their names.

    Raises:
        TrainingError: there is no image.
    """
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir())
    samples = tuple(
        (file, label)
        for label, folder in enumerate(classes)
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES
    )
    if not samples:
        msg = f"'{root}' holds no images in folders named after their class"
        raise TrainingError(msg)
    return samples


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """Images of one size.

    Attributes:
        size: height and width of the cut-out.
    """

    size: int = 224

    def load(self, *, folder: Path | None = None, seed: int = 0) -> Data:
        """List files and split them where they are not.

        Raises:
            TrainingError: no folder was given, or it holds no images.
        """
        if folder is None or not folder.is_dir():
            msg = f"image_folder needs a folder of images, but got {folder}; pass --data FOLDER"
            raise TrainingError(msg)
        train, validation, test = self._parts(folder, seed)
        return Data(
            name=folder.name,
            train=ImagePart(train, self.size, mirror),
            validation=ImagePart(validation, self.size),
            test=ImagePart(test, self.size),
            fingerprint=_fingerprint(folder, (train, validation, test)),
        )

    def _parts(self, folder: Path, seed: int) -> tuple[tuple[Sample, ...], ...]:
        train = folder / "train"
        if not train.is_dir():
            return _split(find_samples(folder), (0.7, 0.1), seed)
        held = next((folder / n for n in ("validation", "val") if (folder / n).is_dir()), None)
        test = folder / "test"
        if held is not None and test.is_dir():
            return find_samples(train), find_samples(held), find_samples(test)
        last = test if test.is_dir() else held
        if last is None:
            msg = f"'{folder}' has train/ but neither validation/ nor test/"
            raise TrainingError(msg)
        return (*_split(find_samples(train), (0.9,), seed), find_samples(last))


def _split(
    samples: tuple[Sample, ...], shares: tuple[float, ...], seed: int
) -> tuple[tuple[Sample, ...], ...]:
    labels = np.array([label for _, label in samples], dtype=np.int64)
    return tuple(
        tuple(samples[index] for index in indices)
        for indices in stratified_split(labels, shares, seed)
    )


def _fingerprint(folder: Path, parts: tuple[tuple[Sample, ...], ...]) -> str:
    """Hash of names, sizes and labels; contents would take reading everything."""
    digest = hashlib.sha256()
    for part in parts:
        for file, label in part:
            entry = f"{file.relative_to(folder)} {file.stat().st_size} {label}\n"
            digest.update(entry.encode())
        digest.update(b"--")
    return digest.hexdigest()


DATASET = ImageFolder()
