"""Tables of samples: CSV, JSON lines and Parquet as rows of cells."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.data.readers.files import describe_wrapping, find_existing, name_errors, read_text
from fusionkit.data.readers.limits import check_size
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces.columns import ModalityColumns
from fusionkit.interfaces.written_numbers import WrittenNumber, is_whole

Cell = str | int | float | bool
"""Value of a cell; an empty one is left out of its row."""

MISSING = ("NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "-nan", "NaN", "NAN", "null", "NULL")
"""Marks of a missing value, as R, pandas, spreadsheets and databases write them."""


@dataclass(frozen=True)
class TableRow:
    """One row: where it stands, and its cells that are not empty, by column."""

    place: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """The rows of a file, and all of its columns in order.

    Args:
        path: The file.
        columns: Its columns.
        rows: Its rows.
        marks: By column and text, how many cells marked a missing value with that text.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    marks: Mapping[tuple[str, str], int] = field(default_factory=dict)


def read_table(path: str, missing: Collection[str] = MISSING) -> Table:
    """Reads a table of samples: ``.csv`` (``.tsv`` with tabs), ``.jsonl`` or ``.ndjson``, or ``.parquet``.

    Args:
        path: The table.
        missing: Texts that mark a missing value, in any column; such a cell is empty.

    Raises:
        DataError: The file is missing, of no known kind, empty or damaged; every problem with its rows is listed.
    """
    file = find_existing(path)
    suffix = file.suffix.lower()
    if suffix in (".csv", ".tsv"):
        table = _read_csv(file, "\t" if suffix == ".tsv" else ",")
    elif suffix in (".jsonl", ".ndjson"):
        table = _read_json_lines(file)
    elif suffix == ".parquet":
        table = _read_parquet(file)
    elif reason := describe_wrapping(suffix):
        raise DataError([Problem(str(file), reason)])
    else:
        remedy = "a table of samples ends in .csv, .tsv, .jsonl, .ndjson or .parquet"
        raise DataError([Problem(str(file), f"cannot read tables that end in {suffix!r}", remedy)])
    if not table.rows:
        raise DataError([Problem(str(file), "has no rows")])
    return _drop_marks(table, frozenset(missing))


def _drop_marks(table: Table, missing: Collection[str]) -> Table:
    """Drops the cells that mark a missing value, and counts those by column and mark."""
    marks: Counter[tuple[str, str]] = Counter()
    rows = []
    for row in table.rows:
        marked = {name: cell for name, cell in row.cells.items() if isinstance(cell, str) and cell in missing}
        marks.update(marked.items())
        cells = {name: cell for name, cell in row.cells.items() if name not in marked}
        rows.append(TableRow(row.place, cells) if marked else row)
    return replace(table, rows=tuple(rows), marks=dict(marks))


def read_number(cell: Cell) -> int | float:
    """Reads the finite number of a cell, whole where it is written so; true and false are 1 and 0.

    Raises:
        ValueError: It holds none; the message says what it holds instead.
    """
    if isinstance(cell, str):
        return int(cell) if is_whole(cell) else WrittenNumber(cell)
    value = int(cell) if isinstance(cell, bool) else cell
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise ValueError(f"{value!r} is no finite number")
    return value


def read_vector(cells: Mapping[str, Cell], held: ModalityColumns) -> Tensor:
    """Reads the numbers of a row as one element, ``(1, columns)``, or ``(1, 2 columns)`` where empty cells are filled.

    Args:
        cells: The row's cells.
        held: The columns.

    Raises:
        ValueError: A cell holds no finite number.
        KeyError: A cell is empty, and nothing is given to fill it with.
    """
    if held.fill is None:
        dtype = torch.int64 if held.whole else torch.float32
        return torch.tensor([[read_number(cells[column]) for column in held.columns]], dtype=dtype)
    given = [column in cells for column in held.columns]
    numbers = [
        float(read_number(cells[column])) if is_given else fill
        for column, fill, is_given in zip(held.columns, held.fill, given, strict=True)
    ]
    marks = [float(not is_given and name in held.marked) for name, is_given in zip(held.columns, given, strict=True)]
    return torch.tensor([[*numbers, *marks]])


def read_float(cell: Cell) -> float | None:
    """Reads the finite number of a cell as a float; None where it holds none."""
    try:
        return float(read_number(cell))
    except ValueError:
        return None


def read_column(cells: Sequence[Cell]) -> Sequence[str | int | float]:
    """Reads a column as whole numbers or numbers if every cell is one; else, as with codes such as ``07``, as texts."""
    try:
        numbers = [read_number(cell) for cell in cells]
    except ValueError:
        return [str(cell) for cell in cells]
    if all(isinstance(value, int) for value in numbers):
        return numbers
    # A whole number in a column of others keeps its text as well: beside 1.10 the name of 2 is still 2.
    return [WrittenNumber(cell) if isinstance(cell, str) else float(cell) for cell in cells]


def _read_csv(path: Path, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    rows: list[TableRow] = []
    problems: list[Problem] = []
    header: list[str] = []
    try:
        for record in reader:
            if not header:
                header = [name.strip() for name in record]
                _refuse_other_delimiters(header, path, delimiter)
                problems += _check_header(header, path)
            elif record:
                place = f"{path.name}, line {reader.line_num}"
                if len(record) != len(header):
                    problems.append(Problem(place, f"{len(record)} cells, but {len(header)} columns"))
                cells = {name: cell.strip() for name, cell in zip(header, record, strict=False) if cell.strip()}
                rows.append(TableRow(place, cells))
    except csv.Error as error:
        problems.append(Problem(f"{path.name}, line {reader.line_num}", f"is no CSV ({error})"))
    if problems:
        raise DataError(problems, source=str(path))
    return Table(path, tuple(header), tuple(rows))


def _refuse_other_delimiters(header: Sequence[str], path: Path, delimiter: str) -> None:
    """Refuses a table whose cells are divided otherwise, as spreadsheets of some languages write them.

    Raises:
        DataError: Its header is one cell, with another delimiter within.
    """
    if len(header) == 1 and any(sign in header[0] for sign in ",;\t|"):
        remedy = "save it with commas between cells and a decimal point in numbers, or with tabs as .tsv"
        message = f"its cells are not divided by {'commas' if delimiter == ',' else 'tabs'}"
        raise DataError([Problem(f"{path.name}, line 1", message, remedy)], source=str(path))


def _check_header(header: Sequence[str], path: Path) -> list[Problem]:
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    return [Problem(f"{path.name}, line 1", f"column {name!r} stands twice") for name in twice]


def _read_json_lines(path: Path) -> Table:
    rows: list[TableRow] = []
    problems: list[Problem] = []
    for position, line in enumerate(read_text(path).split("\n"), start=1):
        place = f"{path.name}, line {position}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(place, f"is no JSON ({error})"))
            continue
        if not isinstance(record, dict):
            problems.append(Problem(place, f"is {type(record).__name__}, not an object", 'such as {"label": "calm"}'))
            continue
        rows.append(_read_row(place, record, problems))
    return _make_table(path, rows, problems)


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import parquet
    except ImportError:
        remedy = "install it with `pip install fusionkit-multimodal[parquet]`, or save the table as CSV"
        raise DataError([Problem(str(path), "reading Parquet needs the package pyarrow", remedy)]) from None
    with name_errors(path, "cannot be read as Parquet"):
        _check_parquet(path, parquet.read_metadata(path))
        try:
            table = parquet.read_table(path)
        except MemoryError as error:  # a page may state a size of its own, whatever the header states
            remedy = "copy it again, or take a machine with more memory"
            raise DataError([Problem(str(path), f"asks for more memory than there is ({error})", remedy)]) from error
        records = enumerate(table.to_pylist(), start=1)
    problems: list[Problem] = []
    rows = [_read_row(f"{path.name}, row {position}", record, problems) for position, record in records]
    return _make_table(path, rows, problems, columns=tuple(table.column_names))


def _check_parquet(path: Path, stated: Any) -> None:
    """Refuses what is large once it is unpacked: a column of one value takes no room in a file, however long."""
    unpacked = sum(stated.row_group(index).total_byte_size for index in range(stated.num_row_groups))
    check_size("table_bytes", max(unpacked, stated.num_rows * stated.num_columns), str(path))


def _read_row(place: str, record: Mapping[str, Any], problems: list[Problem]) -> TableRow:
    cells: dict[str, Cell] = {}
    for name, given in record.items():
        value = _read_cell(given)
        if value is None or (isinstance(value, float) and math.isnan(value)) or value == "":
            continue
        if not isinstance(value, (str, int, float, bool)):
            message = f"column {name!r} holds {type(value).__name__}"
            if not any(each.message == message for each in problems):  # once, and not for every row
                remedy = "a text or a number; or leave the column out of the table"
                problems.append(Problem(place, message, remedy))
            continue
        cells[name] = value
    return TableRow(place, cells)


def _read_cell(value: Any) -> Any:
    """Strips spaces around a text, reads a decimal number as a whole one or a float, and a date as a text."""
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, (date, time)):
        return str(value)  # as a table of texts has it
    return value.strip() if isinstance(value, str) else value


def _make_table(
    path: Path, rows: Sequence[TableRow], problems: Sequence[Problem], columns: tuple[str, ...] | None = None
) -> Table:
    if problems:
        raise DataError(problems, source=str(path))
    # A JSON object may leave out what it has not, so the columns are those of any row, in order of appearance.
    appeared = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    return Table(path, appeared if columns is None else columns, tuple(rows))
