"""Which activation tensors are held at every step of a network, and the peak of their memory.

Rules (ours, docs/models/memory.md):

* A tensor is held from the step of its producer to the step of its last reader, both included. An
  input of the network is held from the start, a result (a tensor without reader) to the end.
* A free operator renames what it reads: both names are one tensor, held at its full size.
* A fused operator works on its producer's way out: what it reads last is never stored, if nothing
  else reads it.
* A tensor is stored once, at the widest of its readers: activation bits of a convolution or linear
  layer, activation and weight bits of a matmul's first and second operand, and the vector unit's
  element width for everything that the vector unit reads and for results.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Assignment
from hwmpq.workload.graph import Workload
from hwmpq.workload.layer import FreeOp, MatMul, VectorOp


@dataclass(frozen=True, slots=True, order=True)
class Width:
    """A bit-width that an assignment decides.

    Attributes:
        layer: the layer.
        path: its activations or its weights.
    """

    layer: str
    path: Literal["activation", "weight"] = "activation"

    def bits(self, assignment: Assignment) -> int:
        """The width under an assignment.

        Raises:
            UnsupportedError: the assignment has no entry for the layer.
        """
        if self.layer not in assignment:
            msg = f"the policy has no entry for layer '{self.layer}'"
            raise UnsupportedError(msg)
        precision = assignment[self.layer]
        return precision.activation_bits if self.path == "activation" else precision.weight_bits


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTensor:
    """A stored tensor.

    Attributes:
        name: node that first writes it.
        elements: values held.
        widths: widths of its readers that an assignment decides.
        fixed_bits: widest of its other readers; zero if there is none.
    """

    name: str
    elements: int
    widths: tuple[Width, ...]
    fixed_bits: int

    def bits(self, assignment: Assignment) -> int:
        """Storage under an assignment."""
        widest = max((width.bits(assignment) for width in self.widths), default=0)
        return self.elements * max(widest, self.fixed_bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One step of the execution.

    Attributes:
        layer: the operator that runs.
        tensors: what is held while it runs.
    """

    layer: str
    tensors: tuple[LiveTensor, ...]

    def bits(self, assignment: Assignment) -> int:
        """Activation memory during this step."""
        return sum(tensor.bits(assignment) for tensor in self.tensors)


@dataclass(slots=True)
class _Storage:
    """A tensor under construction."""

    name: str
    elements: int
    first: int
    last: int
    members: list[str]
    widths: dict[Width, None] = field(default_factory=dict)
    fixed_bits: int = 0

    def read(self, position: int, width: Width | int) -> None:
        self.last = max(self.last, position)
        if isinstance(width, Width):
            self.widths[width] = None
        else:
            self.fixed_bits = max(self.fixed_bits, width)

    def frozen(self) -> LiveTensor:
        return LiveTensor(
            name=self.name,
            elements=self.elements,
            widths=tuple(self.widths),
            fixed_bits=self.fixed_bits,
        )


class _Liveness:
    """Walks a network once in execution order and collects its stored tensors."""

    def __init__(self, workload: Workload, vector_bits: int, fused: Collection[str]) -> None:
        self.workload = workload
        self.vector_bits = vector_bits
        self.fused = fused
        self.choosable = {layer.name for layer in workload.multiply_layers}
        self.storages: list[_Storage] = []
        self.owner: dict[str, _Storage] = {}
        self.nodes = [(node, workload.graph.nodes[node]) for node in workload.graph]
        for position, (node, data) in enumerate(self.nodes):
            self._visit(position, node, data)
        for node, data in self.nodes:
            if data["layer"] is not None and not workload.readers_of(node):
                self.owner[node].read(len(self.nodes), vector_bits)

    def _visit(self, position: int, node: str, data: dict[str, object]) -> None:
        layer = data["layer"]
        produced = [tensor.producer for tensor in self.workload.inputs_of(node)]
        joined = self._joined(node, layer, produced)
        for slot, producer in enumerate(produced):
            if self.owner[producer] is not joined:
                self.owner[producer].read(position, self._width(node, slot))
        for elements, slot in self._unconnected(layer, len(produced)):
            operand = self._store(f"{node} (operand {slot})", elements, position)
            operand.read(position, self._width(node, slot))
        size = self.workload.graph.nodes[node]["tensor"].elements
        if joined is None:
            self.owner[node] = self._store(node, size, -1 if layer is None else position)
            return
        joined.members.append(node)
        self.owner[node] = joined
        if not isinstance(layer, FreeOp):
            joined.elements = size

    def _store(self, name: str, elements: int, position: int) -> _Storage:
        storage = _Storage(name, elements, position, position, [name])
        self.storages.append(storage)
        return storage

    def _joined(self, node: str, layer: object, produced: Sequence[str]) -> _Storage | None:
        """The storage that a node's output shares: its renamed or its fused input's."""
        if isinstance(layer, FreeOp):
            return self.owner[produced[0]] if produced else None
        if not isinstance(layer, VectorOp) or layer.op not in self.fused or not produced:
            return None
        latest = max((self.owner[name] for name in produced), key=lambda s: s.first)
        if latest.first < 0:
            return None
        inside = {*latest.members, node}
        readers = (self.workload.readers_of(member) for member in latest.members)
        alone = all(reader in inside for found in readers for reader in found)
        return latest if alone else None

    def _width(self, node: str, slot: int) -> Width | int:
        if node not in self.choosable:
            return self.vector_bits
        second = isinstance(self.workload.layer(node), MatMul) and slot == 1
        return Width(node, "weight" if second else "activation")

    def _unconnected(self, layer: object, connected: int) -> Iterator[tuple[int, int]]:
        """Elements and slot of operands that no node of the graph writes."""
        if isinstance(layer, MatMul):
            sizes = (layer.batch * layer.m * layer.k, layer.batch * layer.k * layer.n)
            for slot in range(connected, 2):
                yield sizes[slot], slot
        elif layer is not None and not isinstance(layer, FreeOp) and connected == 0:
            elements = getattr(layer, "input_elements", 0)
            yield int(elements), 0

    def cuts(self) -> tuple[Cut, ...]:
        """One cut per operator that runs."""
        return tuple(
            Cut(
                layer=node,
                tensors=tuple(
                    storage.frozen()
                    for storage in self.storages
                    if storage.first <= position <= storage.last
                ),
            )
            for position, (node, data) in enumerate(self.nodes)
            if data["layer"] is not None and not isinstance(data["layer"], FreeOp)
        )


def live_cuts(
    workload: Workload, *, vector_bits: int, fused: Collection[str] = ()
) -> tuple[Cut, ...]:
    """What is held at every step, in execution order.

    Args:
        workload: the network.
        vector_bits: element width of the vector unit.
        fused: operators that the accelerator applies on the array's way out.
    """
    return _Liveness(workload, vector_bits, fused).cuts()


def peak_cut(cuts: Sequence[Cut], assignment: Assignment) -> tuple[Cut, int]:
    """The step that holds most bits under an assignment, the first one if several do.

    Raises:
        UnsupportedError: there are no steps, or the assignment lacks a layer.
    """
    if not cuts:
        msg = "a network without operators holds no activations"
        raise UnsupportedError(msg)
    sizes = [cut.bits(assignment) for cut in cuts]
    peak = max(sizes)
    return cuts[sizes.index(peak)], peak
