"""Where the sound stands in wav, rf64, w64 and aiff files, and what their headers say wrongly of its length.

libsndfile reads half a file without a word, and nothing of one whose header was never finished. So the length that a
header states is held against the bytes that are there, and `open_corrected` shows libsndfile the length to read.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_NEAR = 1 << 16
"""What is written into a pipe states 2^31 or 2^32 bytes less a header or some pages, such as 0x7ffff000."""

UNSTATED_LENGTH = "does not state its length, so a loss at its end would go unseen"
"""What is said of a compressed sound whose header leaves its length open."""

_WORD = 2
"""Bytes behind a sound that are more than its rounding to whole words."""

_MOST_CHUNKS = 4096
"""Chunks that are looked through; a file of nothing but tiny ones is no sound."""


@dataclass(frozen=True)
class _Form:
    """How a container writes its chunks.

    Args:
        head: Bytes before the first chunk.
        name: Bytes of a chunk's name.
        size: The number of a chunk's bytes, as a format of `struct`.
        counted: Bytes of a chunk's own header that this number counts too.
        step: Chunks begin at multiples of it.
        sound: How the name of the chunk that holds the sound begins.
        before: Bytes in that chunk before the sound.
    """

    head: int = 12
    name: int = 4
    size: str = "<I"
    counted: int = 0
    step: int = 2
    sound: bytes = b"data"
    before: int = 0


_FORMS = {
    b"RIFF": _Form(),
    b"RF64": _Form(),
    b"BW64": _Form(),
    b"RIFX": _Form(size=">I"),
    b"riff": _Form(head=40, name=16, size="<Q", counted=24, step=8),
    b"FORM": _Form(size=">I", sound=b"SSND", before=8),
}
_LONG = b"ds64"
"""The chunk of an rf64 file that states what 32 bits cannot: the file's size, then the sound's."""


@dataclass(frozen=True)
class _Chunk:
    """A chunk: its name, where it states its size, where its content begins, and how long that is by its size."""

    name: bytes
    field: int
    start: int
    size: int


@dataclass(frozen=True)
class SoundBytes:
    """The sound of a file by its header, and what is there.

    Args:
        start: Where the sound begins.
        stated: Its bytes by the header.
        present: Bytes from there to the end of the file.
        field: Where the header states them.
        size: How it states them, as a format of `struct`.
        more: What it counts beside them.
        chunks_follow: Whether the file goes on with whole chunks behind the sound that is stated.
    """

    start: int
    stated: int
    present: int
    field: int
    size: str
    more: int
    chunks_follow: bool

    @property
    def missing(self) -> int:
        """Bytes that the header promises and the file lacks."""
        return 0 if self._is_open else max(0, self.stated - self.present)

    @property
    def note(self) -> str:
        """What the header says wrongly, and what is made of it; empty where header and file agree."""
        behind = self.present - self.stated
        if self._is_open:
            return "does not state its length, as sound from a pipe: it is read to the end of the file"
        if behind < _WORD or self.chunks_follow:
            return ""
        if not self.stated:
            return f"states a length of 0, but {behind:,} bytes of sound follow: it is read to the end of the file"
        return f"goes on for {behind:,} bytes behind the sound that its header states: they are not read"

    @property
    def correction(self) -> bytes:
        """The field as it should read; empty where the header is to be believed."""
        if not self._is_open and (self.stated or not self.note):
            return b""
        most = (1 << 8 * struct.calcsize(self.size)) - 1
        return struct.pack(self.size, min(self.present + self.more, most))

    @property
    def _is_open(self) -> bool:
        marks = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
        return self.stated > self.present and any(abs(self.stated - mark) <= _NEAR for mark in marks)


def find_sound(path: Path) -> SoundBytes | None:
    """Finds the sound in a wav, rf64, w64 or aiff file by its header; None in all others.

    Only the headers of chunks are read, so a chunk may state any size.

    Raises:
        ValueError: The file ends within the header of its sound.
    """
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(12)
        form = _FORMS.get(head[:4])
        if form is None or (form.head == 12 and head[8:] not in (b"WAVE", b"AIFF", b"AIFC")):
            return None
        long: tuple[int, int] | None = None
        for chunk in _chunks(file, form, form.head, end):
            if chunk.name.startswith(_LONG):
                file.seek(chunk.start + 8)
                long = chunk.start + 8, struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
            elif chunk.name.startswith(form.sound):
                return _sound_of(file, form, chunk, long, end)
    return None


def length_note(path: Path) -> str:
    """What is to be said of the length that a wav, rf64, w64, aiff or flac states; nothing of what cannot be read.

    It costs a glance at the headers, so a whole table of files can be looked through.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(26)
        found = find_sound(path)
    except (OSError, ValueError):
        return ""
    if begin[:4] == b"fLaC" and len(begin) == 26 and not begin[21] & 0x0F and not any(begin[22:]):
        return UNSTATED_LENGTH
    return "" if found is None or found.missing else found.note


@contextmanager
def open_corrected(path: Path, sound: SoundBytes | None) -> Iterator[Any]:
    """A file for libsndfile: its path, or one that reads as if its header stated the right length."""
    if sound is None or not sound.correction:
        yield str(path)
        return
    with path.open("rb") as file:
        yield _Corrected(file, sound.field, sound.correction)


class _Corrected:
    """An open file some bytes of which read as others; what libsndfile asks of a file, it asks for here."""

    def __init__(self, file: BinaryIO, position: int, instead: bytes) -> None:
        self._file, self._position, self._instead = file, position, instead
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int) -> bytes:
        """Reads on from where the file stands."""
        begin = self._file.tell()
        data = bytearray(self._file.read(count))
        for index, byte in enumerate(self._instead, start=self._position - begin):
            if 0 <= index < len(data):
                data[index] = byte
        return bytes(data)

    def write(self, data: bytes) -> int:
        """Refuses to write; libsndfile wants to know that it could ask."""
        raise io.UnsupportedOperation("it is only read")


def _sound_of(file: BinaryIO, form: _Form, chunk: _Chunk, long: tuple[int, int] | None, end: int) -> SoundBytes:
    start, stated = chunk.start + form.before, max(0, chunk.size - form.before)
    field, size, more = chunk.field, form.size, form.counted + form.before
    if long is not None and chunk.size == 0xFFFFFFFF:
        (field, stated), size, more = long, "<Q", 0
    last = start + stated
    for behind in _chunks(file, form, _rounded(last, form), end):
        last = behind.start + behind.size
    chunks_follow = last <= end <= _rounded(last, form)
    return SoundBytes(start, stated, max(0, end - start), field, size, more, chunks_follow)


def _chunks(file: BinaryIO, form: _Form, position: int, end: int) -> Iterator[_Chunk]:
    """The chunks from a position on, as far as their headers go."""
    width = struct.calcsize(form.size)
    for _ in range(_MOST_CHUNKS):
        if position >= end:  # a size may lead further than a file can be sought in
            return
        file.seek(position)
        header = file.read(form.name + width)
        name, stated = header[: form.name], header[form.name :]
        if name.startswith(form.sound) and len(stated) < width:  # libsndfile takes it for a sound of no samples
            raise ValueError("it ends within the header of its sound")
        if len(stated) < width or not all(32 <= byte < 127 for byte in name[:4]):
            return
        size = max(0, struct.unpack(form.size, stated)[0] - form.counted)
        chunk = _Chunk(name, position + form.name, position + form.name + width, size)
        yield chunk
        position = _rounded(chunk.start + size, form)


def _rounded(position: int, form: _Form) -> int:
    return -(-position // form.step) * form.step
