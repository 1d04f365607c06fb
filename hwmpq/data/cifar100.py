"""CIFAR-100 from its published binary files; a hundred classes."""

from __future__ import annotations

from hwmpq.data.cifar import Cifar

DATASET = Cifar(
    name="cifar100",
    train_files=("train.bin",),
    test_files=("test.bin",),
    label_bytes=2,
    folder="data/cifar-100-binary",
)
