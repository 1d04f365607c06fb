"""CPU time of full cost tables on bit-fusion machines.

hsharma35/bitfusion takes 5.5 to 9.6 CPU seconds for the 21 layers of ResNet-18 at one pair of
bit-widths and batch 1, and 18 to 23 at batch 16: about 7.5 and 21 minutes for the 64 pairs timed
here. ANT's fork takes about 80 seconds for one pair at batch 64.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from hwmpq.accelerator.loader import load_accelerator
from hwmpq.cost.table import cost_table
from hwmpq.precision import precisions
from hwmpq.workload.graph import Workload, WorkloadBuilder
from hwmpq.workload.layer import Conv2d, Linear

FIGURES = Path(__file__).parents[1] / "reference" / "bitfusion.csv"


def resnet18(batch: int) -> Workload:
    """The 21 multiplying layers, 12 of them distinct."""
    rows = pd.read_csv(FIGURES, skiprows=1)
    builder = WorkloadBuilder("resnet18")
    for row in rows[(rows.network == "ResNet18") & (rows.batch == 1)].iloc[:21].itertuples():
        if row.op == "fc":
            builder.add(
                Linear(
                    name=row.layer,
                    batch=batch,
                    in_features=int(row.C),
                    out_features=int(row.K),
                )
            )
            continue
        builder.add(
            Conv2d(
                name=row.layer,
                batch=batch,
                in_channels=int(row.C),
                in_height=int(row.H),
                in_width=int(row.W),
                out_channels=int(row.K),
                kernel_size=int(row.R),
                stride=int(row.stride),
                padding=int(row.pad),
            )
        )
    return builder.build()


# The first two are targets; the others show what other machines and choices cost.
@pytest.mark.parametrize(
    ("name", "batch", "target_s"),
    [
        ("bitfusion-isca18", 1, 1.0),
        ("bitfusion-isca18", 16, 2.0),
        ("bitfusion-edge", 1, 1.0),
        ("ant-bitfusion", 1, 1.0),
        ("bitfusion-realistic", 1, 1.0),
    ],
)
def test_resnet18_full_table(
    figure: Callable, empty_caches: Callable, name: str, batch: int, target_s: float
) -> None:
    workload, accelerator = resnet18(batch), load_accelerator(name)
    pairs = precisions(range(1, 9), range(1, 9))
    empty_caches()
    start = time.process_time()
    table = cost_table(workload, accelerator, pairs)
    seconds = time.process_time() - start
    figure(
        "All 64 precision pairs of ResNet-18 on bit-fusion machines",
        {"accelerator": name, "batch": batch, "CPU s": seconds, "at most": target_s},
    )
    assert seconds < target_s
    assert table.latency_cycles.shape == (21, 64)
