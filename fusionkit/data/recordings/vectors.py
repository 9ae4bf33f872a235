"""Vectors of numbers from columns of a table: by name or in order, whole or with empty numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.readers.tables import MISSING, read_number, read_vector
from fusionkit.errors import DataError, Problem, shorten, suggest_names
from fusionkit.interfaces import ModalityColumns
from fusionkit.storage.records.inputs import InputModality

_MOST_UNKNOWN = 5
_LONGEST_NAME = 100
"""Unknown names that are told, and characters of one: a client may send a million."""

_BEYOND = 2**63
"""Whole numbers from here on are over 64 bits."""


def describe_vector(stated: InputModality) -> str:
    """Describes what a vector is made of, such as ``3 numbers: mass_kg, height_cm, speed``."""
    count = len(stated.columns)
    return f"{count} number{'s' * (count > 1)}: {', '.join(stated.columns)}"


def holds_vector(shape: Sequence[int], stated: InputModality) -> bool:
    """Tells whether an array is one vector: a number of each column, or of each and behind them their marks."""
    sizes = {len(stated.columns), *stated.shape}
    return tuple(shape) in {each for size in sizes for each in ((size,), (1, size))}


def name_numbers(given: Any, stated: InputModality) -> Mapping[Any, Any] | None:
    """Names the numbers of a vector by its columns; None of what is neither a mapping nor a list of so many numbers."""
    if isinstance(given, Mapping):
        return given
    is_flat = isinstance(given, (list, tuple)) and all(each is None or isinstance(each, Real) for each in given)
    return dict(zip(stated.columns, given, strict=True)) if is_flat and len(given) == len(stated.columns) else None


def take_numbers(given: Mapping[Any, Any], place: str, stated: InputModality) -> Tensor:
    """Takes a vector whose numbers are given by the names of their columns; None and NaN are empty.

    Args:
        given: By column its number.
        place: Where they are given, for messages.
        stated: The modality.

    Returns:
        One element; none where all numbers are empty.

    Raises:
        DataError: A name is unknown or missing, a value is no number, or is empty where none may be; every one is told.
    """
    known = stated.columns
    unknown = [str(name) for name in given if name not in known]
    problems = [
        Problem(place, f"no column {shorten(name, _LONGEST_NAME)!r}", suggest_names(name, known))
        for name in unknown[:_MOST_UNKNOWN]
    ]
    if len(unknown) > _MOST_UNKNOWN:
        problems.append(Problem(place, f"{len(unknown) - _MOST_UNKNOWN:,} other names that are unknown"))
    missing = ", ".join(repr(name) for name in known if name not in given)
    if missing:
        problems.append(Problem(place, f"lacks {missing}", f"give {describe_vector(stated)}; None (null) is empty"))
    problems += [
        Problem(place, f"column {name!r}: {type(cell).__name__} that is no number")
        for name, cell in given.items()
        if name in known and not is_empty(cell) and not isinstance(cell, Real)
    ]
    if problems:
        raise DataError(problems)
    plain = {name: cell.item() if isinstance(cell := given[name], np.generic) else cell for name in known}
    cells = {name: cell for name, cell in plain.items() if not is_empty(cell)}
    if not cells:
        return torch.zeros(0, *stated.shape)
    wrong: list[str] = []
    vector = read_cells(place, stated, cells, wrong)
    if vector is None:
        raise DataError([Problem("", text) for text in wrong])
    return vector


def arrange_vector(values: Tensor, place: str, stated: InputModality) -> Tensor:
    """Arranges an array of a vector's numbers as one element, whose empty numbers, NaN, are filled and marked.

    Args:
        values: A number of each column, ``(columns,)`` or ``(1, columns)``; or the element as the network takes it.
        place: Where it is given, for messages.
        stated: The modality.

    Returns:
        One element; none where the array is empty, or all of its numbers are.

    Raises:
        DataError: It is of another size, or of several elements, which a vector is not.
    """
    shape, size = tuple(values.shape), values.numel()
    if len(shape) > 1 and not size and holds_vector((1, *shape[1:]), stated):
        return values.new_zeros(0, *stated.shape)
    if not holds_vector(shape, stated) and (shape or len(stated.columns) > 1):
        message = f"an array of shape {shape}; one sample has one vector, of {describe_vector(stated)}"
        raise DataError([Problem(place, message, "give these numbers, in this order")])
    if stated.fill is None or size != len(stated.columns):
        return values.reshape(1, *stated.shape)
    return fill_empty(values.flatten().float(), stated)


def fill_empty(values: Tensor, stated: InputModality) -> Tensor:
    """Fills and marks the numbers of a vector that are NaN, as empty cells of a table; one of NaN alone is missing."""
    assert stated.fill is not None
    empty = values.isnan()
    if empty.all():
        return values.new_zeros(0, *stated.shape)
    can_be_marked = torch.tensor([name in stated.marked for name in stated.columns])
    return torch.cat([torch.where(empty, torch.tensor(stated.fill), values), (empty & can_be_marked).float()])[None]


def read_cells(place: str, stated: InputModality, cells: Mapping[str, Any], problems: list[str]) -> Tensor | None:
    """Reads a vector from the cells of a row that are not empty; None where it is wrong, which `problems` is told."""
    if len(cells) < len(stated.columns) and stated.fill is None:
        empty = ", ".join(column for column in stated.columns if column not in cells)
        problems.append(f"{place}: empty columns: {empty}; give every number of the vector, or none of them")
        return None
    wrong = [f"{place}: {each}" for each in _find_words(cells, stated)]
    if wrong:
        problems += wrong
        return None
    whole = stated.whole and all(isinstance(read_number(cell), int) for cell in cells.values())
    fill, marked = None if stated.fill is None else tuple(stated.fill), tuple(stated.marked)
    held = ModalityColumns(tuple(stated.columns), of_numbers=True, whole=whole, fill=fill, marked=marked)
    return read_vector(cells, held)


def is_empty(cell: object, marks: Collection[str] = MISSING) -> bool:
    """Tells whether a cell is empty: None, NaN, one of the marks, or what pandas has for it."""
    if cell is None or (isinstance(cell, (float, np.floating)) and math.isnan(cell)):
        return True
    if isinstance(cell, str):
        return not cell.strip() or cell.strip() in marks
    return type(cell).__name__ in ("NAType", "NaTType")


def _find_words(cells: Mapping[str, Any], stated: InputModality) -> list[str]:
    """Finds the cells that hold no finite number, or a whole one that the network is not given as a float."""
    most = _BEYOND if stated.whole and stated.fill is None else math.inf
    found = []
    for column, cell in cells.items():
        try:
            number = read_number(cell)
            if isinstance(number, int) and not -most <= number < most:
                found.append(f"column {column!r}: {shorten(str(number), 40)} is over 64 bits")
        except ValueError as error:
            found.append(f"column {column!r}: {error}")
    return found
