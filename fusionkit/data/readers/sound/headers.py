"""The place of the sound in wav, rf64, w64, aiff, au and SPHERE files, and what headers say wrongly of its length.

libsndfile reads half a file without a word, and nothing of one whose header was never finished. So the length that a
header states is held against the bytes that are there, and `open_corrected` shows libsndfile the length to read.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fusionkit.data.readers.sound.chunks import FORMS, Chunk, Form, find_trailing_chunks, read_chunks, round_up

_NEAR = 1 << 16
"""Largest distance of an open length from 2^31 or 2^32: pipes subtract a header or some pages, as in 0x7ffff000."""

_OPEN = (1 << 31, 1 << 32, 1 << 63, 1 << 64)

UNSTATED_LENGTH = "does not state its length, so a loss at its end would go unseen"
"""Note on a sound whose header does not state its length."""

UNCHECKED_LENGTH = "is of a form whose length cannot be checked, so a loss at its end would go unseen"
"""Note on a sound that libsndfile reads, in a form unknown to this module."""

_WORD = 2
"""Bytes behind a sound that are more than its rounding to whole words."""

_LONG = b"ds64"
"""The chunk of an rf64 file that states what 32 bits cannot: the file's size, then the sound's."""

_SPHERE_HEAD = 16
"""Bytes at the beginning of a SPHERE file: its name and the size of its header, each on a line."""

_LARGEST_SPHERE_HEAD = 1 << 16


@dataclass(frozen=True)
class Field:
    """The place in which a header states the bytes of its sound.

    Args:
        position: Where it stands in the file.
        size: How it states them, as a format of `struct`.
        more: What it counts beside them.
    """

    position: int
    size: str
    more: int = 0

    def fill(self, count: int) -> bytes:
        """Fills the field with so many bytes, or as many as it can state."""
        most = (1 << 8 * struct.calcsize(self.size)) - 1
        return struct.pack(self.size, min(count + self.more, most))


@dataclass(frozen=True)
class SoundBytes:
    """The sound of a file by its header, and what is there.

    Args:
        start: Where the sound begins.
        stated: Its bytes by the header.
        present: Bytes from there to the end of the file.
        fields: Where the header states them.
        trailing: Bytes of whole chunks at the end of the file, where the header leaves the length of the sound open.
        chunks_follow: Whether the file goes on with whole chunks behind the sound that is stated.
        is_limit: Whether libsndfile stops at the length that is stated; else it reads on to the end of the file.
    """

    start: int
    stated: int
    present: int
    fields: tuple[Field, ...] = ()
    trailing: int = 0
    chunks_follow: bool = False
    is_limit: bool = True

    @property
    def missing(self) -> int:
        """Bytes that the header promises and the file lacks."""
        return 0 if self.is_open else max(0, self.stated - self.present)

    @property
    def loss(self) -> str:
        """The missing bytes in words; empty where nothing is missing."""
        share = f"{self.present} of {self.stated} bytes of sound"
        return f"is truncated: it holds {share} that its header promises" if self.missing else ""

    @property
    def note(self) -> str:
        """A wrong statement of the header, and what is made of it; empty where header and file agree."""
        end = "up to the chunks behind it" if self.trailing else "to the end of the file"
        behind = self.present - self.stated
        if self.is_open:
            return f"does not state its length, as sound from a pipe: it is read {end}"
        if behind - self.trailing < _WORD or self.chunks_follow:
            return ""
        if not self.stated:
            sound = f"{behind - self.trailing:,} bytes of sound follow"
            return f"states a length of 0, but {sound}: it is read {end}"
        return f"goes on for {behind:,} bytes behind the sound that its header states: they are not read"

    @property
    def corrections(self) -> Mapping[int, bytes]:
        """By position, the bytes that should stand there; none where the header is to be believed."""
        if not self._is_wrong:
            return {}
        return {field.position: field.fill(self.present - self.trailing) for field in self.fields}

    @property
    def end(self) -> int:
        """The end of the sound that is read."""
        count = self.present - self.trailing if self._is_wrong else min(self.stated, self.present)
        return self.start + count

    @property
    def _is_wrong(self) -> bool:
        """True where the header states no length to be read."""
        return self.is_open or bool(not self.stated and self.note)

    @property
    def is_open(self) -> bool:
        """True where the header states the number of a file that was written into a pipe."""
        return _is_open(self.stated, self.present)


def find_sound(path: Path) -> SoundBytes | None:
    """Finds the sound in a wav, rf64, w64, aiff, au or SPHERE file by its header; None in all others.

    Only the headers of chunks are read, so a chunk may state any size.

    Raises:
        ValueError: The file ends within the header of its sound.
    """
    with path.open("rb") as file:
        return find_sound_in(file)


def find_sound_in(file: BinaryIO) -> SoundBytes | None:
    """Finds the sound in an open file, as `find_sound` does.

    Raises:
        ValueError: The file ends within the header of its sound.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(_SPHERE_HEAD)
    if head[:4] in (b".snd", b"dns."):
        return _read_au(head, end)
    if head[:8] == b"NIST_1A\n":
        return _read_sphere(file, head, end)
    form = FORMS.get(head[:4])
    if form is None or (form.head == 12 and head[8:12] not in (b"WAVE", b"AIFF", b"AIFC")):
        return None
    long: tuple[int, int] | None = None
    for chunk in read_chunks(file, form, form.head, end):
        if chunk.name.startswith(_LONG):
            file.seek(chunk.start + 8)
            long = chunk.start + 8, struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        elif chunk.name.startswith(form.sound):
            return _read_chunk(file, form, chunk, long, end)
    return None


@contextmanager
def open_corrected(path: Path, sound: SoundBytes | None) -> Iterator[Any]:
    """Opens a file for libsndfile: by its path, or as one that reads as if its header stated the right length."""
    if sound is None or not (sound.corrections or _is_overrun(sound)):
        yield str(path)
        return
    with path.open("rb") as file:
        end = sound.end if _is_overrun(sound) else file.seek(0, io.SEEK_END)
        file.seek(0)
        yield _CorrectedFile(file, sound.corrections, end)


def _is_overrun(sound: SoundBytes) -> bool:
    """Says whether libsndfile would take what stands behind a sound for more of it."""
    return not sound.is_limit and sound.end < sound.start + sound.present


class _CorrectedFile:
    """An open file that ends at a given byte and replaces some bytes; libsndfile reads it like any file."""

    def __init__(self, file: BinaryIO, corrections: Mapping[int, bytes], end: int) -> None:
        self._file, self._end = file, end
        self._instead = {
            position + index: byte for position, data in corrections.items() for index, byte in enumerate(data)
        }
        self.tell = file.tell

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place, also one that is counted from the end."""
        if whence == io.SEEK_END:
            return self._file.seek(self._end + offset)
        return self._file.seek(offset, whence)

    def read(self, count: int) -> bytes:
        """Reads on from where the file stands."""
        begin = self._file.tell()
        data = bytearray(self._file.read(max(0, min(count, self._end - begin))))
        for position, byte in self._instead.items():
            if 0 <= position - begin < len(data):
                data[position - begin] = byte
        return bytes(data)

    def write(self, data: bytes) -> int:
        """Refuses to write; libsndfile wants to know that it could ask."""
        raise io.UnsupportedOperation("it is only read")


def _is_open(stated: int, present: int) -> bool:
    return stated > present and any(abs(stated - mark) <= _NEAR for mark in _OPEN)


def _read_chunk(file: BinaryIO, form: Form, chunk: Chunk, long: tuple[int, int] | None, end: int) -> SoundBytes:
    start, stated = chunk.start + form.before, max(0, chunk.size - form.before)
    fields = [Field(chunk.field, form.size, form.counted + form.before)]
    if long is not None and chunk.size in (0, 0xFFFFFFFF):
        # libsndfile believes the long field wherever there is one, so that is the one to correct.
        position, long_size = long
        fields = [Field(position, "<Q")]
        stated = long_size if chunk.size else stated
    last = start + stated
    for behind in read_chunks(file, form, round_up(last, form), end):
        last = behind.start + behind.size
    chunks_follow = last <= end <= round_up(last, form)
    present = max(0, end - start)
    seeks_end = _is_open(stated, present) or (not stated and not chunks_follow)
    trailing = end - find_trailing_chunks(file, form, start, end) if seeks_end else 0
    return SoundBytes(start, stated, present, tuple(fields), trailing, chunks_follow, form.is_limit)


def _read_au(head: bytes, end: int) -> SoundBytes | None:
    order = ">" if head[:1] == b"." else "<"
    if len(head) < 12:
        return None
    start, stated = struct.unpack(f"{order}II", head[4:12])
    return SoundBytes(start, stated, max(0, end - start), (Field(8, f"{order}I"),))


def _read_sphere(file: BinaryIO, head: bytes, end: int) -> SoundBytes | None:
    """Reads the sound of a NIST SPHERE file, as TIMIT's; None of one that counts no bytes, as of a compressed one."""
    size = head[8:].strip()
    if not size.isdigit() or int(size) > _LARGEST_SPHERE_HEAD:
        return None
    file.seek(0)
    text = file.read(int(size)).decode("latin-1")
    found = {name: re.search(rf"^{name} -i (\d+)\s*$", text, re.MULTILINE) for name in _SPHERE_COUNTS}
    counts = [int(match.group(1)) for match in found.values() if match]
    coding = re.search(r"^sample_coding -s\d+ (\S+)", text, re.MULTILINE)
    if len(counts) < len(found) or not all(counts) or (coding and "," in coding.group(1)):
        return None
    samples, channels, width = counts
    return SoundBytes(int(size), samples * channels * width, max(0, end - int(size)), is_limit=False)


_SPHERE_COUNTS = ("sample_count", "channel_count", "sample_n_bytes")
"""Counts in the header of a SPHERE file: samples per channel, channels, and bytes per sample."""
