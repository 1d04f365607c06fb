"""Workload files that name a function returning a torch module: ``torch: module:function``."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from hwmpq.errors import Problem, SpecError, UnsupportedError
from hwmpq.workload.from_torch import extract
from hwmpq.workload.graph import Workload
from hwmpq.workload.loader import WorkloadFile

_ZOOS: Final = ("torchvision", "timm", "transformers")
_DTYPES: Final = {"float32": torch.float32, "int64": torch.int64}
_IMPORT_ERRORS: Final = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    RuntimeError,
    OSError,
)


def _problem(file: WorkloadFile, path: str, rule: str, fix: str = "") -> SpecError:
    value = str(file.spec.torch) if path == "torch" else ""
    return SpecError(str(file.path), [Problem(path, rule, value, fix)])


@contextmanager
def _own_code(folder: Path) -> Iterator[None]:
    """Let modules beside the workload file and in the current folder be imported."""
    added = [str(folder.resolve()), str(Path.cwd())]
    sys.path[:0] = added
    try:
        yield
    finally:
        for entry in added:
            sys.path.remove(entry)


def _function(file: WorkloadFile) -> Callable[..., Any]:
    module_name, _, function_name = str(file.spec.torch).partition(":")
    with _own_code(file.path.parent):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            fix = "It is looked for in the current folder, beside the file, and among packages."
            if error.name in _ZOOS:
                fix = (
                    f"hwmpq does not bring it: install {error.name} in a version that fits torch "
                    f"{torch.__version__}, or take a network of hwmpq.models."
                )
            raise _problem(file, "torch", f"there is no module '{error.name}'", fix) from error
        except _IMPORT_ERRORS as error:
            rule = f"module '{module_name}' cannot be imported: {type(error).__name__}: {error}"
            raise _problem(file, "torch", rule) from error
    function: Callable[..., Any] | None = getattr(module, function_name, None)
    if function is None or not callable(function):
        near = difflib.get_close_matches(function_name, dir(module), n=1)
        hint = f"Did you mean '{near[0]}'?" if near else ""
        rule = f"module '{module_name}' has no function '{function_name}'"
        raise _problem(file, "torch", rule, hint)
    return function


def construct(file: WorkloadFile) -> nn.Module:
    """Call the function that a workload file names.

    Raises:
        SpecError: it does not exist, fails, or returns no module.
    """
    if not file.spec.torch:
        rule = "is no network built from code, so there is nothing to train"
        fix = "A workload file with 'torch: module:function' is needed."
        raise _problem(file, "file", rule, fix)
    function = _function(file)
    try:
        model = function(**file.spec.arguments)
    except _IMPORT_ERRORS as error:
        rule = f"'{file.spec.torch}' failed: {type(error).__name__}: {error}"
        raise _problem(file, "arguments", rule) from error
    if not isinstance(model, nn.Module):
        rule = f"must return a torch.nn.Module, but returned a {type(model).__name__}"
        raise _problem(file, "torch", rule)
    return model


def example_inputs(file: WorkloadFile, batch: int) -> tuple[Tensor, ...]:
    """Inputs of the right shapes, on the default device."""
    return tuple(
        torch.zeros((batch, *entry.shape), dtype=_DTYPES[entry.dtype])
        for entry in file.spec.all_inputs
    )


def workload_from_file(file: WorkloadFile, *, batch: int, exempt: Sequence[str]) -> Workload:
    """Build the model without weights where it can be, and read its graph.

    Raises:
        SpecError: the model cannot be built.
        UnsupportedError: it cannot be traced, or an operator has no price.
    """
    try:
        with torch.device("meta"):
            return _traced(file, batch, exempt)
    except (SpecError, NotImplementedError):
        # A constructor that looks at values (``.item()``, numpy) needs real tensors.
        return _traced(file, batch, exempt)
    except UnsupportedError as error:
        # So does a network that keeps some of its tensors on a device of its own choice.
        if "same device" not in str(error.__cause__):
            raise
        return _traced(file, batch, exempt)


def _traced(file: WorkloadFile, batch: int, exempt: Sequence[str]) -> Workload:
    return extract(
        construct(file),
        example_inputs(file, batch),
        name=file.spec.name,
        exempt=exempt,
        source=file.source or f"torch:{file.spec.torch}",
        signed_input=[entry.signed for entry in file.spec.all_inputs],
        fixed_precisions=file.spec.fix,
        facts=file.facts,
    )
