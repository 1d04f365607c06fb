"""Single steps from one assignment to another that keep every tie."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwmpq.allocate.base import AllocationProblem, IntArray
from hwmpq.allocate.ties import activation_classes, weight_classes
from hwmpq.precision import Precision


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The steps of a problem: give one layer another precision, and tied layers what ties ask.

    Attributes:
        problem: what is solved.
        leaders: one row for each set of layers that share all their bits.
    """

    problem: AllocationProblem
    leaders: tuple[int, ...] = field(init=False)
    _weights: tuple[tuple[int, ...], ...] = field(init=False)
    _activations: tuple[tuple[int, ...], ...] = field(init=False)
    _column: dict[Precision, int] = field(init=False)

    def __post_init__(self) -> None:
        problem = self.problem
        by_weights = weight_classes(problem.layers, problem.ties)
        by_activations = activation_classes(problem.layers, problem.ties)
        leaders: dict[tuple[int, int], int] = {}
        for row, key in enumerate(zip(by_weights, by_activations, strict=True)):
            leaders.setdefault(key, row)
        object.__setattr__(self, "leaders", tuple(leaders.values()))
        object.__setattr__(self, "_weights", _members(by_weights))
        object.__setattr__(self, "_activations", _members(by_activations))
        column = {precision: index for index, precision in enumerate(problem.precisions)}
        object.__setattr__(self, "_column", column)

    def touched(self, row: int) -> tuple[int, ...]:
        """Rows that move when a row moves."""
        return tuple(sorted({*self._weights[row], *self._activations[row]}))

    def changes(self, choices: IntArray, row: int, column: int) -> dict[int, int] | None:
        """Rows and new columns that follow from giving a row another column.

        Returns:
            None where a tied layer would need a precision that it may not have.
        """
        wanted = self.problem.precisions[column]
        result: dict[int, int] = {}
        for other in self.touched(row):
            current = self.problem.precisions[choices[other]]
            weight_bits = (
                wanted.weight_bits if other in self._weights[row] else current.weight_bits
            )
            activation_bits = (
                wanted.activation_bits
                if other in self._activations[row]
                else current.activation_bits
            )
            found = self._column.get(Precision(weight_bits, activation_bits))
            if found is None or not self.problem.allowed[other, found]:
                return None
            if found != choices[other]:
                result[other] = found
        return result

    def wider(self, choices: IntArray, row: int) -> tuple[int, ...]:
        """Columns one step wider than a row's: in weights, in activations, or else in both."""
        here = self.problem.precisions[choices[row]]
        options = [
            (precision, column)
            for precision, column in self._column.items()
            if self.problem.allowed[row, column] and precision != here
        ]
        up_weights = [
            entry
            for entry in options
            if entry[0].activation_bits == here.activation_bits
            and entry[0].weight_bits > here.weight_bits
        ]
        up_activations = [
            entry
            for entry in options
            if entry[0].weight_bits == here.weight_bits
            and entry[0].activation_bits > here.activation_bits
        ]
        both = [
            entry
            for entry in options
            if entry[0].weight_bits > here.weight_bits
            and entry[0].activation_bits > here.activation_bits
        ]
        single = [min(found)[1] for found in (up_weights, up_activations) if found]
        return tuple(single) if single or not both else (min(both)[1],)


def _members(classes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """For each row, all rows of its class."""
    groups: dict[int, list[int]] = {}
    for row, key in enumerate(classes):
        groups.setdefault(key, []).append(row)
    return tuple(tuple(groups[key]) for key in classes)
