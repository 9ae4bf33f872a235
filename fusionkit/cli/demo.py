"""The demonstration: films are rendered, prepared, learnt from and reported."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.experiment import perform, print_results
from fusionkit.cli.terminal.interruption import say_when_stopped
from fusionkit.cli.terminal.output import DeviceOption, JsonOption, OutOption, OverridesArgument, ProcessesOption

EXPERIMENT = "quickstart/films_experiment"
FOLDS = 3


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    overrides: OverridesArgument = None,
    *,
    out: OutOption = Path("runs/demo"),
    actors: Annotated[int, typer.Option(min=3, max=24, help="Actors that are rendered.")] = 10,
    processes: ProcessesOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render films, prepare them, and compare networks on them, in about two minutes.

    The films are of drawn faces with synthesised voices, in the layout of RAVDESS; each actor shows eight emotions,
    which neither face nor voice gives away alone. What follows is what real films go through: up to three pairs of
    actors are held out, one after another, from networks that learn from all others.
    """
    from fusionkit.config.shipped_recipes import find_recipe
    from fusionkit.execution.workers import count_processors, show_progress
    from fusionkit.experiments import load_experiment, open_experiment
    from fusionkit.rendering import draw_contact_sheet, render_ravdess
    from fusionkit.storage.files import write_file
    from fusionkit.storage.locks import lock_folder

    experiment, films, sheet = find_recipe(EXPERIMENT), out / "films", out / "films.png"
    pairs = (actors + 1) // 2
    settings = (
        f"data.dataset.root={json.dumps(str(films))}",
        f"data.prepare.cache={json.dumps(str(out / 'prepared'))}",
        f"folds={sorted({round(place * (pairs - 1) / (FOLDS - 1)) for place in range(FOLDS)})}",
        *(overrides or ()),
    )
    load_experiment(experiment, settings)  # what is wrong with the overrides is said before films are rendered
    clips = 30 * actors  # eight emotions, two intensities and two statements; neutral has one intensity
    shown = 0
    with say_when_stopped(), lock_folder(out), show_progress("films", clips, 0, shown=not as_json) as advance:

        def reached(done: int, _total: int) -> None:
            nonlocal shown
            for _ in range(shown, done):
                advance("")
            shown = done

        rendered = render_ravdess(
            films,
            actors=range(1, actors + 1),
            repetitions=(1,),
            processes=processes or count_processors(),
            progress=reached,
        )
        reached(clips, clips)
        drawn = io.BytesIO()
        draw_contact_sheet(range(1, min(actors, 4) + 1)).save(drawn, "png")
        write_file(sheet, drawn.getvalue())
    if not as_json:
        typer.echo(f"{len(rendered.files)} films in {films}; a sheet of their frames: {sheet}\n")
    with say_when_stopped():
        study = open_experiment(experiment, out, settings)
        done = perform(study, processes, as_json)
    if done is not None:
        print_results(study, *done, as_json)
