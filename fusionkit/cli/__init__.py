"""The command line: every command parses, calls and prints.

Nothing here imports torch before a command needs it, so ``fusionkit --help`` is quick.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from fusionkit.cli import (
    catalog,
    check,
    compare,
    demo,
    diagnose,
    doctor,
    evaluate,
    experiment,
    init,
    prepare,
    report,
    stress,
    train,
    verify,
)
from fusionkit.cli.terminal.output import count_processes, speaks
from fusionkit.cli.trained import calibrate, export, live, predict, serve, share, timeline
from fusionkit.errors import FusionKitError, FusionKitWarning
from fusionkit.version import __version__

USER_ERROR = 2

app = typer.Typer(
    name="fusionkit",
    help="Fuse several kinds of signal, and measure whether fusing helps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_IN_ORDER_OF_HELP = (
    *(
        demo,
        init,
        prepare,
        train,
        evaluate,
        predict,
        timeline,
        live,
        serve,
        calibrate,
        export,
        share,
        experiment,
        verify,
    ),
    *(compare, report, diagnose, stress, check, catalog, doctor),
)
for command in _IN_ORDER_OF_HELP:
    command.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fusionkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fuse several kinds of signal, and measure whether fusing helps."""
    command = context.invoked_subcommand
    if count_processes() > 1 and command != "train":
        message = f"{count_processes()} processes were started, and only `fusionkit train` divides its work among them"
        raise FusionKitError(f"{message}; start `fusionkit {command}` without torchrun")


def _refuse_odd_bytes(arguments: Iterable[str]) -> None:
    """Refuses what is no text, such as a folder named in an old encoding: it could be neither printed nor written."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="backslashreplace").decode()
            raise FusionKitError(f"{shown}: is no UTF-8 text; give a name in UTF-8") from None


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuses an empty argument. Python would take it for the working folder, and a command would write there."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option = argument[:-1] if argument.startswith("--") and argument.endswith("=") else ""
        if not argument or option:
            where = option or (before if before.startswith("--") and len(before) > 2 else "an argument")
            remedy = "give a value or leave it out; a variable of the shell that is not set gives none"
            raise FusionKitError(f"{where}: is empty; {remedy}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a user's mistake ends with its message and status 2, never with a traceback.

    Args:
        arguments: What follows the command's name; those of the process when left out.

    Raises:
        SystemExit: Always, with the status.
    """
    try:
        with _warnings_as_sentences():
            given = sys.argv[1:] if arguments is None else list(arguments)
            _refuse_odd_bytes(given)
            _refuse_empty(given)
            app(args=given, prog_name="fusionkit")
    except FusionKitError as error:
        sys.stdout.flush()
        if speaks():
            typer.echo(f"fusionkit: {error}", err=True)
        elif "torch" in sys.modules and _trains_with_others():  # the others need not have found the same
            typer.echo(f"fusionkit: process {os.environ.get('RANK')}: {error}", err=True)
        sys.exit(USER_ERROR)
    except (RuntimeError, MemoryError, OSError, ImportError) as error:
        from fusionkit.nn.memory import is_full

        sys.stdout.flush()
        if is_full(error):
            remedy = "take smaller batches, fewer samples or fewer processes"
            typer.echo(f"fusionkit: this machine's memory is full; {remedy}", err=True)
        elif isinstance(error, OSError) and error.filename is not None:  # a folder without permission, a full disk
            typer.echo(f"fusionkit: {error.filename}: {error.strerror}", err=True)
        elif package := _package_that_fails(error):
            typer.echo(
                f"fusionkit: {package} cannot be imported ({error}); `fusionkit doctor` says what to do", err=True
            )
        else:
            raise
        sys.exit(USER_ERROR)


def _package_that_fails(error: BaseException) -> str:
    """Returns the package, one of those that fusionkit imports, whose import raised an error; empty if none did.

    A package that does not fit another one raises what it likes, so the frames are asked too.
    """
    from fusionkit.execution.doctor.packages import PACKAGES

    modules = [error.name or ""] if isinstance(error, ImportError) else []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "<module>":
            modules.append(str(frame.f_globals.get("__name__")))
    known = {package.module for package in PACKAGES}
    return next((name.partition(".")[0] for name in modules if name.partition(".")[0] in known), "")


def _trains_with_others() -> bool:
    from fusionkit.nn.distributed import world_size

    return world_size() > 1


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Prints our warnings as errors are printed, without the line of code that gave them."""
    shown: Any = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
        if not issubclass(category, FusionKitWarning):
            shown(message, category, *place, **rest)
        elif speaks():
            typer.echo(f"fusionkit: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
