"""A table with one row per sample: files or numbers per modality, targets, group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.data.datasets.film_columns import FilmColumns
from fusionkit.data.datasets.film_files import refuse_unprepared
from fusionkit.data.datasets.table_cautions import describe_cautions
from fusionkit.data.datasets.table_modalities import ColumnSpec, FileNames, TableModality, make_modality
from fusionkit.data.datasets.table_targets import read_targets
from fusionkit.data.readers.files import expand_path
from fusionkit.data.readers.tables import MISSING, Cell, Table, TableRow, read_table
from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.interfaces import Dataset, ModalityInfo, Row, TableColumns


@DATASETS.register("manifest")
class Manifest(Dataset):
    """Samples listed in a table: CSV, JSON lines or Parquet, one row per sample; an empty cell is a missing value.

    A modality is a column of paths (sounds, films for their sound, npy, safetensors, images) or a list of columns of
    numbers, which are one static vector. Sound becomes one wave, the mean of its channels. The shape of an element and
    its rate are those of the first file that can be read; a file that differs is refused when it is loaded. Every
    problem of every row is reported at once, before anything is loaded. Whole numbers stay whole: arrays of integers
    and columns in which every number is one.

    A number is written with the digits 0 to 9, a decimal point and an exponent where there is need: ``-3``, ``0.5``,
    ``1e-05``. All else is a word, such as ``007``, ``1_000``, ``1,5`` and ``inf``, and a column with one word in it is
    words. A target is what its loss head takes it for: classes are named as they are written (but ``1.0`` is the class
    ``1`` too), and a regression reads numbers. Paths stand for themselves: neither ``~`` nor ``$NAME`` is replaced.

    With ``film`` or ``sound`` the rows are clips instead, which `fusionkit prepare` makes the modalities ``video`` and
    ``audio`` of. A film or sound that is not there is then no error, unless all are: `notes` tells of it, and the
    recipe's ``data.prepare.damaged`` says what becomes of it.

    Args:
        path: The table: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.
        modalities: By modality: the column that holds its files, the columns that hold its numbers, or a column with
            options: ``column``; ``rate``, elements per second of arrays; ``layout``, ``sequence`` (an array's first
            axis is time), ``static`` (an array is one element) or ``auto`` (static where it has one axis); ``tensor``,
            of a safetensors file; ``fill``, of a list of columns, a number for each that stands in for its empty cells,
            which marks behind the numbers tell. Not beside films.
        film: The column of the films that faces are cut out of.
        sound: The column of the sounds of clips; where it is empty, or without it, a clip's sound is that of its film.
        targets: Columns that are targets, or by target its column, or several columns for a target of several numbers.
        group: The column of the group, such as the actor; a protocol that keeps groups apart is named after it.
        id: The column of a unique name; without it a sample is named after its row, counted from 1.
        part: The column that says ``train`` or ``test``, for the protocol `given`.
        root: The folder that relative paths of files start from; without it that of the table.
        sample_rate: Samples per second that all sound is resampled to; without it every file must have the first's.
            Not beside films.
        missing: Texts that mark a missing value, in every column, as an empty cell does; without it ``NA``, ``N/A``,
            ``n/a``, ``#N/A``, ``<NA>``, ``nan``, ``-nan``, ``NaN``, ``NAN``, ``null`` and ``NULL``. `cautions` tells
            how many there are.
    """

    def __init__(
        self,
        *,
        path: str,
        modalities: Annotated[dict[str, str | list[str] | ColumnSpec] | None, ANY_ORDER] = None,
        film: str | None = None,
        sound: str | None = None,
        targets: Annotated[dict[str, str | list[str]] | list[str] | None, ANY_ORDER] = None,
        group: str | None = None,
        id: str | None = None,
        part: str | None = None,
        root: str | None = None,
        sample_rate: Annotated[int, Field(gt=0)] | None = None,
        missing: list[str] | None = None,
    ) -> None:
        table = read_table(path, MISSING if missing is None else missing)
        folder = table.path.parent if root is None else expand_path(root)
        named = targets if isinstance(targets, dict) else {name: name for name in targets or ()}
        films = FilmColumns(film, sound)
        beside = films.refuse_beside({"modalities": modalities, "sample_rate": sample_rate})
        if beside:
            raise DataError(beside, source=str(table.path))
        self._sources = {
            name: make_modality(name, given, table.rows, folder, sample_rate)
            for name, given in (modalities or {}).items()
        }
        others = {"film": film, "sound": sound, "group": group, "id": id, "part": part}
        # Columns come first: one that is not there would be a problem of every row.
        used = _check_columns(table, self._sources, named, others)
        self._table_rows = table.rows
        problems = _check_values(table.rows, self._sources) + _check_names(table, id, part)
        values, classes = read_targets(table, named, problems)
        clips, self.notes = films.read(table.rows, folder, problems)
        # All problems at once, and before files are opened to describe what they hold.
        if problems:
            raise DataError(problems, source=str(table.path))
        self.modalities = _describe_modalities(table, self._sources)
        self.columns = TableColumns(
            modalities={name: source.describe_columns() for name, source in self._sources.items()},
            film=film,
            sound=sound,
            id=id,
            group=group,
            targets={name: (given,) if isinstance(given, str) else tuple(given) for name, given in named.items()},
            missing=None if missing is None else tuple(missing),
        )
        self.classes = classes
        self.origins = {
            name: f"{table.path}, column {given!r}"
            if isinstance(given, str)
            else f"{table.path}, columns {', '.join(map(repr, given))}"
            for name, given in named.items()
        }
        self.rows = [
            Row(
                id=str(row.cells[id]) if id else str(position + 1),
                group=_read_text(row, group),
                part=_read_text(row, part),
                targets=values[position],
                place=row.place,
            )
            for position, row in enumerate(table.rows)
        ]
        self.group_name = group or Dataset.group_name
        self.clips = dict(zip((row.id for row in self.rows), clips, strict=True)) if clips else {}
        self._empty = _find_empty_files(table.rows, self._sources)
        self.sources = {
            row.id: [
                source.locate(stated)
                for name, source in self._sources.items()
                if isinstance(source, FileNames) and source.has(stated) and position not in self._empty[name]
            ]
            for position, (row, stated) in enumerate(zip(self.rows, table.rows, strict=True))
        }
        self.cautions = describe_cautions(table, self._sources, self._empty, used)

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Reads the files and numbers of one row; refuses clips, which are prepared before they are loaded."""
        if self.clips:
            raise refuse_unprepared(self.rows[index])
        row = self._table_rows[index]
        return {name: source.load(row) for name, source in self._sources.items() if source.has(row)}

    def length(self, index: int, modality: str) -> int:
        """Elements of one modality of a row; of sound and npy files only the header is read."""
        row, source = self._table_rows[index], self._sources[modality]
        return source.length(row) if source.has(row) else 0

    def has(self, index: int, modality: str) -> bool:
        """Says whether a row states a modality, and a file of it holds more than a header."""
        stated = self._sources[modality].has(self._table_rows[index])
        return stated and index not in self._empty.get(modality, ())


def _check_values(rows: Sequence[TableRow], sources: Mapping[str, TableModality]) -> list[Problem]:
    return [
        problem
        for row in rows
        for source in sources.values()
        if source.has(row)
        for problem in source.find_problems(row)
    ]


def _describe_modalities(table: Table, sources: Mapping[str, TableModality]) -> Mapping[str, ModalityInfo]:
    described: dict[str, ModalityInfo] = {}
    problems: list[Problem] = []
    for name, source in sources.items():
        try:
            described[name] = source.describe([row for row in table.rows if source.has(row)])
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems, source=str(table.path))
    return described


def _find_empty_files(rows: Sequence[TableRow], sources: Mapping[str, TableModality]) -> Mapping[str, frozenset[int]]:
    """Finds by modality the positions of rows whose file holds no element."""
    return {
        name: frozenset(index for index, row in enumerate(rows) if source.has(row) and source.is_empty(row))
        for name, source in sources.items()
        if isinstance(source, FileNames)
    }


def _check_columns(
    table: Table,
    modalities: Mapping[str, TableModality],
    targets: Mapping[str, str | list[str]],
    others: Mapping[str, str | None],
) -> tuple[str, ...]:
    """Returns the columns that are used; refuses those that there are not."""
    wanted = [(f"modalities.{name}", list(source.columns)) for name, source in modalities.items()]
    wanted += [(f"targets.{name}", [given] if isinstance(given, str) else given) for name, given in targets.items()]
    wanted += [(option, [column]) for option, column in others.items() if column is not None]
    problems = [Problem(place, "names no column", "name at least one") for place, columns in wanted if not columns]
    problems += [
        Problem(place, f"{table.path.name} has no column {column!r}", suggest_names(column, table.columns))
        for place, columns in wanted
        for column in columns
        if column not in table.columns
    ]
    if not modalities and others["film"] is None and others["sound"] is None:
        remedy = "name at least one modality and its column, or the column of films: film: COLUMN"
        problems.append(Problem("modalities", "is empty", remedy))
    if problems:
        raise DataError(problems, source=str(table.path))
    return tuple(column for _, columns in wanted for column in columns)


def _check_names(table: Table, id_column: str | None, part_column: str | None) -> list[Problem]:
    problems = []
    first: dict[str, str] = {}
    for row in table.rows:
        name = _read_text(row, id_column)
        if id_column is not None and name is None:
            problems.append(Problem(row.place, f"column {id_column!r}, the id, is empty"))
        elif name is not None and name in first:
            problems.append(Problem(row.place, f"id {name!r} is taken by {first[name]}"))
        elif name is not None:
            first[name] = row.place
        part = _read_text(row, part_column)
        if part not in (None, "train", "test"):
            problems.append(Problem(row.place, f"part {part!r}", "train or test"))
    return problems


def _read_text(row: TableRow, column: str | None) -> str | None:
    cell: Cell | None = row.cells.get(column) if column is not None else None
    return None if cell is None else str(cell)
