"""Folding batch norms into the convolution or linear layer before them.

At inference a batch norm is ``s (y - mean) + shift`` for each channel, with
``s = scale / sqrt(variance + eps)``. Behind ``y = W x + b`` it is a layer with the weights ``s W``
and the bias ``s (b - mean) + shift``. Quantised weights keep their codes: only the step becomes
``s`` times as large, one for each output channel, which is how integer hardware requantises.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn.utils import parametrize

from hwmpq.errors import UnsupportedError
from hwmpq.quant.quantized import QuantizedLayer
from hwmpq.workload.torch_nodes import operator_name, result_shape
from hwmpq.workload.torch_trace import ExampleInput, trace

_LAYERS: Final = {
    "aten.linear": nn.Linear,
    "aten.conv1d": nn.Conv1d,
    "aten.conv2d": nn.Conv2d,
    "aten.conv_transpose1d": nn.ConvTranspose1d,
    "aten.conv_transpose2d": nn.ConvTranspose2d,
}
_TOLERANCE: Final = 1e-3
"""Largest difference between folded and unfolded outputs, as a share of the largest output."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelScale:
    """A batch norm at inference, ``scale * y + shift`` for each channel."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FoldedCodes:
    """A quantised layer and its batch norm as one layer, ``steps[channel] * code``.

    Attributes:
        codes: integer codes of the weight, those of the layer without the norm.
        steps: for each output channel; negative where the norm turns the sign.
        bias: for each output channel.
    """

    codes: Tensor
    steps: Tensor
    bias: Tensor


def channel_scale(norm: nn.Module) -> ChannelScale:
    """Scale and shift that a batch norm comes down to.

    Raises:
        UnsupportedError: it is no batch norm, or keeps no statistics.
    """
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    if mean is None or variance is None:
        msg = f"a {type(norm).__name__} without running statistics cannot be folded"
        raise UnsupportedError(msg)
    weight, bias = cast("Any", norm).weight, cast("Any", norm).bias
    scale = torch.rsqrt(variance + cast("float", norm.eps))
    scale = scale if weight is None else scale * weight.detach()
    shift = -mean * scale
    return ChannelScale(scale, shift if bias is None else shift + bias.detach())


def folded_weight(layer: nn.Module, scale: Tensor) -> Tensor:
    """A layer's weight times a factor for each output channel."""
    weight = cast("Tensor", layer.weight).detach()
    if not isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
        return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    # Transposed filters are [in, out / groups, ...]; the inputs of a group follow each other.
    inputs, outputs = weight.shape[:2]
    groups = layer.groups
    factors = scale.reshape(groups, 1, outputs).expand(groups, inputs // groups, outputs)
    return weight * factors.reshape(inputs, outputs, *[1] * (weight.dim() - 2))


def folded_bias(layer: nn.Module, norm: ChannelScale) -> Tensor:
    """Bias of the layer that stands for a layer and its norm."""
    bias = getattr(layer, "bias", None)
    return norm.shift if bias is None else norm.shift + norm.scale * bias.detach()


def fold_codes(layer: QuantizedLayer, norm: nn.Module) -> FoldedCodes:
    """A quantised layer with the batch norm behind it as integer codes and a step a channel.

    Raises:
        UnsupportedError: the layer is in float, or the norm keeps no statistics.
    """
    found = channel_scale(norm)
    step = layer.weight.grid(layer.shadow).step
    bias = folded_bias(layer.module, found)
    return FoldedCodes(layer.codes(), step * found.scale, bias)


def batch_norm_pairs(model: nn.Module, example_input: ExampleInput) -> dict[str, str]:
    """Layers whose output a batch norm alone reads: name of the layer -> name of the norm.

    A layer or norm that runs several times is left out, since it is one set of weights.
    """
    program = trace(model, example_input)
    signature = program.graph_signature
    holders = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    modules = dict(model.named_modules())
    pairs: dict[str, str] = {}
    seen: list[str] = []
    for node in program.graph.nodes:
        if operator_name(node) in _LAYERS:
            seen.append(_module_of(node, 1, holders))
        if operator_name(node) != "aten.batch_norm":
            continue
        norm = _module_of(node, 3, holders)
        seen.append(norm)
        producer = node.args[0]
        layer = _module_of(producer, 1, holders)
        kind = _LAYERS.get(operator_name(producer))
        if kind is None or len(producer.users) > 1 or not norm or not layer:
            continue
        rank = len(result_shape(producer))
        if isinstance(modules.get(layer), kind) and (kind is not nn.Linear or rank == 2):
            pairs[layer] = norm
    return {
        layer: norm for layer, norm in pairs.items() if seen.count(layer) == seen.count(norm) == 1
    }


def _module_of(node: Node, position: int, holders: Mapping[str, str]) -> str:
    """Name of the module that holds an argument of a node, empty if the argument is computed."""
    if len(node.args) <= position or not isinstance(node.args[position], Node):
        return ""
    return str(holders.get(cast("Node", node.args[position]).name, "")).rpartition(".")[0]


def fold_batch_norms(model: nn.Module, example_input: ExampleInput) -> nn.Module:
    """A copy of a float network, in evaluation mode, whose batch norms are part of other layers.

    Norms that cannot be folded stay. Names stay too: a folded norm becomes an `nn.Identity`.

    Args:
        model: the network, left as it is.
        example_input: what it is traced and checked with.

    Raises:
        UnsupportedError: a layer has quantisers already, or the folded network answers
            differently, as it does where variances are too close to zero for its number format.
    """
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            msg = (
                f"layer '{name}' has quantisers or parametrisations of its weight; fold before "
                "inserting them, or fold its codes"
            )
            raise UnsupportedError(msg)
    folded = copy.deepcopy(model).eval()
    pairs = batch_norm_pairs(model, example_input)
    for layer_name, norm_name in pairs.items():
        layer, norm = folded.get_submodule(layer_name), folded.get_submodule(norm_name)
        found = channel_scale(norm)
        bias = nn.Parameter(folded_bias(layer, found))
        cast("Any", layer).weight.data = folded_weight(layer, found.scale)
        layer.register_parameter("bias", bias)
        parent, _, leaf = norm_name.rpartition(".")
        setattr(folded.get_submodule(parent), leaf, nn.Identity())
    _require_same(model, folded, example_input)
    return folded


@torch.no_grad()
def _require_same(model: nn.Module, folded: nn.Module, example: ExampleInput) -> None:
    if any(tensor.is_meta for tensor in folded.parameters()):
        return
    twin = copy.deepcopy(model).eval()
    pairs = zip(_outputs(twin, example), _outputs(folded, example), strict=True)
    for before, after in pairs:
        largest = float(before.abs().amax())
        error = float((after - before).abs().amax())
        if not error <= _TOLERANCE * largest:
            msg = (
                f"folding the batch norms of {type(model).__name__} changes its output by "
                f"{error:.3g} where the largest is {largest:.3g}; look for channels whose "
                "variance is near zero"
            )
            raise UnsupportedError(msg)


def _outputs(model: nn.Module, example: ExampleInput) -> Iterator[Tensor]:
    example = copy.deepcopy(example)
    if isinstance(example, Tensor):
        found = model(example)
    elif isinstance(example, Mapping):
        found = model(**example)
    else:
        found = model(*example)
    for item in found if isinstance(found, list | tuple) else [found]:
        if isinstance(item, Tensor) and item.is_floating_point():
            yield item
