"""Recipes whose data need no download: made signals of sensors, and rendered films that are prepared first."""

from __future__ import annotations

import json
from pathlib import Path

from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.data.sources import Datasets
from fusionkit.experiments.prerequisites import prepare_films
from fusionkit.rendering import render_ravdess

SIGNALS = {
    "type": "synthetic",
    "classes": ["Standing", "Running", "Walking", "Badminton"],
    "modalities": {
        name: {"features": 3, "min_length": 100, "max_length": 100} for name in ("accelerometer", "gyroscope")
    },
    "groups": 8,
    "samples": 20,
}
"""Signals of the shape of BasicMotions, 320 on either side of a fold."""

ACTORS = (1, 2, 3)


def sensor_recipe(*changes: str) -> Recipe:
    """Returns the shipped recipe for BasicMotions, on made signals of the same shape."""
    data = (f"data.dataset={json.dumps(SIGNALS)}", "data.folds={type: group_kfold, folds: 2}")
    return load_recipe(find_recipe("sensors/basic_motions"), [*data, *changes])


def render_films(folder: Path) -> None:
    """Renders the films of `film_recipe`."""
    render_ravdess(folder / "films", actors=ACTORS, repetitions=(1,))


def film_recipe(folder: Path, *changes: str) -> Recipe:
    """Returns the shipped recipe for rendered films, on those of a folder, and prepares the middle of their frames.

    Sixty films are trained on, thirty held out.
    """
    settings = (
        f"data.dataset.root={json.dumps(str(folder / 'films'))}",
        f"data.prepare.cache={json.dumps(str(folder / 'prepared'))}",
        "data.prepare.face.detector=center",
        f"data.folds={{type: group_kfold, folds: {len(ACTORS)}}}",
    )
    recipe = load_recipe(find_recipe("quickstart/films"), [*settings, *changes])
    prepare_films([recipe], Datasets(), processes=1)
    return recipe
