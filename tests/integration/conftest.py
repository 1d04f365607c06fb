"""The command line run in this process, and small sweeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hwmpq.cli.main import main
from hwmpq.codesign.progress import Silent
from hwmpq.precision import precisions
from hwmpq.sensitivity.base import SensitivityTable


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys) -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = stopped.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


class StopAt(Silent):
    """Goes down at a training step, counted over all phases of a run."""

    class StoppedError(Exception):
        """Stands for the machine going down."""

    def __init__(self, step: int) -> None:
        self.left = step

    def advance(self, phase: str, remark: str = "") -> None:  # noqa: ARG002
        self.left -= 1
        if self.left < 0:
            raise self.StoppedError


@pytest.fixture
def stop_at() -> type[StopAt]:
    return StopAt


@dataclass(frozen=True)
class SweepFiles:
    """A small network, its scores, and recipes about them."""

    folder: Path
    network: Path
    scores: Path

    def recipe(self, name: str = "recipe", **changes: object) -> Path:
        """Write a recipe; None takes a key out."""
        fields = {
            "workload": str(self.network),
            "accelerator": ["bitfusion-edge"],
            "budget": {"latency": ["0.4x", "0.6x", "0.8x", "1x"]},
            "precisions": {"weight_bits": [2, 4, 8], "activation_bits": [2, 4, 8]},
            "sensitivity": str(self.scores),
        }
        fields = {key: value for key, value in (fields | changes).items() if value is not None}
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps(fields), encoding="utf-8")
        return file


def save_scores(layers: Sequence[str], file: Path, widths: Sequence[int] = (2, 4, 8)) -> None:
    """Sensitivities that fall with every bit, different for every layer."""
    columns = precisions(widths, widths)
    values = [
        [(1.5**row) * (4.0**-p.weight_bits + 2.0 * 4.0**-p.activation_bits) for p in columns]
        for row in range(len(layers))
    ]
    SensitivityTable(
        layers=tuple(layers), precisions=columns, values=np.array(values), metric="made up"
    ).save(file)


@pytest.fixture
def sweep_files(tmp_path: Path) -> SweepFiles:
    layers = [
        {"name": "stem", "op": "conv2d", "in_channels": 3, "in_height": 16, "in_width": 16,
         "out_channels": 16, "kernel_size": [3, 3], "padding": [1, 1]},
        *(
            {"name": f"body{n}", "op": "conv2d", "in_channels": 16, "in_height": 16,
             "in_width": 16, "out_channels": 16, "kernel_size": [3, 3], "padding": [1, 1]}
            for n in range(4)
        ),
        {"name": "fc", "op": "linear", "in_features": 4096, "out_features": 10},
    ]  # fmt: skip
    network = tmp_path / "network.yaml"
    network.write_text(
        json.dumps({"name": "small", "chain": True, "layers": layers}), encoding="utf-8"
    )
    scores = tmp_path / "scores.parquet"
    save_scores([str(layer["name"]) for layer in layers], scores)
    return SweepFiles(tmp_path, network, scores)
