"""The targets of every row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusionkit.data.readers.tables import Cell, Table, TableRow, read_column, read_number
from fusionkit.errors import Problem
from fusionkit.interfaces import RawTarget
from fusionkit.interfaces.written_numbers import class_names, is_number


def read_targets(
    table: Table, targets: Mapping[str, str | list[str]], problems: list[Problem]
) -> tuple[list[dict[str, RawTarget | None]], Mapping[str, tuple[str, ...]]]:
    """Reads every row's targets, and the classes of those that are words or whole numbers."""
    values: list[dict[str, RawTarget | None]] = [{} for _ in table.rows]
    classes: dict[str, tuple[str, ...]] = {}
    for name, given in targets.items():
        if isinstance(given, list):
            words = _find_word_columns(table, name, given)
            problems += words.values()
            numbers = [column for column in given if column not in words]
            for row, stated in zip(table.rows, values, strict=True):
                stated[name] = _read_numbers(row, name, numbers, problems)
            continue
        known = [(position, row.cells[given]) for position, row in enumerate(table.rows) if given in row.cells]
        column = read_column([_write_word(cell) for _, cell in known])
        for stated in values:
            stated[name] = None
        for (position, _), value in zip(known, column, strict=True):
            values[position][name] = value
        if column and not any(isinstance(value, float) and not value.is_integer() for value in column):
            # By number, then by writing: 1e1 and 10 are two classes, 1.0 and 1 are one.
            named = sorted({(value, class_names(value)[-1]) for value in column})
            classes[name] = tuple(dict.fromkeys(text for _, text in named))
    return values, classes


def _find_word_columns(table: Table, target: str, columns: Sequence[str]) -> dict[str, Problem]:
    """Finds columns of a target of numbers that hold words alone: each is one problem, not one of every row."""
    found = {}
    for column in columns:
        cells = [row.cells[column] for row in table.rows if column in row.cells]
        if len(cells) > 1 and all(isinstance(cell, str) and not is_number(cell) for cell in cells):
            held = f"holds words, such as {cells[0]!r}, in {len(cells)} of {len(table.rows)} rows"
            remedy = f"make it a classification: write its column without a list, targets: {{{target}: {column}}}"
            found[column] = Problem(f"target {target}", f"column {column!r} {held}", remedy)
    return found


def _write_word(cell: Cell) -> Cell:
    """Returns truth as the word that JSON and CSV write, which is its class; any other cell as it is."""
    return ("true" if cell else "false") if isinstance(cell, bool) else cell


def check_numbers(where: str, cells: Mapping[str, Cell]) -> list[Problem]:
    """Checks that cells hold numbers, and returns the problems of those that do not.

    Args:
        where: The row, and the modality or target that is made of them.
        cells: The cells by column.
    """
    problems = []
    for column, cell in cells.items():
        try:
            read_number(cell)
        except ValueError as error:
            problems.append(Problem(where, f"column {column!r}: {error}"))
    return problems


def _read_numbers(
    row: TableRow, target: str, columns: Sequence[str], problems: list[Problem]
) -> tuple[float, ...] | None:
    cells = {column: row.cells[column] for column in columns if column in row.cells}
    wrong = check_numbers(f"{row.place}: {target}", cells)
    problems += wrong
    if wrong or not cells:
        return None
    return tuple(float(read_number(cells[column])) if column in cells else float("nan") for column in columns)
