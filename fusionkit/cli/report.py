"""The command that reports: an experiment's folder to a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.terminal.output import JsonOption, open_console, print_json, print_paragraph

if TYPE_CHECKING:
    from fusionkit.report.pages.experiment import Report


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(report)


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What `fusionkit experiment` or `compare` wrote with --out.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where the report goes; beside the results if not.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an experiment's report: one HTML page, the same as Markdown, and figures.

    Nothing is trained or evaluated. The page needs no network and no other file.
    """
    from fusionkit.report.pages.experiment import write_report

    written = write_report(folder, out)
    if as_json:
        print_json(written)
    else:
        print_report(written)


def print_report(written: Report) -> None:
    """Prints what could not be drawn, where everything is, and at the end the page to open."""
    for sentence in written.missing:
        print_paragraph(sentence)
    open_console().print(f"Figures: {written.html.parent / 'figures'}", soft_wrap=True)
    open_console().print(f"As Markdown: {written.markdown}", soft_wrap=True)
    open_console().print(f"Open this page: {written.html}", soft_wrap=True)
