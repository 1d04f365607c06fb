"""Putting quantisers into a network that knows nothing of them, and switching its bits.

A layer's weight gets its quantiser as a torch parametrisation, its input as a forward pre-hook, so
module names, the forward code and the float weights behind (the shadow weights) stay as they are.
What only functions multiply, such as the operands of attention, is intercepted while the network
runs.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Assignment, Precision
from hwmpq.quant.attach import Insertion
from hwmpq.quant.base import Grid
from hwmpq.quant.fixed import FixedQuantizer, Untouched
from hwmpq.quant.grid import Codes
from hwmpq.quant.places import find_weight, is_product, module_name
from hwmpq.quant.quantized import (
    NO_WEIGHT,
    QuantizedLayer,
    QuantizedModel,
    QuantizerFactory,
    QuantizerPair,
    Site,
    freeze,
)
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import Layer, MatMul, VectorOp

__all__ = [
    "QuantizedLayer",
    "QuantizedModel",
    "QuantizerFactory",
    "QuantizerPair",
    "Site",
    "freeze",
    "insert_empty",
    "insert_quantizers",
    "module_name",
]


def _no_place(layer_name: str, what: str) -> UnsupportedError:
    msg = (
        f"layer '{layer_name}' of {what} is no module with a weight in the network, so no "
        "quantiser can be put there; make it a module or exempt it"
    )
    return UnsupportedError(msg)


def insert_quantizers(
    model: nn.Module, workload: Workload, assignment: Assignment, factory: QuantizerFactory
) -> QuantizedModel:
    """Put quantisers on both operands of every multiplying layer, in place.

    Whether an activation is quantised with or without sign is told by the workload's tensors. An
    embedding that the assignment names gets a quantiser of its table; one whose table is a layer's
    weight shares that layer's.

    Args:
        model: the network; its modules carry the names of the workload's layers.
        workload: its graph.
        assignment: bits to start with.
        factory: makes the two quantisers of a site.

    Raises:
        UnsupportedError: a layer has no place in the network, has quantisers already, or has no
            entry; or a quantiser cannot take a product's operand.
    """
    insertion = Insertion(model)
    uses: dict[str, list[Layer]] = {}
    for layer in workload.multiply_layers:
        if layer.name not in assignment:
            msg = f"layer '{layer.name}' has no precision to start with"
            raise UnsupportedError(msg)
        # A product is a layer of its own; a module may multiply several times.
        key = layer.name if isinstance(layer, MatMul) else module_name(layer.name)
        uses.setdefault(key, []).append(layer)
    for table in workload.layers:
        if table.op == "embedding" and table.name in assignment:
            uses.setdefault(module_name(table.name), []).append(table)
    for layers in uses.values():
        if isinstance(layers[0], MatMul):
            _insert_product(insertion, workload, assignment, factory, layers[0])
        else:
            _insert_weight(insertion, workload, assignment, factory, layers)
    quantised = insertion.finish(workload.unpriced)
    quantised.apply(assignment)
    return quantised


def _insert_product(
    insertion: Insertion,
    workload: Workload,
    assignment: Assignment,
    factory: QuantizerFactory,
    layer: MatMul,
) -> None:
    left, right = workload.inputs_of(layer.name)
    site = Site(layer, NO_WEIGHT, left.signed, assignment[layer.name], right.signed)
    insertion.add_product(layer.name, factory(site))


def _insert_weight(
    insertion: Insertion,
    workload: Workload,
    assignment: Assignment,
    factory: QuantizerFactory,
    layers: list[Layer],
) -> None:
    first = layers[0]
    place = find_weight(insertion.modules, first.name)
    if place is None:
        raise _no_place(first.name, f"'{workload.name}' ({first.op})")
    reads = [layer for layer in layers if not isinstance(layer, VectorOp)]
    signed = any(workload.inputs_of(layer.name)[0].signed for layer in reads)
    weight = cast("Tensor", getattr(insertion.modules[place.owner], place.tensor))
    pair = factory(Site(first, weight.detach(), signed, assignment[first.name]))
    if not reads:
        pair = (pair[0], Untouched(assignment[first.name].activation_bits))
    insertion.add_weight(tuple(layer.name for layer in layers), place, pair)


def insert_empty(model: nn.Module, assignment: Assignment) -> QuantizedModel:
    """Put quantisers at rest into a network, to load the saved state of a frozen one into.

    Raises:
        UnsupportedError: the network has no such layer with a weight.
    """
    insertion = Insertion(model)
    grid = Grid(torch.ones(()), Codes(0, 0))
    uses: dict[str, tuple[str, ...]] = {}
    for name in assignment:
        if is_product(name) and find_weight(insertion.modules, name) is None:
            insertion.add_product(name, _at_rest(assignment[name], grid))
            continue
        uses[module_name(name)] = (*uses.get(module_name(name), ()), name)
    for base, names in uses.items():
        place = find_weight(insertion.modules, base)
        if place is None:
            msg = f"the network has no layer '{base}' with a weight; is it another architecture?"
            raise UnsupportedError(msg)
        weight, activation = _at_rest(assignment[names[0]], grid)
        table = isinstance(insertion.modules[place.owner], nn.Embedding) and names == (base,)
        if table:
            activation = Untouched(activation.bits)
        insertion.add_weight(names, place, (weight, activation))
    return insertion.finish(None)


def _at_rest(bits: Precision, grid: Grid) -> QuantizerPair:
    weight = FixedQuantizer(bits.weight_bits, grid, signed=True)
    return weight, FixedQuantizer(bits.activation_bits, grid, signed=True)
