"""Sentences on what was seen in a table and what was assumed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fusionkit.data.readers.tables import read_float
from fusionkit.errors import shorten
from fusionkit.experiments.drafts.columns import Column
from fusionkit.experiments.drafts.dataset import Films
from fusionkit.experiments.drafts.inputs import FileInput, Input

_NAMED = 6
_LONGEST = 80
"""Names that are listed, and characters of one."""


def say_inputs(
    inputs: Sequence[Input], films: Films | None, rows: int, rate: int | None, dataset: Mapping[str, Any]
) -> list[str]:
    """Says what each modality is, and where rows lack it."""
    said = [_say_input(each, rows) for each in inputs]
    if films is not None:
        sound = (films.sound and f"column {films.sound}") or ("the films" if films.has_sound else "")
        more = f", sound of {sound}" if sound else ". The first film has no sound, so there is none"
        said.append(
            f"Films of column {films.film} are prepared: faces found by {films.prepare['face']['detector']}{more}. "
            "`fusionkit prepare` does it once, before training."
        )
    if any(isinstance(each, FileInput) and each.contents.kind == "film" for each in inputs):
        said.append(
            "Films are read for their sound alone, for prepared pictures cannot stand beside other columns. To use the "
            "pictures leave those out: --ignore COLUMN."
        )
    if rate is not None:
        said.append(f"Sounds have several rates; all are resampled to the lowest, {rate} (sample_rate).")
    if "root" in dataset:
        said.append(f"Paths in the table start from {dataset['root']} (root).")
    if "missing" in dataset:
        marks = [mark for column in [dataset["missing"]] for mark in column if not mark.isalpha() or mark == "none"]
        said.append(f"Texts such as {marks[-1]!r} in columns of numbers mark missing values (missing).")
    if len(inputs) == 1 or (films is not None and not films.has_sound):
        said.append("There is one modality, so there is nothing to fuse, and no experiment.")
    return said


def say_left_out(columns: Sequence[Column], apart: Mapping[str, str], used: Collection[str]) -> list[str]:
    """Says which columns are no inputs, and why.

    Args:
        columns: The columns of the table.
        apart: Columns that are left out, and why.
        used: Columns of targets, rates, and those with a role.
    """
    reasons: dict[str, list[str]] = {}
    for column in columns:
        if column.name in apart:
            reasons.setdefault(apart[column.name], []).append(column.name)
    kinds = {
        "is empty in every row": [column.name for column in columns if column.kind == "empty"],
        "has the same value in every row": [
            column.name
            for column in columns
            if column.name not in {*apart, *used} and column.is_constant and column.kind != "empty"
        ],
    }
    words = [column for column in columns if column.kind == "words" and column.name not in {*apart, *used}]
    for column in words:
        if not column.is_constant:
            kinds.setdefault(_say_words(column), []).append(column.name)
    reasons |= {why: names for why, names in kinds.items() if names}
    return [f"Not among the inputs: {_list(names)} ({why})." for why, names in reasons.items()]


def _say_input(given: Input, rows: int) -> str:
    lacking = f" {rows - given.present} of {rows} rows lack it." if given.present < rows else ""
    if not isinstance(given, FileInput):
        filled = ""
        if given.fill is not None:
            filled = " Empty cells among them are filled with each column's median, and marked (fill)."
        return f"Modality {given.name}: the numbers {_list(given.columns)}, one vector.{filled}{lacking}"
    contents, column = given.contents, _list([given.column])
    shape = f" of shape {list(contents.shape)}" if contents.shape else ""
    rates = " and ".join(f"{rate:g}" for rate in sorted(contents.rates))
    per_second = f", {rates} per second" if rates else ""
    elements = f"{contents.length} elements{shape} (median; {contents.longest} at most){per_second}"
    what = elements if contents.longest > 1 else f"one element{shape} each"
    own = f" {contents.remark}" if contents.remark else ""
    if contents.kind == "array" and contents.longest > 1 and not rates:
        own += (
            " Their rate is not known, and answers over time need it: say how many elements there are per second in a "
            f"column {given.name}_rate, or as {{column: {column}, rate: 50}} in the recipe."
        )
    return f"Modality {given.name}: {contents.kind}s of column {column}, {what}.{own}{lacking}"


def _say_words(column: Column) -> str:
    """Says what a column of words holds; of one that is numbers but for some cells, what those hold."""
    words = [str(cell) for cell in column.stated if read_float(cell) is None]
    if len(words) > len(column.stated) / 2:
        return "holds words; write numbers to use it"
    return f"holds numbers and words such as {shorten(words[0], _LONGEST)!r}; mend or empty these cells to use it"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shorten(name, _LONGEST) if name.strip() else repr(name) for name in names[:_NAMED]) + more
