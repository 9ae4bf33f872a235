"""Modalities of a table: a column of files, or columns of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fusionkit.data.datasets.table_targets import check_numbers
from fusionkit.data.readers.arrays import ARRAY_SUFFIXES
from fusionkit.data.readers.files import describe_what_is_there, find_path_hint, is_file, place_error
from fusionkit.data.readers.images import IMAGE_SUFFIXES
from fusionkit.data.readers.media import SOUND_SUFFIXES, Layout, MediaInfo, ReadOptions, describe_media, read_media
from fusionkit.data.readers.sound.audio import PLAIN_SUFFIXES, read_stated_header
from fusionkit.data.readers.tables import TableRow, read_number, read_vector
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import ModalityColumns, ModalityInfo

_SMALL = 4096
"""Bytes of a compressed sound that may hold a header and nothing else; no larger one is decoded to be counted."""

_MOST_WHOLE = 2**63


class ColumnSpec(BaseModel):
    """A modality whose values stand in the files of a column, or in columns of numbers with empty cells.

    A vector of numbers that are filled is twice as long as there are columns: behind the numbers stands for each of
    them a one where its cell was empty, else a zero. So a network can tell a filled number from a measured one. A row
    in which all cells are empty lacks the modality.

    Args:
        column: The column with the files' paths, or the columns with the numbers.
        rate: Elements per second of arrays; None where they are no samples of time. Sound states its own.
        layout: What an array is: ``sequence`` (its first axis counts elements), ``static`` (one element), or ``auto``
            (one-dimensional arrays are static, all others sequences).
        tensor: Which tensor of a safetensors file; None where it holds only one.
        fill: Of columns of numbers, one number for each that stands in for an empty cell; None where a vector has all
            of its numbers or none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    column: str | list[str]
    rate: Annotated[float, Field(gt=0)] | None = None
    layout: Layout = "auto"
    tensor: str | None = None
    fill: list[float] | None = None


class TableModality(ABC):
    """One modality of the rows of a table."""

    columns: tuple[str, ...]

    def has(self, row: TableRow) -> bool:
        """Says whether a row states it."""
        return any(column in row.cells for column in self.columns)

    @abstractmethod
    def describe_columns(self) -> ModalityColumns:
        """Describes where it stands, for tables of new samples."""

    @abstractmethod
    def find_problems(self, row: TableRow) -> list[Problem]:
        """Finds what is wrong with the cells of a row that states it, as far as is seen without opening files."""

    @abstractmethod
    def describe(self, rows: Sequence[TableRow]) -> ModalityInfo:
        """Describes it in the rows that state it.

        Raises:
            DataError: No file of any row can be read, or there is none.
        """

    @abstractmethod
    def load(self, row: TableRow) -> Tensor:
        """Loads the elements of a row that states it.

        Raises:
            DataError: Its file is damaged, or differs from the others.
        """

    @abstractmethod
    def length(self, row: TableRow) -> int:
        """Counts the elements of a row that states it.

        Raises:
            DataError: Its file is damaged.
        """


class NumberColumns(TableModality):
    """A static vector of numbers: int64 where every number of every row is whole, else float32.

    Args:
        name: The modality.
        columns: The columns.
        rows: The rows of the table.
        fill: By column what stands in for an empty cell; None where a vector has all of its numbers, or none.

    Raises:
        DataError: There is not one number to fill with for each column.
    """

    def __init__(
        self, name: str, columns: Sequence[str], rows: Sequence[TableRow], fill: Sequence[float] | None = None
    ) -> None:
        self.name, self.columns = name, tuple(columns)
        self._fill = None if fill is None else tuple(fill)
        if self._fill is not None and len(self._fill) != len(self.columns):
            message = f"{len(self._fill)} numbers for {len(self.columns)} columns"
            raise DataError([Problem(f"modalities.{name}.fill", message, "give one number for each column")])
        self._rows = rows

    def describe_columns(self) -> ModalityColumns:
        """Describes where it stands, for tables of new samples."""
        return ModalityColumns(self.columns, of_numbers=True, whole=self._whole, fill=self._fill, marked=self._marked)

    def find_problems(self, row: TableRow) -> list[Problem]:
        """Finds cells that hold no finite number, and vectors that are not complete."""
        where = f"{row.place}: {self.name}"
        given = {column: row.cells[column] for column in self.columns if column in row.cells}
        problems = check_numbers(where, given)
        if self._fill is None and given and len(given) < len(self.columns):
            empty = ", ".join(column for column in self.columns if column not in given)
            remedy = "give every number of the vector, none of them where it is missing, or numbers to fill with: fill"
            problems.append(Problem(where, f"empty columns: {empty}", remedy))
        return problems

    def describe(self, rows: Sequence[TableRow]) -> ModalityInfo:
        """Describes one element of as many numbers as there are columns, and as many marks where cells are filled."""
        return ModalityInfo((len(self.columns) * (1 if self._fill is None else 2),))

    def load(self, row: TableRow) -> Tensor:
        """Loads the vector ``(1, columns)``; where cells are filled, ``(1, 2 columns)`` with the marks behind it."""
        return read_vector(row.cells, self.describe_columns())

    def length(self, row: TableRow) -> int:
        """Returns one."""
        return 1

    @cached_property
    def _marked(self) -> tuple[str, ...]:
        stating = [row for row in self._rows if self.has(row)] if self._fill is not None else []
        return tuple(name for name in self.columns if any(name not in row.cells for row in stating))

    @cached_property
    def _whole(self) -> bool:
        return all(map(self._is_whole, self._rows))

    def _is_whole(self, row: TableRow) -> bool:
        given = [read_number(row.cells[column]) for column in self.columns if column in row.cells]
        return all(isinstance(value, int) and -_MOST_WHOLE <= value < _MOST_WHOLE for value in given)


class FileNames(TableModality):
    """A column of files.

    Args:
        name: The modality.
        column: The column.
        source: How its files are read.
        root: The folder that relative paths start from.
        sample_rate: Samples per second that sound is resampled to; None keeps each file's own.
    """

    def __init__(self, name: str, column: str, source: ColumnSpec, root: Path, sample_rate: int | None) -> None:
        self.name, self.columns, self._root = name, (column,), root
        self._options = ReadOptions(sample_rate, source.rate, source.layout, source.tensor)
        self._expected: ModalityInfo | None = None

    def describe_columns(self) -> ModalityColumns:
        """Describes where it stands, for tables of new samples."""
        return ModalityColumns(self.columns, tensor=self._options.tensor)

    def locate(self, row: TableRow) -> Path:
        """Finds the file that a row names, as it is written there: neither ``~`` nor ``$NAME`` is replaced."""
        return self._root / str(row.cells[self.columns[0]])

    def find_problems(self, row: TableRow) -> list[Problem]:
        """Says that its file is not there."""
        file, where = self.locate(row), f"{row.place}: {self.name}"
        try:
            if is_file(file):
                return []
        except DataError as error:
            return list(place_error(error, where).problems)
        return [
            Problem(where, f"{describe_what_is_there(file)}: {file}", find_path_hint(str(row.cells[self.columns[0]])))
        ]

    def describe(self, rows: Sequence[TableRow]) -> ModalityInfo:
        """Describes the shape and rate of the first file that can be read."""
        unreadable: list[Problem] = []
        for row in rows:
            try:
                found = self._describe(row)
            except DataError as error:
                unreadable += error.problems
                continue
            self._expected = ModalityInfo(found.shape, found.rate)
            return self._expected
        empty = Problem(f"modality {self.name}", f"{list_columns(self.columns)} empty in every row")
        raise DataError(unreadable or [empty])

    def load(self, row: TableRow) -> Tensor:
        """Loads the elements of the file; it has the shape and rate of the first one."""
        file, expected = self.locate(row), self._expected
        place = f"{row.place}: {self.name}"
        try:
            values = read_media(file, self._options)
        except DataError as error:
            raise place_error(error, place) from error
        assert expected is not None
        shape = tuple(values.shape[1:])
        if shape != expected.shape:
            message = f"elements of shape {shape}, but the first file has {expected.shape}"
            raise DataError([Problem(f"{place}: {file}", message, "all samples share one shape of elements")])
        if self._options.sample_rate is None and file.suffix.lower() in SOUND_SUFFIXES:
            rate = self._describe(row).rate
            if rate != expected.rate:
                message = f"{rate} elements per second, but the first file has {expected.rate}"
                raise DataError([Problem(f"{place}: {file}", message, "set sample_rate to resample all sound")])
        return values

    def length(self, row: TableRow) -> int:
        """Elements of the file; of sound and npy files only the header is read."""
        return self._describe(row).length

    def is_empty(self, row: TableRow) -> bool:
        """Says whether the file of a row has a header and no element behind it; a damaged one is told when loaded."""
        file = self.locate(row)
        try:
            return self._glance(file) == 0
        except DataError:
            return False

    def _glance(self, file: Path) -> int | None:
        """Counts the elements of a file by its header; None where all of it would be decoded to count them."""
        suffix = file.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            return 1
        header = read_stated_header(file) if suffix in PLAIN_SUFFIXES else None
        if header is not None:
            return header.frames
        if suffix not in ARRAY_SUFFIXES and file.stat().st_size > _SMALL:
            return None
        return describe_media(file, self._options).length

    def _describe(self, row: TableRow) -> MediaInfo:
        try:
            return describe_media(self.locate(row), self._options)
        except DataError as error:
            raise place_error(error, f"{row.place}: {self.name}") from error


def list_columns(columns: Sequence[str]) -> str:
    """Columns with their verb.

    Example:
        >>> list_columns(["x"]), list_columns(["x", "y"])
        ("column 'x' is", "columns 'x', 'y' are")
    """
    quoted = ", ".join(repr(column) for column in columns)
    return f"column {quoted} is" if len(columns) == 1 else f"columns {quoted} are"


def make_modality(
    name: str,
    given: str | list[str] | ColumnSpec,
    rows: Sequence[TableRow],
    root: Path,
    sample_rate: int | None,
) -> TableModality:
    """Makes the modality that an option of the manifest describes.

    Raises:
        DataError: It has an option that its kind has not.
    """
    options = given if isinstance(given, ColumnSpec) else ColumnSpec(column=given)
    if isinstance(options.column, list):
        if (options.rate, options.layout, options.tensor) != (None, "auto", None):
            remedy = "columns of numbers take fill alone"
            raise DataError([Problem(f"modalities.{name}", "rate, layout and tensor are of files", remedy)])
        return NumberColumns(name, options.column, rows, options.fill)
    if options.fill is not None:
        remedy = "leave it out, or list the columns: column: [NAME]"
        raise DataError([Problem(f"modalities.{name}.fill", "is of columns of numbers, not of files", remedy)])
    return FileNames(name, options.column, options, root, sample_rate)
