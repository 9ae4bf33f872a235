"""The contents of a column of files, by their headers: kind, shape of an element, rate, lengths."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from statistics import median
from typing import Literal

from fusionkit.data.readers.arrays import ARRAY_SUFFIXES
from fusionkit.data.readers.files import find_path_hint
from fusionkit.data.readers.images import IMAGE_SUFFIXES
from fusionkit.data.readers.media import MediaInfo, ReadOptions, describe_media
from fusionkit.data.readers.sound.audio import AUDIO_SUFFIXES, FILM_SUFFIXES, PLAIN_SUFFIXES
from fusionkit.errors import DataError, Problem
from fusionkit.experiments.drafts.columns import Column

FileKind = Literal["sound", "film", "image", "array"]

_ENDINGS: Mapping[FileKind, frozenset[str]] = {
    "sound": AUDIO_SUFFIXES,
    "film": FILM_SUFFIXES,
    "image": IMAGE_SUFFIXES,
    "array": ARRAY_SUFFIXES,
}
_MOST_HEADERS, _MOST_DECODED = 500, 12
"""Numbers of files that are looked at: where a header tells all, and where a file must be decoded."""

_NAMED = 3
_LONGEST_VECTOR = 512
"""Numbers of an array with one axis above which it is taken for a stream of them."""


@dataclass(frozen=True)
class Contents:
    """The contents of a column of files.

    Args:
        kind: Sounds, films, images or arrays.
        shape: The shape of an element.
        rates: Elements per second, by how many files.
        length: The median number of elements.
        longest: The largest number of elements.
        layout: What an array with one axis is taken for, where that is not obvious.
        tensor: The tensor of safetensors files that hold several.
        remark: What was assumed, in a sentence; empty where nothing was.
    """

    kind: FileKind
    shape: tuple[int, ...]
    rates: Mapping[float, int]
    length: int
    longest: int
    layout: Literal["auto", "sequence"] = "auto"
    tensor: str | None = None
    remark: str = ""


def find_kind(path: str) -> FileKind | None:
    """Finds the kind of a file by its ending.

    Example:
        >>> find_kind("a/b.WAV"), find_kind("b.npy"), find_kind("b.txt")
        ('sound', 'array', None)
    """
    suffix = PurePath(path).suffix.lower()
    return next((kind for kind, endings in _ENDINGS.items() if suffix in endings), None)


def inspect_files(column: Column, root: Path, problems: list[Problem]) -> Contents | None:
    """Inspects the headers of a column's files, of many some.

    Args:
        column: The column.
        root: The folder that relative paths start from.
        problems: Receives files that are not there or cannot be read, and what does not fit together.
    """
    place, named = f"column {column.name!r}", [str(cell) for cell in column.stated]
    kinds = Counter(find_kind(name) for name in named)
    kind = next(found for found, _ in kinds.most_common() if found is not None)
    others = [name for name in named if find_kind(name) != kind]
    if others:
        first = next(name for name in named if find_kind(name) == kind)
        remedy = f"one kind of file in a column; or leave it out: --ignore {column.name!r}"
        problems.append(Problem(place, f"holds {_say_kind(first)} and {_say_kind(others[0])}", remedy))
        return None
    if find_absent(column, root, problems):
        return None
    return _describe(kind, place, [root / name for name in named], problems)


def find_absent(column: Column, root: Path, problems: list[Problem]) -> bool:
    """Tells whether files of a column are not there, and says which."""
    named = [str(cell) for cell in column.stated]
    absent = [name for name in named if not os.path.isfile(root / name)]
    if absent:
        hint = find_path_hint(absent[0])
        remedy = hint or "name their folder: --root FOLDER; empty the cells; or leave the column out: --ignore"
        shown = ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else "")
        place = "this folder" if root == Path() else root
        message = f"{len(absent)} of {len(named)} files are not in {place}: {shown}"
        problems.append(Problem(f"column {column.name!r}", message, remedy))
    return bool(absent)


def _describe(kind: FileKind, place: str, files: Sequence[Path], problems: list[Problem]) -> Contents | None:
    has_header = kind == "array" or all(file.suffix.lower() in PLAIN_SUFFIXES for file in files)
    most = _MOST_HEADERS if has_header else _MOST_DECODED
    looked = files[:: max(1, len(files) // most)][:most]
    options, tensor, remark = ReadOptions(), None, ""
    if kind == "array" and looked[0].suffix.lower() == ".safetensors":
        tensor, remark = _choose_tensor(looked[0], place)
        options = ReadOptions(tensor=tensor)
    found, wrong = list[MediaInfo](), list[Problem]()
    for file in looked:
        try:
            found.append(describe_media(file, options))
        except DataError as error:
            wrong += error.problems
    if wrong:
        more = f" (and {len(wrong) - _NAMED} more)" if len(wrong) > _NAMED else ""
        remedy = "mend it, empty its cell, or leave the column out: --ignore"
        problems += [Problem(f"{place}: {each.place}", each.message, remedy) for each in wrong[: _NAMED - 1]]
        problems += [Problem(f"{place}: {each.place}{more}", each.message, remedy) for each in wrong[_NAMED - 1 :][:1]]
        return None
    layout: Literal["auto", "sequence"] = "auto"
    if kind == "array" and all(info.length == 1 and len(info.shape) == 1 for info in found):
        sizes = {info.shape[0] for info in found}
        if len(sizes) > 1 or max(sizes) > _LONGEST_VECTOR:
            layout, found = "sequence", [MediaInfo((), None, info.shape[0]) for info in found]
            remark += " Its arrays have one axis and are taken for streams of single numbers (layout: sequence)."
    shapes = Counter(info.shape for info in found)
    if len(shapes) > 1:
        problems.append(_refuse_shapes(kind, place, list(shapes)))
        return None
    lengths = [info.length for info in found]
    rates = Counter(info.rate for info in found if info.rate is not None)
    shape = found[0].shape
    return Contents(kind, shape, rates, int(median(lengths)), max(lengths), layout, tensor, remark.strip())


def _refuse_shapes(kind: FileKind, place: str, shapes: Sequence[tuple[int, ...]]) -> Problem:
    shown = " and ".join(str(list(shape)) for shape in shapes[:2])
    time_first = "the first axis of an array is time: (time, channels)"
    remedy = "bring all images to one size" if kind == "image" else time_first
    return Problem(place, f"its elements differ in shape, such as {shown}", f"{remedy}; or leave it out: --ignore")


def _choose_tensor(file: Path, place: str) -> tuple[str | None, str]:
    """Chooses the first tensor of a file that holds several."""
    try:
        describe_media(file, ReadOptions())
    except DataError as error:
        remedy = error.problems[0].remedy
        if "holds" in error.problems[0].message and remedy.startswith("it holds ") and "," in remedy:
            names = remedy.removeprefix("it holds ").split(", ")
            return names[0], f" Its files hold several tensors, of which {names[0]} is taken (tensor: {names[0]})."
    return None, ""


def _say_kind(name: str) -> str:
    kind = find_kind(name)
    return f"{kind}s such as {name!r}" if kind else f"{name!r}, which is no file that can be read"
