"""The digits made harder: moved and noisy copies, split by source image before they are made.

Plain digits are learned to 99 % by almost any assignment of bits, so they tell methods apart
badly. Every image of every part, validation and test included, is moved by up to one pixel each
way (the border repeats) and gets Gaussian noise; copies of one image never lie in two parts. The
copies are made once, from the seed, so validation and test are the same images for every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from hwmpq.data.base import Data, TensorPart, fingerprint, stratified_split
from hwmpq.data.digits import digit_images, normalised

COPIES: Final = 3
LARGEST_SHIFT: Final = 1
NOISE: Final = 0.15
"""Standard deviation of the noise, as a share of the pixel range."""


def harder(
    images: npt.NDArray[np.float32], copies: int, generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Moved and noisy copies ``[images * copies, 1, height, width]``, pixels still within 0..1."""
    repeated = np.repeat(images, copies, axis=0)
    height, width = repeated.shape[-2:]
    reach = LARGEST_SHIFT
    padded = np.pad(repeated, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    moves = generator.integers(0, 2 * reach + 1, size=(len(repeated), 2))
    moved = np.stack(
        [
            image[:, down : down + height, right : right + width]
            for image, (down, right) in zip(padded, moves, strict=True)
        ]
    )
    noisy = moved + generator.normal(0, NOISE, size=moved.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)


class DigitsHard:
    """Three harder copies of each digit; the split is that of the plain digits."""

    def load(self, *, folder: Path | None = None, seed: int = 0) -> Data:
        """Split by source image, then make the copies of each part."""
        del folder
        images, labels = digit_images()
        generator = np.random.default_rng([seed, 1])
        parts: list[TensorPart] = []
        hashes: list[npt.NDArray[Any]] = []
        for indices in stratified_split(labels, (0.65, 0.15), seed):
            inputs = normalised(harder(images[indices], COPIES, generator))
            targets = np.repeat(labels[indices], COPIES)
            hashes.extend((inputs, targets))
            parts.append(TensorPart(torch.from_numpy(inputs), torch.from_numpy(targets)))
        train, validation, test = parts
        return Data("digits-hard", train, validation, test, fingerprint(*hashes))


DATASET = DigitsHard()
