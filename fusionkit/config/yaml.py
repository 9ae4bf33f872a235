"""YAML without its traps: the only module that knows YAML.

Scalars follow YAML 1.2's core schema, so ``1e-3`` is a number and ``1:30``, ``yes`` and ``2020-01-01`` are text. A
duplicate key, a tag, a document too deep or too large (an alias counts as what it stands for) is an error with its
line. Documents are built from the parser's events on an explicit stack, so nesting cannot exhaust Python's own.

libyaml parses, because PyYAML's own parser takes several times as long; PyYAML's parses what the two do not read
alike, words every refusal, and stands in where libyaml is missing. So a document means the same everywhere.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fusionkit.errors import Problem, RecipeError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_DIGITS = 1000

KeyPath = tuple[str | int, ...]

_NULL = re.compile(r"(~|null|Null|NULL|)")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")

_UNLIKE = re.compile(r"[\t\ufeff!?]|[|>]\S*#")
"""Signs of what the two parsers read differently: tabs, byte order marks, tags, keys marked `?`, block headers."""


@dataclass(frozen=True)
class Document:
    """A parsed document, the line of every key path in it (from 1), and the overrides that set key paths later."""

    value: Any
    lines: Mapping[KeyPath, int]
    overridden: Mapping[KeyPath, str] = field(default_factory=dict)


def read_scalar(text: str) -> Any:
    """Reads a plain scalar as YAML 1.2's core schema does.

    Example:
        >>> [read_scalar(text) for text in ("1e-3", "1:30", "yes", "null", "0o7")]
        [0.001, '1:30', 'yes', None, '0o7']
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else text
    if _FLOAT.fullmatch(text):
        return float(text)
    if infinite := _INF.fullmatch(text):
        return float(f"{infinite.group(1)}inf")
    return float("nan") if _NAN.fullmatch(text) else text


def read_yaml(text: str, source: str) -> Document:
    """Parses one document.

    Args:
        text: The document.
        source: Its name, for messages.

    Raises:
        RecipeError: The text is not YAML, or uses what a recipe may not use; with its line.
    """
    try:
        _refuse_large(len(text))
        builder = _build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError([Problem(place, f"not YAML: {error.problem}")], source=source) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not YAML: the character {chr(error.character)!r} is not allowed"
        raise RecipeError([Problem(f"line {line}", message)], source=source) from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode, a version of thousands of digits
        raise RecipeError([Problem("", f"not YAML: {error}")], source=source) from None
    except _RefusedError as refused:
        raise RecipeError([refused.problem], source=source) from None
    if builder.problems:
        raise RecipeError(builder.problems, source=source)
    return Document(builder.value, builder.lines)


def read_yaml_file(path: Path) -> Document:
    """Parses the document of a file; no more of it is read than a document may hold.

    Raises:
        RecipeError: The file cannot be read or is larger than `MAX_BYTES`, or its text is what `read_yaml` refuses.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        _refuse_large(len(content))
        return read_yaml(content.decode(), str(path))
    except _RefusedError as refused:
        raise RecipeError([refused.problem], source=str(path)) from None
    except OSError as error:
        raise RecipeError([Problem("", f"cannot be read ({error.strerror})")], source=str(path)) from None
    except ValueError as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise RecipeError([Problem("", f"cannot be read ({reason})")], source=str(path)) from None


def _refuse_large(size: int) -> None:
    if size > MAX_BYTES:
        message = f"is larger than {MAX_BYTES:,} bytes, so it is no recipe"
        raise _RefusedError(Problem("", message, "data such as tables and lists of samples are files of their own"))


def write_yaml(value: Any) -> str:
    """Writes plain data so that `read_yaml` gives it back."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return text


def _build(text: str) -> _Builder:
    if yaml.__with_libyaml__ and not _UNLIKE.search(text):
        # What libyaml refuses, or we do of what it reads, is parsed again below, for the words and the place.
        with contextlib.suppress(yaml.YAMLError, ValueError, OverflowError, _RefusedError):
            return _build_by(yaml.CSafeLoader, text)
    return _build_by(yaml.SafeLoader, text)


def _build_by(loader: type, text: str) -> _Builder:
    builder = _Builder()
    for event in yaml.parse(text, Loader=loader):
        builder.take(event)
    return builder


class _RefusedError(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Extent(NamedTuple):
    """The size and depth of a value with every alias in it spelt out; long text counts as several nodes."""

    nodes: int
    depth: int = 0


@dataclass
class _Collection:
    """A collection that is being built."""

    value: dict[str, Any] | list[Any]
    path: KeyPath
    anchor: str | None
    nodes: int = 1
    depth: int = 1
    key: str | None = None


@dataclass
class _Builder:
    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _stack: list[_Collection] = field(default_factory=list)
    _anchors: dict[str, tuple[Any, _Extent]] = field(default_factory=dict)
    _documents: int = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _RefusedError(Problem(f"line {line}", "a second document", "one file holds one document"))
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise _RefusedError(Problem(f"line {line}", f"the tag {tag!r}", "recipes hold plain data, without tags"))
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0] and not event.style
            if any("\ud800" <= character <= "\udfff" for character in event.value):
                raise _RefusedError(Problem(f"line {line}", f"{event.value!r} is not Unicode text"))
            value = read_scalar(event.value) if plain else event.value
            self._place(value, event.value, line, event.anchor, _Extent(1 + len(event.value) // 64))
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _RefusedError(Problem(f"line {line}", f"the alias *{event.anchor} stands for nothing before it"))
            value, extent = self._anchors[event.anchor]
            self._place(copy.deepcopy(value), None, line, None, extent)  # so that an override changes one place only
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(self._stack) >= MAX_DEPTH:
                raise _RefusedError(Problem(f"line {line}", f"nested deeper than {MAX_DEPTH} levels"))
            self._refuse_as_key(line)
            empty: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
            path = self._find_path()
            self.lines.setdefault(path, line)
            self._stack.append(_Collection(empty, path, event.anchor))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self._stack.pop()
            self._place(done.value, None, line, done.anchor, _Extent(done.nodes, done.depth))

    def _find_path(self) -> KeyPath:
        if not self._stack:
            return ()
        top = self._stack[-1]
        return (*top.path, len(top.value) if isinstance(top.value, list) else str(top.key))

    def _refuse_as_key(self, line: int) -> None:
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            raise _RefusedError(Problem(f"line {line}", "a collection or an alias as a key", "keys are plain words"))

    def _place(self, value: Any, as_key: str | None, line: int, anchor: str | None, extent: _Extent) -> None:
        if not self._stack:
            self.value = value
            return
        top = self._stack[-1]
        if isinstance(top.value, dict) and top.key is None:
            if as_key is None:
                self._refuse_as_key(line)
            self._start_key(str(as_key), line)
            return
        top.nodes += extent.nodes
        top.depth = max(top.depth, 1 + extent.depth)
        # An alias counts as what it stands for: a few lines of aliases could stand for gigabytes.
        if len(self._stack) + extent.depth > MAX_DEPTH:
            raise _RefusedError(Problem(f"line {line}", f"nested deeper than {MAX_DEPTH} levels, aliases spelt out"))
        if top.nodes > MAX_NODES:
            raise _RefusedError(Problem(f"line {line}", f"more than {MAX_NODES} values, aliases spelt out"))
        if anchor is not None:
            self._anchors[anchor] = (value, extent)
        self.lines.setdefault(self._find_path(), line)
        if isinstance(top.value, list):
            top.value.append(value)
        else:
            top.value[str(top.key)] = value
            top.key = None

    def _start_key(self, key: str, line: int) -> None:
        top = self._stack[-1]
        path = (*top.path, key)
        if isinstance(top.value, dict) and key in top.value:
            message = f"the key {key!r} stands here and in line {self.lines[path]}"
            self.problems.append(Problem(f"line {line}", message, "keep one of them"))
        self.lines.setdefault(path, line)
        top.key = key


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = text.isprintable() and isinstance(read_scalar(text), str)
    style = None if plain else '"'  # quoted, everything that is not printable is escaped
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_float(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    text = repr(number)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # what YAML 1.1 also reads as a number, so it needs no tag
    return dumper.represent_scalar("tag:yaml.org,2002:float", special.get(text, text))


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)
