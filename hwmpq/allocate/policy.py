"""Policy files: which precision each layer has, as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt, RootModel, model_validator

from hwmpq.allocate.problem import expand
from hwmpq.errors import BudgetError, NotFoundError, Problem, SpecError
from hwmpq.files import write_text
from hwmpq.precision import Assignment, Precision
from hwmpq.strict_yaml import read_yaml, validate


class _Bits(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    weight_bits: PositiveInt
    activation_bits: PositiveInt

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        """Read ``4/8`` as weight bits over activation bits."""
        if not isinstance(value, str):
            return value
        try:
            pair = Precision.parse(value)
        except BudgetError as error:
            raise ValueError(str(error)) from error
        return {"weight_bits": pair.weight_bits, "activation_bits": pair.activation_bits}


class _Policy(RootModel[dict[str, _Bits]]):
    """A policy file: layer name or glob pattern to bits."""


def read_rules(file: Path) -> dict[str, Precision]:
    """Read the entries of a policy file as they stand, patterns included.

    Raises:
        SpecError: unreadable or of another shape; all problems at once.
    """
    policy = validate(_Policy, read_yaml(file))
    return {
        key: Precision(bits.weight_bits, bits.activation_bits) for key, bits in policy.root.items()
    }


def read_policy(file: Path, layers: Sequence[str]) -> dict[str, Precision]:
    """Read ``{layer: {weight_bits, activation_bits}}``, or ``4/8``; keys may be glob patterns.

    Later patterns override earlier ones, and an exact name overrides patterns. JSON is read as the
    YAML that it is, so a key that appears twice is an error in both.

    Returns:
        one precision for each of the layers, in their order.

    Raises:
        SpecError: unreadable, of another shape, or layers are missing or unknown; all at once.
    """
    rules = read_rules(file)
    problems: list[Problem] = []
    chosen: dict[str, Precision] = {}
    known = dict.fromkeys(layers)
    for key in sorted(rules, key=lambda key: key in known):
        try:
            chosen |= expand({key: rules[key]}, tuple(layers), "policy")
        except NotFoundError as error:
            problems.append(Problem(key, str(error)))
    missing = [layer for layer in layers if layer not in chosen]
    problems += [
        Problem(layer, "has no entry", fix="Add one, or a pattern such as '*'.")
        for layer in missing
    ]
    if problems:
        raise SpecError(str(file), problems)
    return {layer: chosen[layer] for layer in layers}


def policy_data(assignment: Assignment) -> dict[str, dict[str, int]]:
    """An assignment as plain values, sorted by layer so that two files can be compared."""
    return {
        layer: {
            "weight_bits": assignment[layer].weight_bits,
            "activation_bits": assignment[layer].activation_bits,
        }
        for layer in sorted(assignment)
    }


def policy_text(assignment: Assignment, *, as_yaml: bool = False) -> str:
    """A policy file's text, one layer a line, sorted.

    >>> print(policy_text({"conv": Precision(4, 8)}), end="")
    {
      "conv": {"weight_bits": 4, "activation_bits": 8}
    }
    """
    data: dict[str, Any] = policy_data(assignment)
    if as_yaml:
        lines = [
            f"{_yaml_key(layer)}: "
            f"{{weight_bits: {bits['weight_bits']}, activation_bits: {bits['activation_bits']}}}"
            for layer, bits in data.items()
        ]
        return "\n".join(lines) + "\n"
    lines = [f"  {json.dumps(layer)}: {json.dumps(bits)}" for layer, bits in data.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _yaml_key(layer: str) -> str:
    return yaml.safe_dump({layer: 0}, width=10_000).rpartition(":")[0]


def write_policy(file: Path, assignment: Assignment) -> None:
    """Write a policy as YAML where the name ends in ``.yaml`` or ``.yml``, else as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(file, policy_text(assignment, as_yaml=file.suffix in {".yaml", ".yml"}))
