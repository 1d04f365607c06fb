"""CPU time of full cost tables on bit-serial machines.

DNNsim takes 5.5 to 9.7 CPU seconds for five layers of ResNet-18 on Stripes or Loom at one pair of
bit-widths, since it replays every value; BitSim and BitMoD take up to a millisecond for a network
at one pair, and 2.2 to 5 seconds of waiting for CACTI before.
"""

import time
from collections.abc import Callable
from statistics import median

import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.table import cost_table
from hwmpq.precision import precisions
from hwmpq.workload.graph import Workload, WorkloadBuilder
from hwmpq.workload.layer import Conv2d, Linear

TARGET_S = 0.05
NAMES = ("stripes", "stripes-bitsim", "loom-1b", "bismo-16x256x16", "unpu", "bitmod")


def resnet18() -> Workload:
    """The 21 multiplying layers, 12 of them distinct."""
    builder = WorkloadBuilder("resnet18")

    def conv(name: str, channels: int, size: int, filters: int, kernel: int, stride: int) -> None:
        builder.add(
            Conv2d(
                name=name,
                in_channels=channels,
                in_height=size,
                in_width=size,
                out_channels=filters,
                kernel_size=kernel,
                stride=stride,
                padding=kernel // 2,
            )
        )

    conv("conv1", 3, 224, 64, 7, 2)
    size, channels = 56, 64
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            conv(f"layer{stage}.{block}.conv1", channels, size, filters, 3, stride)
            conv(f"layer{stage}.{block}.conv2", filters, size // stride, filters, 3, 1)
            if stride == 2:
                conv(f"layer{stage}.{block}.downsample", channels, size, filters, 1, 2)
            channels, size = filters, size // stride
    builder.add(Linear(name="fc", in_features=512, out_features=1000))
    return builder.build()


@pytest.mark.parametrize("name", NAMES)
def test_resnet18_full_table(figure: Callable, empty_caches: Callable, name: str) -> None:
    workload, accelerator = resnet18(), load_accelerator(name)
    pairs = precisions(range(1, 9), range(1, 9))
    times = []
    for _ in range(5):
        empty_caches()
        start = time.process_time()
        table = cost_table(workload, accelerator, pairs)
        times.append(time.process_time() - start)
        assert table.latency_cycles.shape == (21, 64)
    figure(
        "All 64 precision pairs of ResNet-18 on bit-serial machines",
        {"accelerator": name, "CPU s": median(times), "at most": TARGET_S},
    )
    assert median(times) < TARGET_S
