"""The columns of a table that hold films and their sounds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionkit.data.readers.archives import is_member
from fusionkit.data.readers.files import find_path_hint
from fusionkit.data.readers.tables import TableRow
from fusionkit.errors import Problem
from fusionkit.interfaces import Clip

_NAMED = 5
"""Largest number of files that a note names."""


@dataclass(frozen=True)
class FilmColumns:
    """The columns that hold the films and sounds of clips.

    Args:
        film: The column of films; None where there is none.
        sound: The column of sounds; None where there is none.
    """

    film: str | None
    sound: str | None

    def refuse_beside(self, options: Mapping[str, object]) -> list[Problem]:
        """Problems with options that have no meaning for films.

        Args:
            options: By name, ``modalities`` and ``sample_rate`` as the recipe gives them.
        """
        if not self._columns:
            return []
        remedies = {
            "modalities": "leave it out: clips have the modalities video and audio, which are prepared, and no others",
            "sample_rate": "leave it out: the sound of clips is resampled in preparation, see data.prepare.sample_rate",
        }
        stated = " and ".join(self._columns)
        return [
            Problem(name, f"cannot stand beside {stated}", remedies[name])
            for name, given in options.items()
            if given is not None
        ]

    def read(self, rows: Sequence[TableRow], root: Path, problems: list[Problem]) -> tuple[list[Clip], tuple[str, ...]]:
        """Reads the clip of every row, and what a user should know of the files; nothing where no column is named.

        Args:
            rows: The table's rows.
            root: The folder that relative paths start from.
            problems: Receives the rows that state neither film nor sound, and that no file is there at all.
        """
        if not self._columns:
            return [], ()
        before = len(problems)
        clips, absent, stated = list[Clip](), list[str](), 0
        for row in rows:
            paths = {
                option: root / str(row.cells[column]) for option, column in self._columns.items() if column in row.cells
            }
            given = list(paths.values())
            if not any(column in row.cells for column in self._columns.values()):
                remedy = f"fill in {' or '.join(map(repr, self._columns.values()))}, or leave the row out"
                problems.append(Problem(row.place, "states neither a film nor a sound", remedy))
            stated += len(given)
            absent += [f"{row.place}: {path}" for path in given if not (os.path.isfile(path) or is_member(path))]
            clips.append(Clip(paths.get("film"), paths.get("sound")))
        if absent and len(absent) == stated and len(problems) == before:
            named = [str(cell) for row in rows for name, cell in row.cells.items() if name in self._columns.values()]
            hints = map(find_path_hint, named)
            remedy = next(filter(None, hints), f"paths start from {root}; another folder is named by root: FOLDER")
            message = f"none of the {stated} films and sounds is there, such as {absent[0]}"
            problems.append(Problem(" and ".join(self._columns), message, remedy))
        return clips, _note(absent, stated)

    @property
    def _columns(self) -> dict[str, str]:
        given = {"film": self.film, "sound": self.sound}
        return {option: column for option, column in given.items() if column is not None}


def _note(absent: Sequence[str], stated: int) -> tuple[str, ...]:
    if not absent:
        return ()
    more = f"; and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
    return (f"{len(absent)} of {stated} films and sounds are not there: {'; '.join(absent[:_NAMED])}{more}",)
