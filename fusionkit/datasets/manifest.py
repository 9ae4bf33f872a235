"""A table with one row per sample: files or numbers per modality, targets, group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fusionkit.data.audio import AUDIO_SUFFIXES
from fusionkit.data.files import at_place, expand_path
from fusionkit.data.media import Layout, MediaInfo, ReadOptions, describe_media, read_media
from fusionkit.datasets.film_columns import FilmColumns
from fusionkit.datasets.film_files import not_prepared
from fusionkit.datasets.table_targets import targets_of
from fusionkit.datasets.tables import Cell, Table, TableRow, number, read_table
from fusionkit.errors import DataError, Problem, did_you_mean
from fusionkit.interfaces import Dataset, ModalityInfo, Row
from fusionkit.registry import DATASETS


class FileColumn(BaseModel):
    """A modality whose values stand in files.

    Args:
        column: The column with the files' paths.
        rate: Elements per second of arrays; None where they are no samples of time. Sound states its own.
        layout: What an array is: ``sequence`` (its first axis counts elements), ``static`` (one element), or ``auto``
            (one-dimensional arrays are static, all others sequences).
        tensor: Which tensor of a safetensors file; None where it holds only one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    column: str
    rate: Annotated[float, Field(gt=0)] | None = None
    layout: Layout = "auto"
    tensor: str | None = None


@DATASETS.register("manifest")
class Manifest(Dataset):
    """Samples listed in a table: CSV, JSON lines or Parquet, one row per sample; an empty cell is a missing value.

    A modality is a column of paths (wav, flac, npy, safetensors, images) or a list of columns of numbers, which are one
    static vector. Sound becomes one wave, the mean of its channels. The shape of an element and its rate are those of
    the first file that can be read; a file that differs is refused when it is loaded. Every problem of every row is
    reported at once, before anything is loaded.

    With ``film`` or ``sound`` the rows are clips instead, which `fusionkit prepare` makes the modalities ``video`` and
    ``audio`` of. A film or sound that is not there is then no error, unless all are: `notes` tells of it, and the
    recipe's ``data.prepare.damaged`` says what becomes of it.

    Args:
        path: The table: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.
        modalities: By modality: the column that holds its files, the columns that hold its numbers, or a column with
            options: ``column``; ``rate``, elements per second of arrays; ``layout``, ``sequence`` (an array's first
            axis is time), ``static`` (an array is one element) or ``auto`` (static where it has one axis); ``tensor``,
            which one of a safetensors file. Not beside films.
        film: The column of the films that faces are cut out of.
        sound: The column of the sounds of clips; where it is empty, or without it, a clip's sound is that of its film.
        targets: Columns that are targets, or by target its column, or several columns for a target of several numbers.
        group: The column of the group, such as the actor.
        id: The column of a unique name; without it a sample is named after its row, counted from 1.
        part: The column that says ``train`` or ``test``, for the protocol `given`.
        root: The folder that relative paths of files start from; without it that of the table.
        sample_rate: Samples per second that all sound is resampled to; without it every file must have the first's.
            Not beside films.
    """

    def __init__(
        self,
        *,
        path: str,
        modalities: dict[str, str | list[str] | FileColumn] | None = None,
        film: str | None = None,
        sound: str | None = None,
        targets: dict[str, str | list[str]] | list[str] | None = None,
        group: str | None = None,
        id: str | None = None,
        part: str | None = None,
        root: str | None = None,
        sample_rate: Annotated[int, Field(gt=0)] | None = None,
    ) -> None:
        table = read_table(path)
        self._root = table.path.parent if root is None else expand_path(root)
        named = targets if isinstance(targets, dict) else {name: name for name in targets or ()}
        films = FilmColumns(film, sound)
        beside = films.refused_beside({"modalities": modalities, "sample_rate": sample_rate})
        if beside:
            raise DataError(beside, source=str(table.path))
        others = {"film": film, "sound": sound, "group": group, "id": id, "part": part}
        _check_columns(table, modalities or {}, named, others)
        self._sources = {name: _source_of(given) for name, given in (modalities or {}).items()}
        self._options = {
            name: ReadOptions(sample_rate, source.rate, source.layout, source.tensor)
            for name, source in self._sources.items()
            if isinstance(source, FileColumn)
        }
        self._table_rows = table.rows
        problems = self._problems_with_values() + _problems_with_names(table, id, part)
        values, classes = targets_of(table, named, problems)
        clips, self.notes = films.read(table.rows, self._root, problems)
        if problems:
            raise DataError(problems, source=str(table.path))
        self.modalities = self._describe_modalities(table)
        self.classes = classes
        self.origins = {
            name: f"{table.path}, column {given!r}" for name, given in named.items() if isinstance(given, str)
        }
        self.rows = [
            Row(
                id=str(row.cells[id]) if id else str(position + 1),
                group=_text(row, group),
                part=_text(row, part),
                targets=values[position],
                place=row.place,
            )
            for position, row in enumerate(table.rows)
        ]
        self.clips = dict(zip((row.id for row in self.rows), clips, strict=True)) if clips else {}

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Reads the files and numbers of one row; refuses clips, which are prepared before they are loaded."""
        if self.clips:
            raise not_prepared(self.rows[index])
        row = self._table_rows[index]
        loaded = {}
        for name, source in self._sources.items():
            if isinstance(source, tuple):
                if any(column in row.cells for column in source):
                    numbers = [[float(row.cells[column]) for column in source]]
                    loaded[name] = torch.tensor(numbers, dtype=torch.float32)
            elif source.column in row.cells:
                loaded[name] = self._read(row, name, source)
        return loaded

    def length(self, index: int, modality: str) -> int:
        """Elements of one modality of a row; of sound and npy files only the header is read."""
        row, source = self._table_rows[index], self._sources[modality]
        if isinstance(source, tuple):
            return int(any(column in row.cells for column in source))
        return self._describe(row, modality, source).length if source.column in row.cells else 0

    def _read(self, row: TableRow, modality: str, source: FileColumn) -> Tensor:
        file, expected = self._file(row, source), self.modalities[modality]
        place = f"{row.place}: {modality}"
        try:
            values = read_media(file, self._options[modality])
        except DataError as error:
            raise at_place(error, place) from error
        shape = tuple(values.shape[1:])
        if shape != expected.shape:
            message = f"elements of shape {shape}, but the first file has {expected.shape}"
            raise DataError([Problem(f"{place}: {file}", message, "all samples share one shape of elements")])
        if file.suffix.lower() in AUDIO_SUFFIXES:
            rate = self._describe(row, modality, source).rate
            if rate != expected.rate:
                message = f"{rate} elements per second, but the first file has {expected.rate}"
                raise DataError([Problem(f"{place}: {file}", message, "set sample_rate to resample all sound")])
        return values

    def _describe(self, row: TableRow, modality: str, source: FileColumn) -> MediaInfo:
        try:
            return describe_media(self._file(row, source), self._options[modality])
        except DataError as error:
            raise at_place(error, f"{row.place}: {modality}") from error

    def _file(self, row: TableRow, source: FileColumn) -> Path:
        return self._root / expand_path(str(row.cells[source.column]))

    def _describe_modalities(self, table: Table) -> Mapping[str, ModalityInfo]:
        described: dict[str, ModalityInfo] = {}
        problems: list[Problem] = []
        for name, source in self._sources.items():
            if isinstance(source, tuple):
                described[name] = ModalityInfo((len(source),))
                continue
            unreadable: list[Problem] = []
            for row in table.rows:
                if source.column in row.cells:
                    try:
                        found = self._describe(row, name, source)
                    except DataError as error:
                        unreadable += error.problems
                        continue
                    described[name] = ModalityInfo(found.shape, found.rate)
                    break
            else:
                problems += unreadable or [
                    Problem(f"modality {name}", f"column {source.column!r} is empty in every row")
                ]
        if problems:
            raise DataError(problems, source=str(table.path))
        return described

    def _problems_with_values(self) -> list[Problem]:
        problems = []
        for row in self._table_rows:
            for name, source in self._sources.items():
                if isinstance(source, tuple):
                    problems += _problems_with_numbers(row, name, source)
                elif source.column in row.cells:
                    try:
                        file = self._file(row, source)
                    except DataError as error:
                        problems += at_place(error, f"{row.place}: {name}").problems
                        continue
                    if not file.is_file():
                        problems.append(Problem(f"{row.place}: {name}", f"no such file: {file}"))
        return problems


def _source_of(given: str | list[str] | FileColumn) -> FileColumn | tuple[str, ...]:
    if isinstance(given, str):
        return FileColumn(column=given)
    return given if isinstance(given, FileColumn) else tuple(given)


def _check_columns(
    table: Table,
    modalities: Mapping[str, str | list[str] | FileColumn],
    targets: Mapping[str, str | list[str]],
    others: Mapping[str, str | None],
) -> None:
    wanted = []
    for name, source in modalities.items():
        columns = _source_of(source)
        wanted += [(f"modalities.{name}", [columns.column] if isinstance(columns, FileColumn) else list(columns))]
    wanted += [(f"targets.{name}", [given] if isinstance(given, str) else given) for name, given in targets.items()]
    wanted += [(option, [column]) for option, column in others.items() if column is not None]
    problems = [Problem(place, "names no column", "name at least one") for place, columns in wanted if not columns]
    problems += [
        Problem(place, f"{table.path.name} has no column {column!r}", did_you_mean(column, table.columns))
        for place, columns in wanted
        for column in columns
        if column not in table.columns
    ]
    if not modalities and others["film"] is None and others["sound"] is None:
        remedy = "name at least one modality and its column, or the column of films: film: COLUMN"
        problems.append(Problem("modalities", "is empty", remedy))
    if problems:
        raise DataError(problems, source=str(table.path))


def _problems_with_numbers(row: TableRow, modality: str, columns: Sequence[str]) -> list[Problem]:
    given = {column: row.cells[column] for column in columns if column in row.cells}
    problems = [
        Problem(f"{row.place}: {modality}", f"column {column!r} holds {cell!r}, not a finite number")
        for column, cell in given.items()
        if number(cell) is None
    ]
    if given and len(given) < len(columns):
        empty = ", ".join(column for column in columns if column not in given)
        remedy = "give every number of the vector, or none of them where it is missing"
        problems.append(Problem(f"{row.place}: {modality}", f"empty columns: {empty}", remedy))
    return problems


def _problems_with_names(table: Table, id_column: str | None, part_column: str | None) -> list[Problem]:
    problems = []
    first: dict[str, str] = {}
    for row in table.rows:
        name = _text(row, id_column)
        if id_column is not None and name is None:
            problems.append(Problem(row.place, f"column {id_column!r}, the id, is empty"))
        elif name is not None and name in first:
            problems.append(Problem(row.place, f"id {name!r} is taken by {first[name]}"))
        elif name is not None:
            first[name] = row.place
        part = _text(row, part_column)
        if part not in (None, "train", "test"):
            problems.append(Problem(row.place, f"part {part!r}", "train or test"))
    return problems


def _text(row: TableRow, column: str | None) -> str | None:
    cell: Cell | None = row.cells.get(column) if column is not None else None
    return None if cell is None else str(cell)
