"""The command that prepares films."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    JsonOption,
    OverridesArgument,
    ProcessesOption,
    make_shipped_argument,
    open_console,
    print_json,
    print_paragraph,
    print_table,
)

if TYPE_CHECKING:
    from fusionkit.data.films import Preparation

SOME_FAILED = 1


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(prepare)


def prepare(
    recipe: Annotated[
        str, make_shipped_argument("RECIPE", "A recipe, experiment or comparison: path or shipped name.")
    ],
    overrides: OverridesArgument = None,
    processes: ProcessesOption = None,
    *,
    retry: Annotated[bool, typer.Option("--retry", help="Do those again that were dropped or failed.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read clips and films; do those again that are damaged or changed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Prepare the films of a recipe: face crops and waves that training can read fast.

    Started again it does what is missing or has changed. The status is 1 where clips failed.
    """
    from fusionkit.config.shipped_recipes import find_recipe
    from fusionkit.data.sources import Datasets
    from fusionkit.experiments.prerequisites import load_recipes, prepare_films

    with say_when_stopped():
        recipes = load_recipes(find_recipe(recipe), tuple(overrides or ()))
        done = prepare_films(recipes, Datasets(), processes=processes, progress=not as_json, retry=retry, check=check)
    if as_json:
        print_json([each.plain() for each in done])
    elif not done:
        typer.echo("The dataset is not of films: nothing has to be prepared.")
    else:
        for each in done:
            print_preparation(each)
            if check:
                made = len(each.records) - each.kept
                print_paragraph(
                    f"{each.kept} clips were read and are what was prepared, from these films; {made} were made now."
                )
    if any(each.failed for each in done):
        raise typer.Exit(SOME_FAILED)


def print_preparation(done: Preparation) -> None:
    """Prints how many clips there are, what was noted of them, and where everything is."""
    for note in done.notes:
        print_paragraph(f"- {note}")
    minutes = done.minutes
    rows = [
        ["prepared", str(done.count("prepared"))],
        ["dropped", str(done.count("dropped"))],
        ["failed", str(len(done.failed))],
        ["of all, known from before", str(done.kept)],
        ["minutes of film", f"{minutes['video']:.1f}"],
        ["minutes of sound", f"{minutes['audio']:.1f}"],
    ]
    unplain = [[f"with a word: {kind}", str(count)] for kind, count in done.departures.items()]
    print_table("Clips", ["", "number"], [rows, unplain] if unplain else [rows], right=(1,))
    for name, reason in list(done.failed.items())[:10]:
        print_paragraph(f"{name}: {reason}")
    open_console().print(f"Everything that was not plain: {Path(done.report)}", soft_wrap=True)
