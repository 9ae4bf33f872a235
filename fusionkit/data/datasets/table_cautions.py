"""The cautions of a table: what every reader of results must know of its cells and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusionkit.data.datasets.table_modalities import FileNames, TableModality, list_columns
from fusionkit.data.readers.length_notes import note_length
from fusionkit.data.readers.media import SOUND_SUFFIXES
from fusionkit.data.readers.tables import Table
from fusionkit.interfaces.written_numbers import is_number

_NAMED = 5
"""Largest number of rows that a note names."""


def describe_cautions(
    table: Table, sources: Mapping[str, TableModality], empty: Mapping[str, frozenset[int]], used: Sequence[str]
) -> tuple[str, ...]:
    """Describes columns that are empty, files without an element or of wrong lengths, and marks of missing values.

    Args:
        table: The table.
        sources: Its modalities.
        empty: By modality, the rows whose file holds no element.
        used: The columns that are used.
    """
    return (
        *_caution_columns(table, sources),
        *_caution_files(table, sources, empty),
        *_caution_lengths(table, sources),
        *_caution_marks(table, used),
    )


def _caution_columns(table: Table, sources: Mapping[str, TableModality]) -> list[str]:
    return [
        f"Every sample lacks {name}: {list_columns(source.columns)} empty in all {len(table.rows)} rows of "
        f"{table.path.name}."
        for name, source in sources.items()
        if not any(source.has(row) for row in table.rows)
    ]


def _caution_files(
    table: Table, sources: Mapping[str, TableModality], empty: Mapping[str, frozenset[int]]
) -> list[str]:
    found = []
    for name, positions in empty.items():
        source = sources[name]
        if positions and isinstance(source, FileNames):
            rows = [table.rows[position] for position in sorted(positions)]
            stated = sum(source.has(row) for row in table.rows)
            files = "; ".join(f"{row.place}: {source.locate(row)}" for row in rows[:_NAMED])
            more = f"; and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
            found.append(
                f"{len(rows)} of {stated} files of {name} hold a header and no element: {files}{more}. "
                f"Their samples count as without {name}."
            )
    return found


def _caution_lengths(table: Table, sources: Mapping[str, TableModality]) -> list[str]:
    found = []
    for name, source in sources.items():
        if not isinstance(source, FileNames):
            continue
        files = [(row.place, source.locate(row)) for row in table.rows if source.has(row)]
        sounds = [(place, file) for place, file in files if file.suffix.lower() in SOUND_SUFFIXES]
        noted = [f"{place}: {file} {note}" for place, file in sounds if (note := note_length(file))]
        if noted:
            more = f"; and {len(noted) - _NAMED} more" if len(noted) > _NAMED else ""
            wrong = f"{len(noted)} of {len(files)} files of {name} do not state their length, or a wrong one"
            found.append(f"{wrong}: {'; '.join(noted[:_NAMED])}{more}.")
    return found


def _caution_marks(table: Table, used: Sequence[str]) -> list[str]:
    found = []
    for (column, mark), count in sorted(table.marks.items()):
        if column in used:
            place = f"Column {column!r} of {table.path.name}"
            note = f"{place} marks {count} of {len(table.rows)} values as missing by {mark!r}."
            if not _holds_numbers(table, column):
                note += " Where this is a value, such as a class, say which texts mark missing ones: missing: []."
            found.append(note)
    return found


def _holds_numbers(table: Table, column: str) -> bool:
    """Tells whether all values of a column are numbers; a text such as ``nan`` is not one."""
    cells = [row.cells[column] for row in table.rows if row.cells.get(column) is not None]
    return bool(cells) and all(not isinstance(cell, str) or is_number(cell) for cell in cells)
