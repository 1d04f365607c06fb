"""Time of a quantised training step, as a ratio of the float one and beside Brevitas.

    pytest tests/benchmarks/bench_training_step.py

ResNet-20 at CIFAR size, one thread, LSQ at 4/4 bits everywhere. Repeats are interleaved, so that
whatever else the machine does falls on all alike, and timed in CPU time.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from statistics import median

import pytest
import torch
from torch import nn

from hwmpq.models.resnet import resnet20
from hwmpq.precision import Precision
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pairs import learned_steps, symmetric_and_clip
from hwmpq.workload.from_torch import extract

BATCH, REPEATS = 32, 9
BITS = Precision(4, 4)
MOST_OF_FLOAT = 1.6
TITLE = "Training step of ResNet-20 at 4/4 bits, batch 32, forward and backward"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, 32, 32, generator=generator)
    return images, torch.randint(0, 10, (BATCH,), generator=generator)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return resnet20()


def quantised(network: nn.Module, factory: Callable) -> nn.Module:
    model = copy.deepcopy(network)
    workload = extract(model, torch.zeros(1, 3, 32, 32))
    start = {layer.name: BITS for layer in workload.multiply_layers}
    return insert_quantizers(model, workload, start, factory).module


def seconds_a_step(models: dict[str, nn.Module], batch) -> dict[str, float]:
    """Median CPU time of forward and backward pass, the first repeats left out."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(REPEATS):
        for name, model in models.items():
            model.train()
            model.zero_grad()
            begun = time.process_time()
            nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
            times[name].append(time.process_time() - begun)
    return {name: median(found[2:]) for name, found in times.items()}


def row(name: str, seconds: float, beside: str, found: dict[str, float], most: float) -> dict:
    """A step's line of the table."""
    return {
        "quantisers": name,
        "CPU ms": 1000 * seconds,
        "beside": beside,
        "its CPU ms": 1000 * found[beside],
        "ratio": f"{seconds / found[beside]:.2f}",
        "at most": f"{most:.2f}",
    }


@pytest.mark.parametrize(
    "factory", [learned_steps([BITS]), symmetric_and_clip(2)], ids=["lsq", "symmetric_and_clip"]
)
def test_a_quantised_step_takes_little_more_than_a_float_one(
    figure, request, network, batch, factory
):
    models = {"float": network, "quantised": quantised(network, factory)}
    found = seconds_a_step(models, batch)
    ratio = found["quantised"] / found["float"]
    figure(TITLE, row(request.node.callspec.id, found["quantised"], "float", found, MOST_OF_FLOAT))
    assert ratio <= MOST_OF_FLOAT


def brevitas_twin(network: nn.Module) -> nn.Module:
    """The network with Brevitas' layers: learned scales for weights and inputs at 4 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        brevitas = pytest.importorskip("brevitas", reason="the bench extra is not installed")
        from brevitas import nn as qnn
        from brevitas.inject.enum import ScalingImplType
        from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat

        assert brevitas.__version__

        class Weight(Int8WeightPerTensorFloat):
            bit_width = BITS.weight_bits
            scaling_impl_type = ScalingImplType.PARAMETER_FROM_STATS

        class Input(Int8ActPerTensorFloat):
            bit_width = BITS.activation_bits

        model = copy.deepcopy(network)
        for name, module in list(model.named_modules()):
            quantisers = {"weight_quant": Weight, "input_quant": Input}
            if isinstance(module, nn.Conv2d):
                twin = qnn.QuantConv2d(
                    module.in_channels,
                    module.out_channels,
                    module.kernel_size,
                    stride=module.stride,
                    padding=module.padding,
                    bias=False,
                    **quantisers,
                )
            elif isinstance(module, nn.Linear):
                twin = qnn.QuantLinear(
                    module.in_features, module.out_features, bias=True, **quantisers
                )
            else:
                continue
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, twin)
        return model


@pytest.mark.filterwarnings("ignore")
def test_a_step_is_not_slower_than_brevitas(figure, network, batch):
    models = {
        "hwmpq": quantised(network, learned_steps([BITS])),
        "brevitas": brevitas_twin(network),
    }
    found = seconds_a_step(models, batch)
    ratio = found["hwmpq"] / found["brevitas"]
    figure(TITLE, row("lsq", found["hwmpq"], "brevitas", found, 1.0))
    assert ratio <= 1
