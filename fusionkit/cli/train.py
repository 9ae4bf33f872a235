"""The command that trains a recipe and evaluates it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.evaluate import print_card
from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import (
    DeviceOption,
    JsonOption,
    OutOption,
    OverridesArgument,
    make_shipped_argument,
    open_console,
    print_paragraph,
)
from fusionkit.cli.terminal.profile import make_profile


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(train)


def train(
    recipe: Annotated[str, make_shipped_argument("RECIPE", "A recipe's path, or the name of a shipped one.")],
    out: OutOption,
    *,
    overrides: OverridesArgument = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Watch some steps, and say where their time goes; trains the same.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="FILE", help="The checkpoint of the run to go on from, instead of the last."),
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe, or resume it, and evaluate it.

    The folder holds the run afterwards: weights, log, metrics.json and all that it takes to make it again.
    """
    from fusionkit import evaluation, training
    from fusionkit.config.shipped_recipes import find_recipe
    from fusionkit.data.sources import Datasets
    from fusionkit.nn.distributed import part_from_others
    from fusionkit.report.figures.curves import draw_learning_curves
    from fusionkit.report.figures.style import save_figure
    from fusionkit.storage.run_folder import RunFolder

    path, changes = find_recipe(recipe), tuple(overrides or ())
    watching = make_profile(RunFolder(out), as_json) if profile else None
    datasets = Datasets()
    with say_when_stopped():
        run = training.train(
            path, out, changes, resume=resume or True, progress=not as_json, profile=watching, datasets=datasets
        )
        if not part_from_others():
            return
        if watching is not None and not watching.stages and not as_json:
            print_paragraph("There was nothing to profile: no step of this run is left.\n")
        card = evaluation.evaluate(run, datasets=datasets)
    save_figure(draw_learning_curves(run.log.read()), run.curves_file)
    print_card(card, run.card_file, as_json)
    if not as_json:
        open_console().print(f"Learning curves: {run.curves_file}", soft_wrap=True)
