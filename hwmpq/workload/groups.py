"""Layers of a network that share a bit-width because they share a tensor or a place.

Every tensor is stored once, so all layers that read it read it at one width. A residual addition
and a concatenation need their operands in one format on machines that do not convert between them;
``tie_residual`` says that the machine is one of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import networkx as nx

from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import MULTIPLY_LAYERS, FreeOp, MatMul, VectorOp

Groups = tuple[tuple[str, ...], ...]

_JOINS: Final = frozenset({"add", "concat"})
_KEEPS_FORMAT: Final = frozenset({"relu", "relu6", "max_pool2d"})
"""Operators that pick or clip values, so that operand and result share a format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationGroups:
    """Layers that share bits; every group has at least two.

    Attributes:
        activations: layers that read one tensor, or tensors of one format, at one width.
        weights: layers whose weights share a width: partners of a residual addition, and the
            query, key and value of one attention.
        repeated: uses of one module, which share everything.
    """

    activations: Groups
    weights: Groups
    repeated: Groups


def _merged(groups: Iterable[Iterable[str]], order: Mapping[str, int]) -> Groups:
    """Groups that overlap become one; members and groups are in execution order."""
    joined: nx.Graph[str] = nx.Graph()
    for group in groups:
        nx.add_path(joined, group)
    found = [
        tuple(sorted(part, key=order.__getitem__)) for part in nx.connected_components(joined)
    ]
    return tuple(sorted((g for g in found if len(g) > 1), key=lambda group: order[group[0]]))


def _formats(workload: Workload, *, tie_residual: bool) -> dict[str, str]:
    """For each node, a node that stands for all tensors of the same format."""
    same: nx.Graph[str] = nx.Graph()
    same.add_nodes_from(workload.graph)
    for layer in workload.layers:
        producers = [tensor.producer for tensor in workload.inputs_of(layer.name)]
        renames = isinstance(layer, FreeOp) and len(producers) == 1
        joins = isinstance(layer, FreeOp) or layer.op in _JOINS | _KEEPS_FORMAT
        if renames or (tie_residual and joins):
            nx.add_path(same, [layer.name, *producers])
    return {name: sorted(part)[0] for part in nx.connected_components(same) for name in part}


def _order(workload: Workload) -> dict[str, int]:
    return {layer.name: index for index, layer in enumerate(workload.layers)}


def activation_groups(workload: Workload, *, tie_residual: bool = False) -> Groups:
    """Layers that read the same tensor, which is stored once and so at one width.

    A matmul's second operand takes the weight path and ties nothing.
    """
    formats = _formats(workload, tie_residual=tie_residual)
    readers: dict[str, list[str]] = {}
    for layer in workload.multiply_layers:
        inputs = workload.inputs_of(layer.name)
        if inputs:
            readers.setdefault(formats[inputs[0].producer], []).append(layer.name)
    return tuple(tuple(names) for names in readers.values() if len(names) > 1)


def repeated_layers(workload: Workload) -> Groups:
    """Uses of one module that runs several times: one weight, so one precision."""
    uses: dict[str, list[str]] = {}
    for layer in workload.multiply_layers:
        if not isinstance(layer, MatMul):
            uses.setdefault(layer.name.partition("#")[0], []).append(layer.name)
    return tuple(tuple(names) for names in uses.values() if len(names) > 1)


def _writer(workload: Workload, producer: str) -> str | None:
    """The multiplying layer behind a tensor, seen through operators with one operand."""
    while True:
        layer = workload.graph.nodes[producer]["layer"]
        if isinstance(layer, MULTIPLY_LAYERS):
            return layer.name
        inputs = [] if layer is None else workload.inputs_of(producer)
        if len(inputs) != 1:
            return None
        producer = inputs[0].producer


def residual_partners(workload: Workload) -> Groups:
    """Layers that write the operands of one addition or concatenation.

    A shortcut without weights has no partner.

    References:
        Z. Yao et al., "HAWQ-V3", ICML 2021 (arXiv:2011.10680): a downsampling convolution gets the
        bits of the convolution in the main path of its block.
    """
    found = []
    for layer in workload.layers:
        if isinstance(layer, VectorOp) and layer.op in _JOINS:
            producers = (tensor.producer for tensor in workload.inputs_of(layer.name))
            writers = [_writer(workload, producer) for producer in producers]
            found.append([writer for writer in dict.fromkeys(writers) if writer is not None])
    return _merged(found, _order(workload))


def attention_groups(workload: Workload) -> Groups:
    """Query, key and value layers of each attention: what feeds its two products."""
    found = []
    for layer in workload.multiply_layers:
        if isinstance(layer, MatMul):
            writers = set(_linear_writers(workload, layer.name))
            if len(writers) > 1:
                found.append(writers)
    return _merged(found, _order(workload))


def _linear_writers(workload: Workload, name: str) -> Iterator[str]:
    """Layers with weights behind a product's operands; another product's are found by itself."""
    for tensor in workload.inputs_of(name):
        seen = [tensor.producer]
        while seen:
            producer = seen.pop()
            layer = workload.graph.nodes[producer]["layer"]
            if isinstance(layer, MatMul):
                yield from _linear_writers(workload, producer)
            elif isinstance(layer, MULTIPLY_LAYERS):
                yield layer.name
            elif layer is not None:
                seen += [inner.producer for inner in workload.inputs_of(producer)]


def quantization_groups(workload: Workload, *, tie_residual: bool) -> QuantizationGroups:
    """Everything in a network that shares bits.

    Args:
        workload: the network.
        tie_residual: whether the machine needs the operands of additions and concatenations in one
            format.
    """
    partners = residual_partners(workload) if tie_residual else ()
    weights = (*partners, *attention_groups(workload))
    return QuantizationGroups(
        activations=activation_groups(workload, tie_residual=tie_residual),
        weights=_merged(weights, _order(workload)),
        repeated=repeated_layers(workload),
    )
