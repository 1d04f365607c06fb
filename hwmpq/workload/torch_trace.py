"""Exporting a torch module as a graph of ATen operators, with errors that name the user's line."""

from __future__ import annotations

import io
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from hwmpq.errors import UnsupportedError
from hwmpq.workload.torch_nodes import source_line

ExampleInput: TypeAlias = Tensor | Sequence[Any] | Mapping[str, Any]
"""One tensor, the positional arguments, or the keyword arguments of ``forward``."""

_TRACE_ERRORS: Final = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back torch's logs, and the graph that it prints when it fails: the error says it all.

    What is written to standard error while all goes well, such as warnings, is written after all.
    """
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    kept = io.StringIO()
    try:
        with redirect_stderr(kept), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* assigned during export")
            yield
    finally:
        logging.disable(level)
    sys.stderr.write(kept.getvalue())


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with attention spelled out, leaving the model as it was."""
    training = [module for module in model.modules() if module.training]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module in training:
            module.training = True


def _arguments(example: ExampleInput) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, list | tuple):
        return tuple(example), {}
    msg = (
        "an example input is a tensor, the positional arguments as a list, or the keyword "
        f"arguments as a mapping, but got a {type(example).__name__}"
    )
    raise UnsupportedError(msg)


def _device(model: nn.Module) -> torch.device | None:
    for tensor in [*model.parameters(), *model.buffers()]:
        return tensor.device
    return None


def _moved(value: Any, device: torch.device | None) -> Any:
    """The example on the model's device, so that a model without weights takes any example."""
    if isinstance(value, Tensor) and device is not None:
        return value.to(device)
    return value


def trace(model: nn.Module, example: ExampleInput) -> ExportedProgram:
    """Export a model at the shapes of an example.

    Raises:
        UnsupportedError: the model cannot run on the example, or its control flow depends on
            values.
    """
    positional, keywords = _arguments(example)
    device = _device(model)
    positional = tuple(_moved(value, device) for value in positional)
    keywords = {name: _moved(value, device) for name, value in keywords.items()}
    try:
        with _inference(model), _quiet():
            return torch.export.export(model, positional, keywords, strict=False)
    except _TRACE_ERRORS as error:
        raise UnsupportedError(_trace_message(model, error)) from error


def _trace_message(model: nn.Module, error: Exception) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    line = _user_line(frames) or source_line(str(error))
    kind = type(error).__name__
    reason = next((text for text in str(error).splitlines() if text.strip()), kind)
    where = f" at {line.rstrip(':')}" if line else ""
    if "DataDependent" in kind or "data-dependent" in str(error):
        rule = "its control flow depends on the values of a tensor, which no cost can follow"
        fix = "Write the branch without looking at values (torch.where), or extract the branches."
    elif "not a known type" in reason:
        rule = f"{kind}: {reason.partition(' See ')[0]}"
        fix = (
            "Let it return tensors alone; a network of transformers does without a cache "
            "(use_cache=False in its configuration)."
        )
    else:
        rule = f"{kind}: {reason}"
        fix = "Check that the example input is what forward() takes."
    return f"cannot trace {type(model).__name__}{where}: {rule}. {fix}"


def _user_line(frames: str) -> str:
    """The innermost frame outside torch and outside this package's front end."""
    own = __file__.replace("\\", "/").rpartition("/")[0] + "/"
    kept = [part for part in frames.split('  File "') if part and not part.startswith(own)]
    return source_line("".join(f'File "{part}' for part in kept))
