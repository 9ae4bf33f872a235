"""Files that are replaced in one piece or not at all, and JSON that is read within limits."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic_core

from fusionkit.errors import RunError

MAX_JSON_BYTES = 2**28
MAX_JSON_DEPTH = 100
"""The limits of a JSON document: a quarter of a GiB, which takes several in memory, and so many levels."""

_AT_ONCE = 2**24
"""Bytes of a file that are read at once."""

_KINDS: Mapping[type, str] = {
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def folder_name(name: str) -> str:
    """Returns a name of a fold, a variant or a target as a file or a folder has it.

    All but letters, digits and ``,+-_.`` is written as ``_``.

    Example:
        >>> folder_name("late fusion"), folder_name("A1,2")
        ('late_fusion', 'A1,2')
    """
    return re.sub(r"[^A-Za-z0-9,+_.-]", "_", name).lstrip(".") or "_"


def write_file(path: Path, data: bytes) -> None:
    """Replaces a file in one piece.

    Raises:
        RunError: It cannot be written; the previous file is intact.
    """
    guard_write(path, lambda: replace_file(path, data))


def replace_file(path: Path, data: bytes) -> None:
    """Replaces a file in one piece: written beside it, brought to the disk, renamed over it.

    Raises:
        OSError: It cannot be written; the previous file is intact and nothing is left beside it.
    """

    def write(partial: Path) -> None:
        partial.write_bytes(data)

    put_in_place(path, write)


def put_in_place(
    path: Path, write: Callable[[Path], None], *, durable: bool = True, before: Path | None = None
) -> None:
    """Replaces a file by what is written beside it.

    Args:
        path: The file.
        write: Writes the new file at the path that it is given.
        durable: Bring it to the disk before returning.
        before: Where the file that is replaced is kept; it is lost when left out.

    Raises:
        OSError: It cannot be written; the previous file is intact and nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.partial")
    moved = False
    try:
        write(partial)
        if durable:
            sync(partial)
        if before is not None and path.exists():  # killed between the two renames, a process leaves the file there
            os.replace(path, before)
            moved = True
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        if moved:
            os.replace(str(before), path)
        raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Brings a file or a folder's list of files to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def guard_write(path: Path, write: Callable[[], None]) -> None:
    """Calls what writes a file.

    Raises:
        RunError: It failed; says which file, why, and what is left of it.
    """
    try:
        write()
    except OSError as error:
        state = "the previous file is intact" if os.path.exists(path) else "nothing was written"
        raise RunError(f"{path}: cannot be written ({error.strerror}); {state}") from error


def as_json(value: object, *, indent: int | None = 2) -> bytes:
    """Returns plain data as JSON with a line's end; a number that is not finite, unknown to JSON, is null.

    Raises:
        RunError: A text in it, such as the name of a file, is no Unicode.
    """
    try:
        return pydantic_core.to_json(value, indent=indent, inf_nan_mode="null") + b"\n"
    except pydantic_core.PydanticSerializationError as error:
        raise RunError(f"cannot be written as JSON ({error}); give files names in UTF-8") from None


def read_json(path: Path) -> dict[str, Any]:
    """Reads the object in a JSON file.

    Raises:
        RunError: It cannot be read, is none, is larger than `MAX_JSON_BYTES`, or nested deeper than `MAX_JSON_DEPTH`.
    """
    return parse_json(read_within(path, MAX_JSON_BYTES), str(path))


def read_within(path: Path, most: int) -> bytes:
    """Reads the bytes of a file; no more of it than it may hold.

    Raises:
        RunError: It cannot be read, or holds more bytes than `most`.
    """
    content = bytearray()
    try:
        with path.open("rb") as file:
            # Python sets as much memory aside as it is asked to read, so not all that there may be is asked for.
            while part := file.read(min(_AT_ONCE, most + 1 - len(content))):
                content += part
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(f"{path}: cannot be read ({reason})") from None
    if len(content) > most:
        raise RunError(f"{path}: is larger than the {most:,} bytes that such a file may hold")
    return bytes(content)


def parse_json(text: bytes, place: str) -> dict[str, Any]:
    """Reads the object that a JSON text holds.

    Args:
        text: The text, in UTF-8, with or without a mark of byte order.
        place: Where it stands, for messages.

    Raises:
        RunError: It is no JSON, holds no object, or is nested deeper than `MAX_JSON_DEPTH`.
    """
    try:
        value = json.loads(text.decode("utf-8-sig"))  # editors on Windows put a mark of byte order first
    except Exception as error:  # whatever the library raises of somebody's text is the text's fault
        if not text.strip():
            raise RunError(f"{place}: is empty") from None
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        if isinstance(error, json.JSONDecodeError) and _is_cut_short(error):
            reason = f"it is cut short; {reason}"
        raise RunError(f"{place}: cannot be read as JSON ({reason})") from None
    if not isinstance(value, dict):
        raise RunError(f"{place}: is damaged (it holds {_KINDS[type(value)]}, no mapping)")
    below: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        below = [
            item
            for each in below
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, dict | list)
        ]
        if not below:
            return value
    raise RunError(f"{place}: is no document of fusionkit (it is nested deeper than {MAX_JSON_DEPTH} levels)")


def _is_cut_short(error: json.JSONDecodeError) -> bool:
    """Tells whether a JSON text ends where more is expected."""
    return error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
