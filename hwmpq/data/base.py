"""Data sets: three parts that share no source image, in batches that a seed repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwmpq import registry
from hwmpq.errors import TrainingError

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Inputs and integer labels."""

Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""Changes a batch of inputs at random, by the given generator only."""


class Part(Protocol):
    """Labelled samples, such as the training part of a data set."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """All samples once; shuffled (and augmented) by the generator, in order without one."""
        ...


def batch_indices(
    count: int, batch_size: int, generator: torch.Generator | None
) -> Sequence[Tensor]:
    """Indices of all samples once, batch by batch: in order, or shuffled by a generator.

    The last batch is smaller if they do not divide.
    """
    order = (
        torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    )
    return torch.split(order, batch_size)


@dataclass(frozen=True, slots=True, eq=False)
class TensorPart:
    """Samples held in memory.

    Attributes:
        inputs: ``[samples, ...]``.
        labels: ``[samples]``, int64.
        augment: applied to shuffled batches, so to training only.
    """

    inputs: Tensor
    labels: Tensor
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or len(self.labels) == 0:
            msg = (
                "a part of a data set needs as many inputs as labels and at least one, but got "
                f"{len(self.inputs)} and {len(self.labels)}"
            )
            raise TrainingError(msg)
        if not bool(torch.isfinite(self.inputs).all()):
            msg = "inputs must be finite, but some are NaN or infinite"
            raise TrainingError(msg)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """All samples once, the last batch being smaller if they do not divide."""
        for chosen in batch_indices(len(self), batch_size, generator):
            inputs = self.inputs[chosen]
            if generator is not None and self.augment is not None:
                inputs = self.augment(inputs, generator)
            yield inputs, self.labels[chosen]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """A data set, split.

    Attributes:
        name: what manifests call it.
        train: for gradients and statistics.
        validation: for choosing checkpoints.
        test: used once, for the reported accuracy.
        fingerprint: sha256 of what the samples come from.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    fingerprint: str

    @property
    def example(self) -> Tensor:
        """One input, with a batch dimension of one."""
        inputs, _ = next(iter(self.validation.batches(1)))
        return inputs

    @property
    def split_sizes(self) -> dict[str, int]:
        """Samples of each part."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }


class DataSet(Protocol):
    """Where data come from.

    A module of ``hwmpq/data`` that defines ``DATASET`` is such a data set; its registry name is
    the module name.
    """

    def load(self, *, folder: Path | None = None, seed: int = 0) -> Data:
        """Read and split.

        Args:
            folder: where files lie, for data sets that read some.
            seed: of the split, and of what is made up.

        Raises:
            TrainingError: the files are missing or unusable.
        """
        ...


def load_data(name: str, *, folder: Path | None = None, seed: int = 0) -> Data:
    """Load a data set by name, by ``name=folder``, or an image folder by its path.

    A name wins over a folder that is called the same; ``./digits`` is the folder.

    Raises:
        NotFoundError: no such data set.
        TrainingError: its files are missing or unusable.
    """
    known = name.replace("-", "_") in registry.entries("data")
    if folder is None and not known and Path(name).is_dir():
        name, folder = "image_folder", Path(name)
    elif folder is None and "=" in name:
        name, _, path = name.partition("=")
        folder = Path(path)
    dataset: DataSet = registry.resolve("data", name)
    return dataset.load(folder=folder, seed=seed)


def calibration_batches(
    data: Data | Iterable[Batch], *, batches: int, batch_size: int, seed: int
) -> Iterator[Batch]:
    """At most so many batches: drawn from the training part by the seed, or the caller's own.

    Raises:
        TrainingError: there is no batch.
    """
    if isinstance(data, Data):
        generator = torch.Generator().manual_seed(seed)
        source: Iterable[Batch] = data.train.batches(batch_size, generator=generator)
    else:
        source = data
    empty = True
    for batch in islice(source, batches):
        empty = False
        yield batch
    if empty:
        msg = "calibration needs at least one batch, but the data hold none"
        raise TrainingError(msg)


def fingerprint(*arrays: npt.NDArray[Any]) -> str:
    """Hash of arrays' shapes, types and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def stratified_split(
    labels: npt.NDArray[np.int64], shares: tuple[float, ...], seed: int
) -> tuple[npt.NDArray[np.int64], ...]:
    """Sorted indices of disjoint parts, each class cut in the same shares.

    The last part takes what the shares leave.

    Raises:
        TrainingError: a class has too few samples to be in every part.
    """
    generator = np.random.default_rng(seed)
    parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        found = generator.permutation(np.flatnonzero(labels == label))
        cuts = np.round(np.cumsum(shares) * len(found)).astype(np.int64)
        for part, piece in zip(parts, np.split(found, cuts), strict=True):
            if len(piece) == 0:
                msg = (
                    f"class {label} has only {len(found)} samples, "
                    f"too few for {len(parts)} parts with shares of {shares}"
                )
                raise TrainingError(msg)
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def from_arrays(
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    name: str = "arrays",
    validation_share: float = 0.15,
    test_share: float = 0.2,
    seed: int = 0,
    augment: Augment | None = None,
) -> Data:
    """Split arrays of your own, stratified by label.

    Args:
        inputs: ``[samples, ...]``, as the network takes them.
        labels: ``[samples]``, whole numbers from 0.
        name: what manifests call the data.
        validation_share: share of each class for choosing checkpoints.
        test_share: share of each class for the reported accuracy.
        seed: of the split.
        augment: changes training batches at random.

    Raises:
        TrainingError: the arrays do not fit together or a class is too small.
    """
    if len(inputs) != len(labels):
        msg = f"there must be one label an input, but got {len(inputs)} and {len(labels)}"
        raise TrainingError(msg)
    shares = (1 - validation_share - test_share, validation_share)
    indices = stratified_split(labels.astype(np.int64), shares, seed)
    values = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
    targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
    train, validation, test = (torch.from_numpy(part) for part in indices)
    return Data(
        name=name,
        train=TensorPart(values[train], targets[train], augment),
        validation=TensorPart(values[validation], targets[validation]),
        test=TensorPart(values[test], targets[test]),
        fingerprint=fingerprint(inputs, labels, *indices),
    )
