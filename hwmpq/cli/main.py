"""The ``hwmpq`` command: verbs, error messages and exit codes.

Exit code 0: done; 2: bad input; 3: no assignment meets the budgets; 130: interrupted.
"""

from __future__ import annotations

import sys
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from hwmpq.cli.allocate import allocate
from hwmpq.cli.check import check
from hwmpq.cli.evaluate import evaluate
from hwmpq.cli.extract import extract
from hwmpq.cli.listing import list_parts
from hwmpq.cli.optimize import optimize
from hwmpq.cli.output import print_json
from hwmpq.cli.report import report
from hwmpq.errors import HwmpqError, InfeasibleError
from hwmpq.version import __version__

INTERRUPTED: Final = 130

app = typer.Typer(
    name="hwmpq",
    help=(
        "Hardware-aware co-design simulator for mixed-precision quantisation.\n\n"
        "Start with:  hwmpq evaluate resnet18 -a bitfusion-isca18 --weight-bits 4 "
        "--activation-bits 4"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("list")(list_parts)
app.command()(check)
app.command()(extract)
app.command()(evaluate)
app.command()(allocate)
app.command()(optimize)
app.command()(report)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"hwmpq {__version__}")
        raise typer.Exit


@app.callback()
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
        app(given, prog_name="hwmpq", standalone_mode=True)
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
