"""The text format ``.ts`` of the UEA and UCR archives of time series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fusionkit.data.readers.files import find_existing, read_text
from fusionkit.errors import DataError, Problem, suggest_names

_HEADERS = (
    "problemname",
    "timestamps",
    "missing",
    "univariate",
    "dimension",
    "dimensions",
    "equallength",
    "serieslength",
    "classlabel",
    "data",
)


@dataclass(frozen=True)
class TsCase:
    """One case: its line, its channels (NaN where the file says ``?``), and its class."""

    place: str
    channels: tuple[Tensor, ...]
    label: str | None


@dataclass(frozen=True)
class TsFile:
    """The cases of a file, how many channels each has, and the classes in the header's order."""

    path: Path
    channels: int
    classes: tuple[str, ...]
    cases: tuple[TsCase, ...]


@dataclass
class _Header:
    classes: tuple[str, ...] = ()
    missing: bool = False
    channels: int | None = None
    length: int | None = None
    equal: bool = False
    problems: list[Problem] = field(default_factory=list)


def read_ts(path: str) -> TsFile:
    """Reads a ``.ts`` file: header lines ``@name value``, then ``@data`` and one case per line.

    Raises:
        DataError: The file is missing, or header or cases break the format; every problem is listed with its line.
    """
    file = find_existing(path)
    lines = read_text(file).split("\n")
    header = _Header()
    start = _read_header(file, lines, header)
    cases = []
    for position, line in enumerate(lines[start:], start=start + 1):
        if line.strip() and not line.lstrip().startswith(("#", "%")):
            case = _read_case(f"{file.name}, line {position}", line.strip(), header)
            if case is not None:
                cases.append(case)
    if header.problems:
        raise DataError(header.problems, source=str(file))
    if not cases:
        raise DataError([Problem(str(file), "holds no case after @data")])
    return TsFile(file, len(cases[0].channels), header.classes, tuple(cases))


def _read_header(file: Path, lines: Sequence[str], header: _Header) -> int:
    """Reads up to ``@data``; returns the lines read."""
    for position, line in enumerate(lines, start=1):
        place, text = f"{file.name}, line {position}", line.strip()
        if not text or text.startswith(("#", "%")):
            continue
        if not text.startswith("@"):
            header.problems.append(Problem(place, "is no header line", "lines before @data start with @ or #"))
            break
        name, *words = text[1:].split() or [""]
        if name.lower() == "data":
            return position
        _read_header_line(place, name, words, header)
    else:
        header.problems.append(Problem(str(file), "has no @data line"))
    raise DataError(header.problems, source=str(file))


def _read_header_line(place: str, name: str, words: Sequence[str], header: _Header) -> None:
    key = name.lower()
    if key not in _HEADERS:
        header.problems.append(Problem(place, f"unknown header @{name}", suggest_names(key, _HEADERS)))
    elif key in ("dimension", "dimensions", "serieslength"):
        if len(words) != 1 or not re.fullmatch(r"[1-9]\d*", words[0]):
            header.problems.append(Problem(place, f"@{name} {' '.join(words)}", "one positive whole number"))
        elif key == "serieslength":
            header.length = int(words[0])
        else:
            header.channels = int(words[0])
    elif key in ("timestamps", "missing", "univariate", "equallength", "classlabel"):
        if not words or words[0].lower() not in ("true", "false"):
            header.problems.append(Problem(place, f"@{name} {' '.join(words)}", "true or false"))
            return
        _read_flag(place, key, words[0].lower() == "true", words[1:], header)


def _read_flag(place: str, key: str, value: bool, words: Sequence[str], header: _Header) -> None:
    if key == "timestamps" and value:
        remedy = "resample the series to a fixed rate and write it without time stamps"
        header.problems.append(Problem(place, "series with time stamps are not read", remedy))
    elif key == "missing":
        header.missing = value
    elif key == "univariate" and value:
        header.channels = 1
    elif key == "equallength":
        header.equal = value
    elif key == "classlabel":
        header.classes = tuple(words)
        if value and not words:
            header.problems.append(Problem(place, "@classLabel true names no class", "@classLabel true first second"))
        if len(set(words)) != len(words):
            header.problems.append(Problem(place, "@classLabel names a class twice"))


def _read_case(place: str, line: str, header: _Header) -> TsCase | None:
    parts = line.split(":")
    label = parts.pop().strip() if header.classes else None
    count = len(header.problems)
    if label is not None and label not in header.classes:
        header.problems.append(Problem(place, f"unknown class {label!r}", suggest_names(label, header.classes)))
    if header.channels is None:
        header.channels = len(parts)
    if len(parts) != header.channels:
        header.problems.append(Problem(place, f"{len(parts)} channels, but {header.channels} were stated"))
    channels = [_read_channel(f"{place}, channel {index}", part, header) for index, part in enumerate(parts)]
    return TsCase(place, tuple(channels), label) if len(header.problems) == count else None


def _read_channel(place: str, text: str, header: _Header) -> Tensor:
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    values = []
    for position, word in enumerate(words):
        if word == "?":
            values.append(float("nan"))
            continue
        try:
            values.append(float(word))
        except ValueError:
            header.problems.append(
                Problem(place, f"value {position} is {word!r}", "a number, or ? where it is missing")
            )
            values.append(0.0)
            continue
        if not -float("inf") < values[-1] < float("inf"):
            header.problems.append(Problem(place, f"value {position} is {word!r}", "write ? where it is missing"))
    if "?" in words and not header.missing:
        header.problems.append(Problem(place, "a missing value (?), but the header says @missing false"))
    if header.equal and header.length is not None and len(words) != header.length:
        message = f"{len(words)} values, but the header says @equalLength true and @seriesLength {header.length}"
        header.problems.append(Problem(place, message))
    return torch.tensor(values, dtype=torch.float64)
