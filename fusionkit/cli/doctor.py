"""The command that says what is installed and what is missing."""

from __future__ import annotations

import typer

from fusionkit.cli.terminal.output import JsonOption


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed, what is missing for which command, and what to do.

    Every package is imported in another process, so one that is broken stops nothing. The status is 1 where something
    is broken.
    """
    from fusionkit.execution.doctor.display import show_examination

    raise typer.Exit(show_examination(as_json=as_json))
