"""Running the command line in this process, as the installed script does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hwmpq.cli.main import main
from hwmpq.codesign.progress import Silent


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
