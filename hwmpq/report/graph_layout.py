"""Where the operators of a network are drawn: rows in execution depth, branches side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import networkx as nx

from hwmpq.workload.graph import Graph, Workload
from hwmpq.workload.layer import MULTIPLY_LAYERS

JOINS = frozenset({"add", "mul", "concat", "softmax"})
"""Vector operators that are drawn; the others would only lengthen the picture."""

DirectedGraph: TypeAlias = "nx.DiGraph[str]"


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture's nodes and edges.

    Attributes:
        positions: column and row of each drawn operator, rows counted from the top.
        edges: pairs of drawn operators.
    """

    positions: Mapping[str, tuple[float, int]]
    edges: tuple[tuple[str, str], ...]

    @property
    def columns(self) -> float:
        """Width in columns."""
        across = [column for column, _ in self.positions.values()]
        return max(across) - min(across) + 1

    @property
    def rows(self) -> int:
        """Height in rows."""
        return max(row for _, row in self.positions.values()) + 1


def drawn_graph(workload: Workload) -> DirectedGraph:
    """Multiplying layers and joins, connected through the operators that are left out.

    ``conv, batch-norm, relu, conv`` becomes ``conv, conv``.
    """
    graph: Graph = workload.graph
    shown: DirectedGraph = nx.DiGraph()
    sources: dict[str, tuple[str, ...]] = {}
    for node, data in graph.nodes(data=True):
        layer = data["layer"]
        before = tuple(
            dict.fromkeys(
                source for producer, _ in graph.in_edges(node) for source in sources[producer]
            )
        )
        if layer is None:
            sources[node] = ()
        elif isinstance(layer, MULTIPLY_LAYERS) or layer.op in JOINS:
            shown.add_node(node)
            shown.add_edges_from((source, node) for source in before)
            sources[node] = (node,)
        else:
            sources[node] = before
    return shown


def lay_out(shown: DirectedGraph) -> Layout:
    """Rows by longest path from an input; columns below what an operator reads."""
    depth: dict[str, int] = {}
    for node in nx.topological_sort(shown):
        depth[node] = 1 + max((depth[source] for source in shown.predecessors(node)), default=-1)
    rows: dict[int, list[str]] = {}
    for node, row in depth.items():
        rows.setdefault(row, []).append(node)
    column: dict[str, float] = {}
    for row in sorted(rows):
        wished = {
            node: _leftmost([column[s] for s in shown.predecessors(node)]) for node in rows[row]
        }
        # The longest branch keeps the straight line; shorter ones go beside it.
        order = sorted(rows[row], key=lambda node: (wished[node], _branch(shown, node, depth)))
        taken: list[float] = []
        for node in order:
            place = max(wished[node], taken[-1] + 1) if taken else wished[node]
            column[node] = place
            taken.append(place)
    positions = {node: (column[node], depth[node]) for node in shown}
    return Layout(positions, tuple(shown.edges))


def _leftmost(values: list[float]) -> float:
    return min(values) if values else 0.0


def _branch(shown: DirectedGraph, node: str, depth: Mapping[str, int]) -> int:
    """How far below the next reader is: a short cut reads from far above its reader."""
    return max((depth[reader] - depth[node] for reader in shown.successors(node)), default=0)
