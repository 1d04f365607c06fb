"""A network as a validated graph: operators are nodes, tensors are edges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import prod
from typing import TypeAlias

import networkx as nx

from hwmpq.errors import UnsupportedError
from hwmpq.workload.layer import MULTIPLY_LAYERS, FreeOp, Layer, MultiplyLayer

Graph: TypeAlias = "nx.MultiDiGraph[str]"
INPUT = "input"
"""Prefix of the names of the graph's entry nodes."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What an edge carries.

    Attributes:
        producer: name of the node that writes it.
        shape: dimensions, batch first.
        signed: whether values may be negative.
    """

    producer: str
    shape: tuple[int, ...]
    signed: bool = True

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """A network's operators, in execution order, and the tensors between them.

    Attributes:
        name: what reports call it.
        graph: nodes carry ``layer`` (a `Layer`, or None for an input), edges carry ``tensor`` (a
            `Tensor`). Node order is execution order.
        batch: samples that one pass holds.
        unpriced: operators that the caller exempted by name, listed in every result.
        source: where the network came from.
        fixed_precisions: ``layer or pattern -> "w/a"`` pins that the workload file states.
        facts: published figures the file states, such as MACs, with their source.
    """

    name: str
    graph: Graph
    batch: int = 1
    unpriced: tuple[str, ...] = ()
    source: str = ""
    fixed_precisions: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All operators in execution order, inputs left out."""
        return tuple(
            data["layer"] for _, data in self.graph.nodes(data=True) if data["layer"] is not None
        )

    @property
    def priced_layers(self) -> tuple[Layer, ...]:
        """Operators that cost something: neither free nor exempted."""
        return tuple(
            layer
            for layer in self.layers
            if not isinstance(layer, FreeOp) and layer.name not in self.unpriced
        )

    @property
    def multiply_layers(self) -> tuple[MultiplyLayer, ...]:
        """Operators that have a bit-width to choose."""
        return tuple(layer for layer in self.priced_layers if isinstance(layer, MULTIPLY_LAYERS))

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_elements(self) -> int:
        """Weights of the multiplying layers, without biases and norms."""
        return sum(layer.weight_elements for layer in self.multiply_layers)

    @property
    def fingerprint(self) -> str:
        """Hash of the operators and their connections, for artifacts."""
        digest = hashlib.sha256(repr(sorted(self.unpriced)).encode())
        for node, data in self.graph.nodes(data=True):
            layer = data["layer"]
            text = layer.model_dump_json() if layer is not None else repr(data["tensor"])
            digest.update(f"{node}|{text}|{self.inputs_of(node)}\n".encode())
        return digest.hexdigest()

    def layer(self, name: str) -> Layer:
        """One operator by name.

        Raises:
            KeyError: there is none.
        """
        found: Layer = self.graph.nodes[name]["layer"]
        return found

    def inputs_of(self, name: str) -> tuple[Tensor, ...]:
        """Tensors that an operator reads, in argument order."""
        edges = sorted(self.graph.in_edges(name, data=True), key=lambda edge: edge[2]["slot"])
        return tuple(edge[2]["tensor"] for edge in edges)

    def readers_of(self, name: str) -> tuple[str, ...]:
        """Operators that read what a node writes."""
        return tuple(dict.fromkeys(reader for _, reader in self.graph.out_edges(name)))


def matches(name: str, pattern: str) -> bool:
    """Whether a layer's name is the given one or fits the given pattern.

    >>> matches("layer1.0.conv1", "layer1.*")
    True
    """
    return name == pattern or fnmatchcase(name, pattern)


class WorkloadBuilder:
    """Collects operators and tensors and hands out a validated `Workload`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.graph: Graph = nx.MultiDiGraph()

    def add_input(self, name: str, shape: Sequence[int], *, signed: bool = True) -> str:
        """Add an entry of the network; returns its node name."""
        node = self._fresh(name)
        self.graph.add_node(node, layer=None, tensor=Tensor(node, tuple(shape), signed))
        return node

    def add(
        self,
        layer: Layer,
        inputs: Iterable[str] = (),
        *,
        shape: Sequence[int] | None = None,
        signed: bool = True,
    ) -> str:
        """Add an operator that reads what ``inputs`` write; returns its node name.

        A name that is taken gets a suffix, so a module used twice is two nodes.

        Raises:
            UnsupportedError: an input is not a node.
        """
        node = self._fresh(layer.name)
        if node != layer.name:
            layer = layer.model_copy(update={"name": node})
        output = Tensor(node, tuple(shape) if shape else (layer.output_elements,), signed)
        producers = tuple(inputs)
        for producer in producers:
            if producer not in self.graph:
                msg = f"layer '{node}' reads '{producer}', which no earlier layer writes"
                raise UnsupportedError(msg)
        self.graph.add_node(node, layer=layer, tensor=output)
        for slot, producer in enumerate(producers):
            tensor = self.graph.nodes[producer]["tensor"]
            self.graph.add_edge(producer, node, tensor=tensor, slot=slot)
        return node

    def _fresh(self, name: str) -> str:
        if name not in self.graph:
            return name
        count = 2
        while f"{name}#{count}" in self.graph:
            count += 1
        return f"{name}#{count}"

    def build(
        self,
        *,
        batch: int = 1,
        source: str = "",
        unpriced: Iterable[str] = (),
        fixed_precisions: Mapping[str, str] | None = None,
        facts: Mapping[str, str | int | float] | None = None,
    ) -> Workload:
        """Validate and freeze.

        Args:
            batch: samples that one pass holds.
            source: where the network came from.
            unpriced: names or patterns of operators that need no price.
            fixed_precisions: ``layer or pattern -> "w/a"`` pins.
            facts: published figures with their source.

        Raises:
            UnsupportedError: the graph is empty, an exemption matches no operator, or a pin no
                layer with a bit-width.
        """
        if not any(data["layer"] is not None for _, data in self.graph.nodes(data=True)):
            msg = f"workload '{self.name}' has no operator"
            raise UnsupportedError(msg)
        layers = {
            name: data["layer"]
            for name, data in self.graph.nodes(data=True)
            if data["layer"] is not None
        }
        exempt: dict[str, None] = {}
        for pattern in unpriced:
            found = [name for name in layers if matches(name, pattern)]
            if not found:
                msg = f"cannot exempt '{pattern}': workload '{self.name}' has no such operator"
                raise UnsupportedError(msg)
            exempt |= dict.fromkeys(found)
        choosable = [name for name in layers if isinstance(layers[name], MULTIPLY_LAYERS)]
        for pattern in fixed_precisions or {}:
            if not any(matches(name, pattern) for name in choosable):
                msg = f"cannot fix '{pattern}': workload '{self.name}' has no such layer; "
                msg += f"layers with bits are {', '.join(choosable)}"
                raise UnsupportedError(msg)
        return Workload(
            name=self.name,
            graph=nx.freeze(self.graph),
            batch=batch,
            unpriced=tuple(exempt),
            source=source,
            fixed_precisions=dict(fixed_precisions or {}),
            facts=dict(facts or {}),
        )
