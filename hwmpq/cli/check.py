"""``hwmpq check``: validate files, all problems at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwmpq.accelerator.loader import parse_accelerator
from hwmpq.allocate.policy import read_rules
from hwmpq.cli.options import Json
from hwmpq.cli.output import note, print_json, show
from hwmpq.errors import HwmpqError, Problem, SpecError
from hwmpq.strict_yaml import Document, read_yaml
from hwmpq.workload.loader import parse_workload


def _check_file(file: Path) -> str:
    """Validate one file; returns what kind it is.

    Raises:
        HwmpqError: what is wrong with it.
    """
    document: Document = read_yaml(file, sourced=True)
    keys = set(document.data)
    if keys & {"architecture", "memories", "compute"}:
        parse_accelerator(document)
        return "accelerator"
    if keys & {"layers", "torch", "onnx"}:
        parse_workload(document, file)
        return "workload"
    if {"workload", "accelerator"} <= keys:
        return _check_question(file, keys)
    if all(isinstance(v, dict) or "/" in str(v) for v in document.data.values()):
        read_rules(file)
        return "policy"
    rule = "is no accelerator (architecture:), workload (layers:, torch:, onnx:), job, recipe "
    rule += "(workload: and accelerator:) or policy"
    raise SpecError(str(file), [Problem("file", rule, fix="See docs/files.md.")])


def _check_question(file: Path, keys: set[str]) -> str:
    # Imported here since both bring torch along, which no other file needs.
    from hwmpq.codesign.job import Job, read_job
    from hwmpq.sweep.recipe import read_recipe

    if keys <= set(Job.model_fields) and "method" in keys:
        read_job(file)
        return "job"
    read_recipe(file)
    return "recipe"


def _lines(error: HwmpqError) -> list[str]:
    return [str(p) for p in error.problems] if isinstance(error, SpecError) else [str(error)]


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML files.")],
    as_json: Json = False,
) -> None:
    """Validate accelerators, workloads, policies, jobs and recipes; every problem is shown.

    Example:  hwmpq check accelerators/*.yaml my-chip.yaml
    """
    kinds: dict[str, str] = {}
    errors: dict[str, HwmpqError] = {}
    for file in files:
        try:
            kinds[str(file)] = _check_file(file)
        except HwmpqError as error:
            errors[str(file)] = error
    if as_json:
        print_json(
            {
                "ok": kinds,
                "problems": {name: _lines(broken) for name, broken in errors.items()},
            }
        )
    else:
        for name, kind in kinds.items():
            show(f"{name}: {kind} ok")
        for broken in errors.values():
            note(str(broken))
    if errors:
        raise typer.Exit(HwmpqError.exit_code)
