"""The rows of a table as recordings: files and numbers in the columns of the training's table."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionkit.data.readers.tables import MISSING, TableRow, read_table
from fusionkit.data.recordings.recording import Given, Recording
from fusionkit.data.recordings.values import convert_to_elements
from fusionkit.data.recordings.vectors import is_empty, read_cells
from fusionkit.errors import DataError, FusionKitWarning, Problem, suggest_names
from fusionkit.interfaces import Clip
from fusionkit.storage.records.inputs import InputModality, Inputs

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})
"""Endings of files that are tables of samples."""


def list_table(path: Path, inputs: Inputs, root: Path) -> list[Recording]:
    """Lists the samples of a table; columns of targets, groups and others are passed over.

    Args:
        path: The table.
        inputs: What the network is given.
        root: The folder that relative paths start from.

    Raises:
        DataError: It cannot be read, or holds no column of any modality.
    """
    table = read_table(str(path), MISSING if inputs.missing is None else inputs.missing)
    return _list_rows(table.rows, table.columns, inputs, root, path.name)


def list_records(
    records: Sequence[Mapping[str, Any]], inputs: Inputs, root: Path, ids: Sequence[str] | None = None
) -> list[Recording]:
    """Lists the samples of a table in memory; a cell may hold an array as well.

    Args:
        records: Its rows.
        inputs: What the network is given.
        root: The folder that relative paths start from.
        ids: The names of its rows where no column holds them; they are numbered when left out.

    Raises:
        DataError: It has no row, or no column of any modality.
    """
    marks = frozenset(MISSING if inputs.missing is None else inputs.missing)
    rows = [
        TableRow(f"row {position}", {str(name): cell for name, cell in record.items() if not is_empty(cell, marks)})
        for position, record in enumerate(records, start=1)
    ]
    if not rows:
        raise DataError([Problem("table", "has no rows")])
    return _list_rows(rows, tuple(map(str, records[0])), inputs, root, "the table", ids=ids)


def _list_rows(
    rows: Sequence[TableRow],
    columns: Sequence[str],
    inputs: Inputs,
    root: Path,
    name: str,
    *,
    ids: Sequence[str] | None = None,
) -> list[Recording]:
    held = {modality: of.columns for modality, of in inputs.modalities.items()}
    if inputs.films:
        held = {"film": [inputs.film], "sound": [inputs.sound]}
    _check_columns(held, columns, inputs, name)
    recordings = []
    for position, row in enumerate(rows):
        own = str(row.cells.get(inputs.id or "", position + 1 if ids is None else ids[position]))
        problems: list[str] = []
        if inputs.films:
            files = {role: root / str(row.cells[of[0]]) for role, of in held.items() if of[0] in row.cells}
            clip = Clip(files.get("film"), files.get("sound")) if files else None
            recordings.append(Recording(own, row.place, clip=clip))
            continue
        given = {
            modality: found
            for modality, of in inputs.modalities.items()
            if (found := _read_cells(modality, of, row, root, problems)) is not None
        }
        remarks = _remark_empty_cells(inputs, row)
        recordings.append(Recording(own, row.place, given, remarks=remarks, wrong="; ".join(problems)))
    return recordings


def _remark_empty_cells(inputs: Inputs, row: TableRow) -> tuple[str, ...]:
    """Says which cells are filled though none of the training was: the network has no mark for it."""
    return tuple(
        f"{column} is empty, which it never was in the training: filled with {fill:g}"
        for of in inputs.modalities.values()
        if of.fill is not None and any(column in row.cells for column in of.columns)
        for column, fill in zip(of.columns, of.fill, strict=True)
        if column not in row.cells and column not in of.marked
    )


def _check_columns(held: Mapping[str, Iterable[str]], columns: Sequence[str], inputs: Inputs, name: str) -> None:
    """Refuses a table without a column of any modality, or with some numbers of a vector only."""
    absent = {modality: [of for of in own if of not in columns] for modality, own in held.items()}
    if all(len(of) == len(tuple(held[modality])) for modality, of in absent.items()):
        wanted = [column for own in held.values() for column in own]
        problems = [Problem(name, f"has no column {column!r}", suggest_names(column, columns)) for column in wanted]
        raise DataError(problems)
    problems = [
        Problem(f"{name}: {modality}", f"no column {column!r}", suggest_names(column, columns))
        for modality, of in absent.items()
        if modality in inputs.modalities and len(of) < len(tuple(held[modality]))
        for column in of
    ]
    if problems:
        raise DataError(problems)
    lacking = [
        f"{column!r} ({modality}{_find_near(column, columns)})" for modality, of in absent.items() for column in of
    ]
    if lacking:
        used = {column for own in held.values() for column in own} | {inputs.id, inputs.group}
        used |= {column for of in inputs.targets.values() for column in of}
        others = [repr(column) for column in columns if column not in used]
        unused = f"; not used: {', '.join(others)}" if others else ""
        message = f"{name} has no column {', '.join(lacking)}: all of its samples lack that{unused}"
        warnings.warn(message, FusionKitWarning, stacklevel=2)


def _find_near(column: str, columns: Sequence[str]) -> str:
    """Finds a column that is nearly of the name; empty where there is none."""
    suggestion = suggest_names(column, columns)
    return f"; {suggestion}" if suggestion.startswith("did you") else ""


def _read_cells(modality: str, stated: InputModality, row: TableRow, root: Path, problems: list[str]) -> Given | None:
    """Reads a modality of a row; None where it is missing, or wrong, which `problems` is told."""
    cells = {column: row.cells[column] for column in stated.columns if column in row.cells}
    if not cells:
        return None
    if stated.of_numbers:
        return read_cells(modality, stated, cells, problems)
    cell: Any = next(iter(cells.values()))
    if isinstance(cell, (str, Path)):
        return root / str(cell)
    try:
        return convert_to_elements(cell, modality, stated)
    except DataError as error:
        problems += [str(problem) for problem in error.problems]
        return None
