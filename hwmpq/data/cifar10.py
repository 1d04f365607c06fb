"""CIFAR-10 from its published binary files; ten classes."""

from __future__ import annotations

from hwmpq.data.cifar import Cifar

DATASET = Cifar(
    name="cifar10",
    train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test_files=("test_batch.bin",),
    label_bytes=1,
    folder="data/cifar-10-batches-bin",
)
