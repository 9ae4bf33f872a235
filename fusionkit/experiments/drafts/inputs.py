"""The modalities that a table has: columns of files one by one, and columns of numbers together by their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from fusionkit.errors import Problem
from fusionkit.experiments.drafts.columns import Column, make_name, split_name
from fusionkit.experiments.drafts.contents import Contents, find_kind, inspect_files
from fusionkit.experiments.drafts.vocabulary import RATES, STATISTICS

_MOST_GROUPS = 6


@dataclass(frozen=True)
class NumberInput:
    """A modality of columns of numbers.

    Args:
        name: Its name in the recipe.
        columns: The columns.
        fill: By column what stands in for an empty cell; None where a vector has all of its numbers or none.
        present: How many rows state it.
    """

    name: str
    columns: tuple[str, ...]
    fill: tuple[float, ...] | None
    present: int


@dataclass(frozen=True)
class FileInput:
    """A modality of a column of files.

    Args:
        name: Its name in the recipe.
        column: The column.
        contents: What the files hold.
        present: How many rows state it.
    """

    name: str
    column: str
    contents: Contents
    present: int


Input = NumberInput | FileInput


def group_numbers(columns: Sequence[Column], taken: Collection[str]) -> list[NumberInput]:
    """Groups columns of numbers into modalities by the first word of their names.

    Columns without a neighbour of the same word stand together as ``numbers``; where there would be more than six
    modalities, all columns do.

    Args:
        columns: The columns of numbers.
        taken: Names that other modalities have.

    Example:
        >>> from fusionkit.experiments.drafts.columns import make_column
        >>> table = [make_column(name, ["1.5", "2"]) for name in ("acc_x", "acc_y", "temp_mean", "temp_std", "age")]
        >>> [(found.name, found.columns) for found in group_numbers(table, ())]
        [('acc', ('acc_x', 'acc_y')), ('temp', ('temp_mean', 'temp_std')), ('numbers', ('age',))]
    """
    stems: dict[str, list[Column]] = {}
    for column in columns:
        stems.setdefault(_find_stem(column), []).append(column)
    several = {stem: group for stem, group in stems.items() if len(group) > 1 and stem}
    if len(several) > _MOST_GROUPS:
        several = {}
    alone = [column for column in columns if not any(column in group for group in several.values())]
    groups = [*several.items(), *([("numbers", alone)] if alone else [])]
    names = set(taken)
    found = []
    for stem, group in groups:
        name = make_name(stem, names, "numbers")
        names.add(name)
        found.append(_make_numbers(name, group))
    return found


def find_files(columns: Sequence[Column], root: Path, problems: list[Problem]) -> list[FileInput]:
    """Finds the modalities of columns of files; what is wrong with the files is a problem."""
    found: list[FileInput] = []
    for column in columns:
        contents = inspect_files(column, root, problems)
        if contents is not None:
            name = make_name(_cut_words(column.name), {each.name for each in found}, contents.kind)
            found.append(FileInput(name, column.name, contents, len(column.stated)))
    return found


def set_rates(inputs: Sequence[Input], columns: Sequence[Column]) -> tuple[list[Input], tuple[str, ...]]:
    """Sets the rates of arrays, which do not state their own, by columns of one number such as ``motion_rate``.

    A column says it of the modality whose name begins its own; without such a name, of arrays where no sound stands
    beside them whose rate it could be.

    Args:
        inputs: The modalities.
        columns: The columns of the table.

    Returns:
        The modalities, and the columns that said a rate.
    """
    stated = [column for column in columns if column.is_constant and column.kind == "numbers" and column.numbers[0] > 0]
    stated = [column for column in stated if RATES & set(column.words)]
    has_sound = any(isinstance(each, FileInput) and each.contents.kind in ("sound", "film") for each in inputs)
    found, used = list[Input](), list[str]()
    for each in inputs:
        own = None
        if isinstance(each, FileInput) and each.contents.kind == "array" and each.contents.longest > 1:
            words = set(split_name(each.column))
            named = [column for column in stated if words & set(column.words) - RATES]
            plain = [column for column in stated if set(column.words) <= RATES and not has_sound]
            own = next(iter(named + plain), None)
        if isinstance(each, FileInput) and own is not None:
            used.append(own.name)
            contents = replace(each.contents, rates={own.numbers[0]: each.present})
            found.append(replace(each, contents=contents))
        else:
            found.append(each)
    return found, tuple(used)


def find_films(columns: Sequence[Column]) -> tuple[Column, Column | None] | None:
    """Finds the column of films, and that of their sounds, where there is nothing else beside them.

    Pictures of films are prepared, and prepared clips have no further modality; beside others films are sounds.

    Args:
        columns: The columns that may be inputs.
    """
    inputs = [column for column in columns if column.kind in ("files", "numbers")]
    kinds = [find_kind(str(column.stated[0])) if column.kind == "files" else None for column in inputs]
    films = [column for column, kind in zip(inputs, kinds, strict=True) if kind == "film"]
    sounds = [column for column, kind in zip(inputs, kinds, strict=True) if kind == "sound"]
    if len(films) != 1 or len(sounds) > 1 or len(inputs) > len(films) + len(sounds):
        return None
    return films[0], next(iter(sounds), None)


def _make_numbers(name: str, columns: Sequence[Column]) -> NumberInput:
    rows = list(zip(*(column.names for column in columns), strict=True))
    complete = all(None not in row or set(row) == {None} for row in rows)
    fill = None if complete else tuple(_round(median(column.numbers)) for column in columns)
    present = sum(any(name is not None for name in row) for row in rows)
    return NumberInput(name, tuple(column.name for column in columns), fill, present)


def _round(number: float) -> float:
    """Rounds to four digits: what fills an empty cell need not be exact, and should be read."""
    return float(f"{number:.4g}")


def _find_stem(column: Column) -> str:
    measured = [word for word in column.words if word not in STATISTICS]
    has_more = len(column.words) > 1
    return measured[0] if measured and has_more and not measured[0].isdigit() else ""


def _cut_words(name: str) -> str:
    """Cuts words such as path and file off the name of a column of files."""
    kept = re.sub(r"(?i)(^|[\W_]+)(path|file|filename|filepath|name)s?(?=$|[\W_])", "", name)
    return unicodedata.normalize("NFC", kept) or name
