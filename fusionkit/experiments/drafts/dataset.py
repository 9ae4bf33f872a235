"""The options of the dataset that a recipe is drafted with: where its files start, what fills its gaps, its films."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.files import expand_path
from fusionkit.data.readers.tables import MISSING
from fusionkit.errors import DataError, Problem
from fusionkit.experiments.drafts.columns import Column
from fusionkit.experiments.drafts.contents import find_absent
from fusionkit.experiments.drafts.inputs import FileInput, Input
from fusionkit.experiments.drafts.roles import Roles
from fusionkit.experiments.drafts.targets import DraftTarget


@dataclass(frozen=True)
class Films:
    """The columns of films that are prepared.

    Args:
        film: The column of films.
        sound: The column of their sounds; None where there is none.
        has_sound: Whether there is sound, in files of its own or in the films.
        prepare: How they are prepared.
    """

    film: str
    sound: str | None
    has_sound: bool
    prepare: Mapping[str, Any]


def find_root(columns: Sequence[Column], beside: Path, asked: str | None) -> Path | None:
    """Finds the folder that paths in a table start from; None where it is the table's own.

    Args:
        columns: The columns that may be inputs.
        beside: The folder of the table.
        asked: The folder that the user names.
    """
    if asked is not None:
        return Path(asked)
    named = [str(cell) for column in columns if column.kind == "files" for cell in column.stated]
    places = [beside, Path(), *list(beside.absolute().parents)[:1]]
    counts = [sum(os.path.isfile(place / name) for name in named) for place in places]
    best = counts.index(max(counts))
    return None if best == 0 else places[best]


def describe_films(film: Column, sound: Column | None, root: Path, problems: list[Problem]) -> Films | None:
    """Describes films that are to be prepared; None where they are not there or cannot be read."""
    start = expand_path(root)
    for column in (film, *([sound] if sound is not None else [])):
        find_absent(column, start, problems)
    if problems:
        return None
    try:
        with Film(start / str(film.stated[0])) as first:
            has_sound = sound is not None or first.sound is not None
    except DataError as error:
        problems += [
            Problem(f"column {film.name!r}: {each.place}", each.message, each.remedy) for each in error.problems
        ]
        return None
    detector = "dlib_hog" if find_spec("dlib") is not None else "center"
    face = {"size": 48, "grey": True, "detector": detector}
    prepare = {"frame_rate": 25.0, "sample_rate": 16000, "face": face}
    return Films(film.name, None if sound is None else sound.name, has_sound, prepare)


def write_dataset(
    source: str, root: Path | None, inputs: Mapping[str, Any], targets: Sequence[DraftTarget], roles: Roles
) -> dict[str, Any]:
    """Writes the options of the dataset; those of the inputs are given."""
    options: dict[str, Any] = {"type": "manifest", "path": source}
    if root is not None:
        options["root"] = str(root)
    options |= inputs
    options["targets"] = {
        target.name: list(target.columns) if target.head == "multilabel" else target.columns[0] for target in targets
    }
    named = {"group": roles.group, "id": roles.id, "part": roles.part}
    return options | {key: column.name for key, column in named.items() if column is not None}


def write_inputs(inputs: Sequence[Input], films: Films | None, rate: int | None) -> dict[str, Any]:
    """Writes the options of modalities, or of films that are prepared."""
    if films is not None:
        return {"film": films.film, **({"sound": films.sound} if films.sound is not None else {})}
    options: dict[str, Any] = {"modalities": {each.name: _write_modality(each) for each in inputs}}
    return options if rate is None else {**options, "sample_rate": rate}


def write_marks(columns: Sequence[Column]) -> dict[str, Any]:
    """Writes which texts mark missing values, where there are others than every table knows."""
    marks = sorted({mark for column in columns for mark in column.marks})
    return {"missing": [*MISSING, *marks]} if marks else {}


def choose_rate(inputs: Sequence[Input]) -> int | None:
    """Chooses one rate where sounds have several: the lowest, so that none is made up."""
    sounds = [each for each in inputs if isinstance(each, FileInput) and each.contents.kind != "array"]
    rates = {rate for each in sounds for rate in each.contents.rates}
    return int(min(rates)) if len(rates) > 1 else None


def _write_modality(given: Input) -> Any:
    if isinstance(given, FileInput):
        contents, options = given.contents, dict[str, Any]()
        if contents.kind == "array" and contents.rates:
            options["rate"] = float(next(iter(contents.rates)))
        if contents.layout != "auto":
            options["layout"] = contents.layout
        if contents.tensor is not None:
            options["tensor"] = contents.tensor
        return {"column": given.column, **options} if options else given.column
    columns = list(given.columns)
    return columns if given.fill is None else {"column": columns, "fill": list(given.fill)}
