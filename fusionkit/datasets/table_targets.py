"""The targets of every row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusionkit.datasets.tables import Table, TableRow, number, typed_column
from fusionkit.errors import Problem
from fusionkit.interfaces import RawTarget


def targets_of(
    table: Table, targets: Mapping[str, str | list[str]], problems: list[Problem]
) -> tuple[list[dict[str, RawTarget | None]], Mapping[str, tuple[str, ...]]]:
    """Every row's targets, and the classes of those that are words or whole numbers."""
    values: list[dict[str, RawTarget | None]] = [{} for _ in table.rows]
    classes: dict[str, tuple[str, ...]] = {}
    for name, given in targets.items():
        if isinstance(given, list):
            for row, stated in zip(table.rows, values, strict=True):
                stated[name] = _several_numbers(row, name, given, problems)
            continue
        known = [(position, row.cells[given]) for position, row in enumerate(table.rows) if given in row.cells]
        column = typed_column([cell for _, cell in known])
        for stated in values:
            stated[name] = None
        for (position, _), value in zip(known, column, strict=True):
            values[position][name] = value
        if column and not any(isinstance(value, float) for value in column):
            classes[name] = tuple(str(value) for value in sorted(set(column)))
    return values, classes


def _several_numbers(
    row: TableRow, target: str, columns: Sequence[str], problems: list[Problem]
) -> tuple[float, ...] | None:
    cells = {column: row.cells[column] for column in columns if column in row.cells}
    numbers = {column: number(cell) for column, cell in cells.items()}
    problems += [
        Problem(f"{row.place}: {target}", f"column {column!r} holds {cells[column]!r}, not a finite number")
        for column, value in numbers.items()
        if value is None
    ]
    stated = tuple(float("nan") if (value := numbers.get(column)) is None else value for column in columns)
    return stated if cells else None
