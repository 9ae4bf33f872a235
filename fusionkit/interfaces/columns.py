"""The columns of a table of samples, by which tables of new ones are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModalityColumns:
    """The columns of a table that hold one modality.

    Args:
        columns: The column of its files, or the columns of its numbers.
        of_numbers: Whether they hold numbers, one static vector.
        whole: Whether all of these numbers are whole, and so given as such.
        fill: By column what stands in for an empty cell of a vector; behind the numbers it has a mark for each.
        marked: The columns that have empty cells; the mark of another is always zero, so that no network meets a mark
            that it never saw.
        tensor: Which tensor of a safetensors file; None where it holds only one.
    """

    columns: tuple[str, ...]
    of_numbers: bool = False
    whole: bool = False
    fill: tuple[float, ...] | None = None
    marked: tuple[str, ...] = ()
    tensor: str | None = None


@dataclass(frozen=True)
class TableColumns:
    """The columns of a dataset's table, by which a table of new samples is read as well.

    Args:
        modalities: By modality, its columns.
        film: The column of films.
        sound: The column of their sounds.
        id: The column of names.
        group: The column of groups.
        targets: By target, its columns.
        missing: Texts that mark a missing value; None for the usual ones.
    """

    modalities: Mapping[str, ModalityColumns] = field(default_factory=dict)
    film: str | None = None
    sound: str | None = None
    id: str | None = None
    group: str | None = None
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] | None = None
