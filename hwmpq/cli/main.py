"""The ``hwmpq`` command: verbs, error messages and exit codes.

Only the module of the verb that is asked for is imported, so that ``hwmpq --help`` starts at once.

Exit code 0: done; 2: bad input; 3: no assignment meets the budgets; 130: interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from hwmpq.cli.output import print_json
from hwmpq.errors import HwmpqError, InfeasibleError
from hwmpq.version import __version__

INTERRUPTED: Final = 130

VERBS: Final[Mapping[str, tuple[str, str]]] = {
    "list": ("listing:list_parts", "List what is shipped or installed, one line each."),
    "check": ("check:check", "Validate accelerator, workload, policy, job and recipe files."),
    "extract": ("extract:extract", "Show a network's operators: shapes, MACs, weights."),
    "evaluate": ("evaluate:evaluate", "Evaluate a network on modelled accelerators."),
    "allocate": ("allocate:allocate", "Allocate bits inside hard budgets, without training."),
    "optimize": ("optimize:optimize", "Train a network to mixed precision inside hard budgets."),
    "sweep": ("sweep:sweep", "Sweep budgets and accelerators; fronts and their policies."),
    "report": ("report:report", "Write HTML, Markdown and CSV about runs."),
}
"""Verb -> module and function under ``hwmpq.cli``, and what the overview says of it."""

_HELP: Final = (
    "Hardware-aware co-design simulator for mixed-precision quantisation.\n\n"
    "Start with:  hwmpq evaluate resnet18 -a bitfusion-isca18 --weight-bits 4 --activation-bits 4"
)


def make_app(arguments: Sequence[str]) -> typer.Typer:
    """The command line as far as the arguments need it: one verb, or the overview of all."""
    app = typer.Typer(
        name="hwmpq",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    asked = next((text for text in arguments if not text.startswith("-")), None)
    for verb, (place, summary) in VERBS.items():
        if verb == asked:
            module, _, function = place.partition(":")
            found = getattr(importlib.import_module(f"hwmpq.cli.{module}"), function)
            app.command(verb)(found)
        else:
            app.command(verb, help=summary)(_overview)
    return app


def _overview() -> None:
    """Stands for a verb that is listed and not run."""


def _version(show: bool) -> None:
    if show:
        typer.echo(f"hwmpq {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Hardware-aware co-design simulator for mixed-precision quantisation."""


def _report_error(error: HwmpqError, arguments: list[str]) -> None:
    if "--json" in arguments:
        body: dict[str, object] = {"kind": type(error).__name__, "message": str(error)}
        if isinstance(error, InfeasibleError):
            body["shortfalls"] = [
                {"name": s.name, "limit": s.limit, "least": s.least, "unit": s.unit}
                for s in error.shortfalls
            ]
        print_json({"error": body})
    Console(stderr=True, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), str(error)))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        make_app(given)(given, prog_name="hwmpq", standalone_mode=True)
    except HwmpqError as error:
        _report_error(error, given)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has gone, as in `hwmpq list | head`; that is no failure of ours.
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted", style="bold red")
        sys.exit(INTERRUPTED)
