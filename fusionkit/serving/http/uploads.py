"""Files of a multipart body, written to a private folder as they arrive."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fusionkit.data.readers.media import SUFFIXES
from fusionkit.serving.http.refusals import Refusal

_MOST_FILES = 16
_MOST_HEAD = 4096
_LONGEST_NAME = 80
"""Files of one request, bytes of the head of each, and letters of its name that are shown."""


@dataclass(frozen=True)
class Upload:
    """A file that a client sent.

    Args:
        name: What it is for: a modality, ``film``, ``sound``, or ``file`` for what it can be.
        path: Where it lies; of its name the client chose the ending alone.
        shown: The name that the client gave it, for messages; nothing of that name is opened.
    """

    name: str
    path: Path
    shown: str


def list_shown_names(uploads: Sequence[Upload], folder: Path) -> dict[str, str]:
    """Lists what stands for the files of a request on this machine, and their names in messages, see `show_names`."""
    whole = {str(each.path): each.shown for each in uploads}
    return {**whole, **{each.path.name: each.shown for each in uploads}, f"{folder}/": ""}


@contextmanager
def make_private_folder(within: Path) -> Iterator[Path]:
    """Makes a folder that nobody else can read, and removes it with all that it holds."""
    with tempfile.TemporaryDirectory(dir=within, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


async def receive_uploads(content_type: bytes, parts: AsyncIterator[bytes], folder: Path) -> list[Upload]:
    """Receives the files of a multipart body.

    Args:
        content_type: The header, which states the boundary.
        parts: The body as it arrives.
        folder: The folder that they are written to.

    Raises:
        Refusal: The body is no multipart, ends too early, or holds something else than files that can be read.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Refusal(400, "the header Content-Type states no boundary")
    receiver = _Receiver(folder)
    try:
        try:
            parser = MultipartParser(boundary, cast(Any, receiver.callbacks))
            async for part in parts:
                if part:
                    parser.write(part)
            parser.finalize()
        except (FormParserError, UnicodeDecodeError) as error:
            raise Refusal(400, f"the body is no multipart/form-data ({error})", closes=True) from None
        if not receiver.is_whole:
            raise Refusal(400, "the body ends before its last boundary: a part of it is missing")
    finally:
        receiver.close()
    return receiver.uploads


@dataclass
class _Head:
    """The head of a part as it is read."""

    name: bytes = b""
    value: bytes = b""
    size: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)


class _Receiver:
    """Writes the parts of a multipart body to files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.uploads: list[Upload] = []
        self.is_whole = False
        self._file: BinaryIO | None = None
        self._head = _Head()
        self.callbacks: dict[str, Any] = {
            "on_part_begin": self._begin,
            "on_part_data": self._write,
            "on_part_end": self.close,
            "on_header_field": self._read_field,
            "on_header_value": self._read_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_end": self._end,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        if len(self.uploads) >= _MOST_FILES:
            raise Refusal(413, f"the body holds more than {_MOST_FILES} files", closes=True)
        self._head = _Head()

    def _read_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._head.name += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._head.value += data[start:end]

    def _count(self, size: int) -> None:
        self._head.size += size
        if self._head.size > _MOST_HEAD:
            raise Refusal(413, f"a part of the body has a head of more than {_MOST_HEAD} bytes", closes=True)

    def _end_header(self) -> None:
        self._head.headers[self._head.name.lower()] = self._head.value
        self._head.name = self._head.value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._head.headers.get(b"content-disposition", b""))
        name, stated = (options.get(key, b"").decode("utf-8", "replace") for key in (b"name", b"filename"))
        if not stated:
            raise Refusal(422, f"the part {name[:64]!r} is no file; send values as JSON", closes=True)
        suffix = Path(stated.replace("\\", "/")).suffix.lower()
        if suffix not in SUFFIXES:
            known = ", ".join(sorted(SUFFIXES))
            raise Refusal(415, f"files that end in {suffix[:16]!r} are not read; known: {known}", closes=True)
        path = self._folder / f"{secrets.token_hex(8)}{suffix}"  # a name that no message holds by chance
        self.uploads.append(Upload(name, path, _clean(stated)))
        self._file = path.open("xb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])

    def _end(self) -> None:
        self.is_whole = True


def _clean(name: str) -> str:
    """Cleans the last name of a path that a client states: letters that can be printed, and not too many.

    Example:
        >>> _clean("../../etc/clip.npy")
        'clip.npy'
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[-_LONGEST_NAME:]
