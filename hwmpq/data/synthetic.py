"""Made-up images of any size: a random pattern per class plus noise, for quick runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmpq.data.base import Data, from_arrays


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Images that a small network can learn.

    Attributes:
        samples: images over all parts.
        classes: number of classes.
        shape: channels, height, width.
        noise: standard deviation of the noise; the patterns have one.
    """

    samples: int = 600
    classes: int = 10
    shape: tuple[int, int, int] = (3, 32, 32)
    noise: float = 1.0

    def load(self, *, folder: Path | None = None, seed: int = 0) -> Data:
        """Draw patterns, labels and noise from the seed."""
        del folder
        generator = np.random.default_rng(seed)
        patterns = generator.standard_normal((self.classes, *self.shape), dtype=np.float32)
        labels = np.arange(self.samples) % self.classes
        noise = generator.standard_normal((self.samples, *self.shape), dtype=np.float32)
        images = patterns[labels] + np.float32(self.noise) * noise
        return from_arrays(images, labels.astype(np.int64), name="synthetic", seed=seed)


DATASET = Synthetic()
