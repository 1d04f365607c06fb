"""The best tiling and loop order of a layer at every precision, by exhaustive search.

Fewest cycles win, then least energy, then the loop order that comes first in `LOOP_ORDERS`, then
the tiling that comes first in the grid (hsharma35/bitfusion,
bitfusion/src/optimizer/optimizer.py). Most candidates are never evaluated: those whose lower bound
is already above the best found are left out, which cannot change the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwmpq.accelerator.spec import Accelerator
from hwmpq.cost.base import FloatArray, IntArray
from hwmpq.cost.bit_fusion_bounds import lower_bounds
from hwmpq.cost.bit_fusion_energy import Exchange, energy_floor, inner_accesses, total_energy
from hwmpq.cost.bit_fusion_layer import Candidates, TiledLayer, Traffic, idle_loops_count
from hwmpq.cost.tiling import LOOP_ORDERS, BoolArray, distinct_orders
from hwmpq.errors import UnsupportedError

_ENTRIES = 100_000
"""Entries of an intermediate array that still fit the processor's caches."""

_BLOCK = 4_000
"""Candidates that are evaluated at once: their parts and outcomes fit the caches, too."""

_PROBES = 8
"""Most promising tilings per precision that are evaluated first, to have something to beat."""

_ROUNDING = 1e-9
"""Relative difference of energies that summing in another order may cause."""

_WORTH_BOUNDING = 4_000
"""Candidates from which on bounding energies is cheaper than evaluating."""

_STEP = 2_000
"""Candidates that are evaluated before the bounds of the rest are looked at again."""

_LIGHTER = 2.0**-50
"""Weight of a bit moved beside a cycle, to tell candidates of equal cycles apart."""

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Candidates with the loop order they run in; arrays are ``[candidates]``.

    Attributes:
        candidates: precision and tiling.
        rank: rank of the loop order in `LOOP_ORDERS`.
        traffic: what they move and take.
        energy_pj: what they cost in energy.
    """

    candidates: Candidates
    rank: IntArray
    traffic: Traffic
    energy_pj: FloatArray

    def best(self) -> Choice:
        """The best of each precision, in the sequence of precisions."""
        precision = self.candidates.precision
        keys = (self.candidates.tiling, self.rank, self.energy_pj, self.traffic.cycles, precision)
        order = np.lexsort(keys)
        _, first = np.unique(precision[order], return_index=True)
        return self.take(order[first])

    def take(self, index: IntArray) -> Choice:
        """Some of them."""
        return Choice(
            self.candidates.take(index),
            self.rank[index],
            self.traffic.take((index,)),
            self.energy_pj[index],
        )


def _least(owner: IntArray, values: IntArray | FloatArray) -> BoolArray:
    """Where a value is the least of its owner."""
    least = np.full(int(owner.max()) + 1, values.max())
    np.minimum.at(least, owner, values)
    return np.asarray(values == least[owner])


def _place(owner: IntArray) -> IntArray:
    """Place of each entry among those of its owner; owners ascend."""
    place: IntArray = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return place


def _join(choices: Sequence[Choice]) -> Choice:
    def joined(name: str, owner: str) -> IntArray:
        return np.concatenate([getattr(getattr(choice, owner), name) for choice in choices])

    return Choice(
        Candidates(*(joined(name, "candidates") for name in Candidates.__slots__)),
        np.concatenate([choice.rank for choice in choices]),
        Traffic(*(joined(name, "traffic") for name in Traffic.__slots__)),
        np.concatenate([choice.energy_pj for choice in choices]),
    )


class Wanted(NamedTuple):
    """Precisions to search; every array is ``[precisions]``.

    Attributes:
        fusion: fusion class.
        weight_bits: weight bits.
        activation_bits: activation bits.
    """

    fusion: IntArray
    weight_bits: IntArray
    activation_bits: IntArray

    def candidates(self, precision: IntArray, tiling: IntArray) -> Candidates:
        """Pairs of a precision, by its index, and a tiling."""
        return Candidates(
            precision,
            self.fusion[precision],
            self.weight_bits[precision],
            self.activation_bits[precision],
            tiling,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """Search over one block of precisions, whose indices count from zero."""

    layer: TiledLayer
    exchange: Exchange
    accelerator: Accelerator
    ranks: Sequence[int]
    slack: float

    def evaluate(self, candidates: Candidates) -> Choice:
        """The best of each precision among some candidates, each in its best loop order."""
        orders = tuple(LOOP_ORDERS[rank] for rank in self.ranks)
        ranks = np.array(self.ranks, dtype=np.int64)
        found = []
        for start in range(0, len(candidates), _BLOCK):
            block = candidates.take(slice(start, start + _BLOCK))
            every = self.layer.traffic(block, orders)
            owner = block.precision[every.candidate]
            fewest = np.flatnonzero(_least(owner, every.traffic.cycles))
            chosen = block.take(every.candidate[fewest])
            traffic = every.traffic.take((fewest,))
            inner = inner_accesses(self.layer, self.exchange, chosen)
            cost = total_energy(self.layer, inner, traffic, self.accelerator)
            cheapest = np.flatnonzero(_least(chosen.precision, cost))
            choice = Choice(chosen, ranks[every.order[fewest]], traffic, cost)
            found.append(choice.take(cheapest).best())
        return _join(found).best()

    def run(self, wanted: Wanted) -> Choice:
        """The best candidate of each precision."""
        bounds = lower_bounds(self.layer, *wanted)
        fits = self.layer.fits(*wanted)
        _require_fit(self.layer, fits, wanted)
        fewest = np.where(fits, bounds.traffic.cycles, _NEVER)
        moved = bounds.traffic.dram_read + bounds.traffic.written + bounds.refetched
        promise = fewest + moved * _LIGHTER
        best = self.evaluate(wanted.candidates(*self._most_promising(promise, fewest)))
        few, low = best.traffic.cycles[:, None], best.energy_pj[:, None]
        floor = energy_floor(self.layer, bounds.traffic, bounds.refetched, self.accelerator)
        level = (fewest == few) & (floor * self.slack <= low)
        where = np.nonzero((fewest < few) | level)
        rest = wanted.candidates(*where)
        if len(rest) <= _WORTH_BOUNDING:
            return _join([best, self.evaluate(rest)]).best() if len(rest) else best
        dram = self.accelerator.dram
        again = bounds.refetched[where] * min(
            dram.read_energy_pj_per_bit, dram.write_energy_pj_per_bit
        )
        inner = inner_accesses(self.layer, self.exchange, rest)
        moved_once = total_energy(self.layer, inner, bounds.traffic.take(where), self.accelerator)
        least = (moved_once + again) * self.slack
        return self._best_first(rest, fewest[where], least, best)

    def _best_first(
        self, rest: Candidates, cycles: IntArray, energy_pj: FloatArray, best: Choice
    ) -> Choice:
        """Evaluate by the bounds, those of every precision alike, until none is below the best."""
        order = np.lexsort((energy_pj, cycles, rest.precision))
        place = _place(rest.precision[order])
        order = order[np.argsort(place, kind="stable")]
        rest, cycles, energy_pj = rest.take(order), cycles[order], energy_pj[order]
        while len(rest):
            found = self.evaluate(rest.take(slice(0, _STEP)))
            best = _join([best, found]).best()
            rest = rest.take(slice(_STEP, None))
            cycles, energy_pj = cycles[_STEP:], energy_pj[_STEP:]
            limit, lowest = best.traffic.cycles, best.energy_pj
            mine = rest.precision
            level = (cycles == limit[mine]) & (energy_pj <= lowest[mine])
            keep = (cycles < limit[mine]) | level
            rest, cycles, energy_pj = rest.take(keep), cycles[keep], energy_pj[keep]
        return best

    @staticmethod
    def _most_promising(promise: FloatArray, bound: IntArray) -> tuple[IntArray, IntArray]:
        """Precisions and tilings of the feasible pairs of least promise."""
        probes = min(_PROBES, promise.shape[1])
        promise = np.where(bound == _NEVER, np.inf, promise)
        limit = np.partition(promise, probes - 1, axis=1)[:, probes - 1 : probes]
        # Of equal promise the first ones, whatever else is in the grid.
        row, column = np.nonzero(np.isfinite(promise) & (promise <= limit))
        keep = (promise[row, column] < limit[row, 0]) | (_place(row) < probes)
        return row[keep], column[keep]


def search(
    layer: TiledLayer,
    exchange: Exchange,
    wanted: Wanted,
    accelerator: Accelerator,
) -> Choice:
    """The best tiling and loop order at each precision.

    Args:
        layer: the layer, prepared.
        exchange: what its array exchanges with the buffers.
        wanted: the precisions.
        accelerator: where energies come from.

    Raises:
        UnsupportedError: at some precision no tile fits the buffers.
    """
    tilings = layer.grid.sizes.shape[1]
    ranks = distinct_orders(layer.grid.trips, drop_idle=not idle_loops_count(layer.behavior))
    # Lowering the bounds keeps all candidates that may tie, of which the simulator reports the
    # first. Among all integers very many tie, and any of them will do: raising drops them.
    keep_ties = layer.behavior.tile_sizes == "powers_of_two"
    slack = 1 - _ROUNDING if keep_ties else 1 + _ROUNDING
    step = max(1, _ENTRIES // tilings)
    finder = _Search(layer, exchange, accelerator, ranks, slack)
    blocks = (slice(start, start + step) for start in range(0, len(wanted.fusion), step))
    return _join([finder.run(Wanted(*(values[block] for values in wanted))) for block in blocks])


def _require_fit(layer: TiledLayer, fits: BoolArray, wanted: Wanted) -> None:
    """Check that every precision has a tile."""
    able = fits.any(axis=1)
    if not able.all():
        worst, buffers = int(np.argmin(able)), layer.buffers
        msg = (
            f"at {wanted.weight_bits[worst]}/{wanted.activation_bits[worst]} bits no tile fits "
            f"half of each buffer ({buffers.weight.size_bits}, {buffers.input.size_bits} and "
            f"{buffers.output.size_bits} bits for weights, inputs and outputs); "
            "enlarge the memories or narrow the layer"
        )
        raise UnsupportedError(msg)
