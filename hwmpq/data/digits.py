"""Scikit-learn's handwritten digits: 1797 real images of 8 x 8 pixels, ten classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from hwmpq.data.base import Data, from_arrays


def digit_images() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Images ``[1797, 1, 8, 8]`` between 0 and 1, and labels ``[1797]``.

    References:
        E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
        Repository, doi:10.24432/C50P49; the test part, as shipped with scikit-learn.
    """
    bunch: Any = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    return images, bunch.target.astype(np.int64)


def normalised(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pixels shifted and scaled from 0..1 to -1..1."""
    return images * 2 - 1


class Digits:
    """The images as they are; 65 % train, 15 % validation, 20 % test of each class."""

    def load(self, *, folder: Path | None = None, seed: int = 0) -> Data:
        """Split by image; no file is read besides scikit-learn's own."""
        del folder
        images, labels = digit_images()
        return from_arrays(normalised(images), labels, name="digits", seed=seed)


DATASET = Digits()
