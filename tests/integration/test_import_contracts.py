"""The contracts of .importlinter hold, and break when a forbidden import is added."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "hwmpq", tmp_path / "hwmpq")
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
    )


def test_contracts_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("cost/base.py", "import torch"),
        ("workload/layer.py", "from hwmpq.cost import base"),
        ("quant/lsq.py", "from hwmpq.methods import bmpq"),
        ("accelerator/spec.py", "import hwmpq.cost.table"),
    ],
)
def test_a_forbidden_import_breaks_them(copy: Path, module: str, line: str) -> None:
    file = copy / "hwmpq" / module
    text = file.read_text(encoding="utf-8")
    mark = "from __future__ import annotations\n"
    assert mark in text
    file.write_text(text.replace(mark, f"{mark}\n{line}\n", 1), encoding="utf-8")
    done = lint(copy)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
