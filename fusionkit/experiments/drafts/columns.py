"""The columns of a table, and what each of them holds: files, numbers, words or nothing."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Literal

from fusionkit.data.readers.media import SUFFIXES
from fusionkit.data.readers.tables import Cell, Table, read_float
from fusionkit.interfaces.written_numbers import WrittenNumber, class_names

Kind = Literal["empty", "files", "numbers", "commas", "words"]

_MARKS = frozenset({"?", "-", "--", ".", "none", "None", "NONE", "missing", "n.a.", "nil", "#DIV/0!", "#VALUE!", "NaT"})
"""Texts that mark a missing value in a column of numbers, beside those that every table knows."""

_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?")

_LONGEST_NAME = 40

_RESERVED = frozenset({"fused", "fusion", "ensemble", "constant", "training"})
"""Names that the library gives to branches of its own."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: Its name.
        cells: Its cells by row; None where one is empty.
        kind: What they hold; ``commas`` are numbers with a decimal comma.
        marks: Further texts in it that mark a missing value; their cells count as empty.
    """

    name: str
    cells: Sequence[Cell | None] = field(repr=False)
    kind: Kind
    marks: tuple[str, ...] = ()

    @cached_property
    def stated(self) -> list[Cell]:
        """Its cells that are not empty."""
        return [cell for cell in self.cells if cell is not None]

    @cached_property
    def names(self) -> list[str | None]:
        """The name of every cell as a class; None where it is empty."""
        are_numbers = self.kind == "numbers"
        return [None if cell is None else _name_class(cell, is_number=are_numbers) for cell in self.cells]

    @cached_property
    def counts(self) -> Counter[str]:
        """The number of cells of every value."""
        return Counter(name for name in self.names if name is not None)

    @cached_property
    def numbers(self) -> list[float]:
        """Its numbers, where it holds numbers."""
        return [number for cell in self.stated if (number := read_float(cell)) is not None]

    @property
    def is_whole(self) -> bool:
        """True where it holds numbers, and all of them are whole."""
        return self.kind == "numbers" and all(number.is_integer() for number in self.numbers)

    @property
    def is_constant(self) -> bool:
        """True where it has one value only."""
        return len(self.counts) == 1

    @property
    def is_unique(self) -> bool:
        """True where every row has a value of its own."""
        return len(self.counts) == len(self.cells)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of its name."""
        return split_name(self.name)


def list_kinds(table: Table) -> list[Column]:
    """Lists the columns of a table with what they hold."""
    return [make_column(name, [row.cells.get(name) for row in table.rows]) for name in table.columns]


def make_column(name: str, cells: Sequence[Cell | None]) -> Column:
    """Makes a column of its cells.

    Example:
        >>> [make_column("x", cells).kind for cells in (["1", "2.5"], ["a.wav"], ["1,5", "2"], ["low"], [None])]
        ['numbers', 'files', 'commas', 'words', 'empty']
        >>> make_column("x", ["1", "?", "2", "3"]).marks
        ('?',)
    """
    stated = [cell for cell in cells if cell is not None]
    if not stated:
        return Column(name, cells, "empty")
    wrong = [str(cell) for cell in stated if read_float(cell) is None]
    if not wrong:
        return Column(name, cells, "numbers")
    if len(wrong) < len(stated) / 2 and set(wrong) <= _MARKS:
        kept = [None if cell is not None and str(cell) in _MARKS else cell for cell in cells]
        return Column(name, kept, "numbers", tuple(sorted(set(wrong))))
    files = [word for word in wrong if PurePath(word).suffix.lower() in SUFFIXES]
    if len(files) > len(stated) / 2:
        return Column(name, cells, "files")
    others = [word for word in wrong if word not in _MARKS]
    return Column(name, cells, "commas" if others and all(map(_COMMA.fullmatch, others)) else "words")


def split_name(name: str) -> tuple[str, ...]:
    """Splits a name into its words.

    Example:
        >>> split_name("acc_x"), split_name("accX2"), split_name("Herz Rate-3"), split_name("label")
        (('acc', 'x'), ('acc', 'x', '2'), ('herz', 'rate', '3'), ('label',))
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(word.lower() for word in re.findall(r"[^\W\d_]+|\d+", apart))


def make_name(text: str, taken: Collection[str], otherwise: str) -> str:
    """Makes a name of letters, digits and ``_`` that is not taken.

    Args:
        text: What it is made of.
        taken: Names that are given already.
        otherwise: What it is called where nothing of the text is left.

    Example:
        >>> make_name("Größe (mm)", {"x"}, "numbers"), make_name("年齢", {"Numbers"}, "numbers")
        ('Grosse_mm', 'numbers_2')
    """
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:_LONGEST_NAME].strip("_")
    if not name:
        name = otherwise
    if not name[0].isalpha():
        name = f"{otherwise}_{name}"
    if name in _RESERVED:
        name = f"{name}_{otherwise}"
    # Folders are called by it, and on some machines Rate is there already where rate is.
    number, found, lower = 2, name, {each.lower() for each in taken}
    while found.lower() in lower:
        found, number = f"{name}_{number}", number + 1
    return found


def _name_class(cell: Cell, *, is_number: bool) -> str:
    """Returns the name of a cell as a class, as the dataset gives it."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return class_names(WrittenNumber(cell) if is_number else cell)[-1]
    return class_names(cell)[-1]
