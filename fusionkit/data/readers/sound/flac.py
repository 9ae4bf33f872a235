"""Counts the samples that a flac states, and those that its frames hold.

Every frame of a flac says where it stands, so its last one tells how long the sound is. libsndfile stops at the length
that the header states, whatever follows.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fusionkit.data.readers.sound.headers import UNSTATED_LENGTH
from fusionkit.data.readers.sound.mp3 import read_tag_size

_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
"""The beginning of every flac: its name, and a header of 34 bytes."""

_MOST_BLOCKS = 1024
"""Blocks before the sound that are looked through."""

_LONGEST_HEADER = 16
"""Bytes of a frame's header at most."""

_LARGEST_FRAME = 1 << 17
"""Bytes of a frame at most, where the header does not say it."""

_SMALL = 1 << 18
"""Bytes of a file in which all is searched for a second beginning."""

_PROBES = 8
"""Places of a larger file at which a frame is asked where it stands."""


@dataclass(frozen=True)
class Flac:
    """The length of a flac file, as its header and its frames say it.

    Args:
        start: Where its frames begin.
        end: Where the file ends.
        stated: Samples of each channel by its header; 0 where it does not say.
        rate: Samples per second.
        channels: Channels.
        block: Samples of a frame.
        largest: Bytes of its largest frame.
    """

    start: int
    end: int
    stated: int
    rate: int
    channels: int
    block: int
    largest: int

    @property
    def is_empty(self) -> bool:
        """Tells whether nothing stands behind its header, and it promises nothing."""
        return not self.stated and self.start >= self.end


@dataclass(frozen=True)
class FlacLength:
    """A flac's length by its header and by its frames.

    Args:
        header: What its header says.
        held: Samples up to the end of its last frame; None where none was found.
        is_joined: Whether another flac follows in the same file.
    """

    header: Flac
    held: int | None
    is_joined: bool

    @property
    def is_wrong(self) -> bool:
        """Tells whether all of it is read only by going on to the end of the file."""
        return self.is_joined or not self.header.stated or self._behind > 0

    @property
    def note(self) -> str:
        """Says what its header states wrongly, and what is made of it; empty where it is right."""
        if self.is_joined:  # each of them is held against its own header
            return ""
        if not self.header.stated:
            return UNSTATED_LENGTH
        if self._behind <= 0:
            return ""
        return (
            f"states {self.header.stated:,} samples, but {self._behind:,} more follow: "
            "it is read to the end of the file"
        )

    @property
    def _behind(self) -> int:
        return (self.held or 0) - self.header.stated


def find_flac(path: Path) -> FlacLength | None:
    """Finds the length of a flac file by its header and some of its frames; None of other files."""
    with path.open("rb") as file:
        header = _read_header(file)
        if header is None:
            return None
        held = _find_last_end(file, header)
        suspicious = held != header.stated or header.end - header.start <= _SMALL or not _is_rising(file, header)
        return FlacLength(header, held, suspicious and _has_second(file, header))


def is_flac(file: BinaryIO) -> bool:
    """Tells whether an open file is a flac, behind whatever tags."""
    file.seek(skip_tags(file))
    return bool(_BEGINNING.match(file.read(8)))


def split_flac(content: bytes) -> list[bytes]:
    """Splits the content of a file into the flacs that were joined to make it."""
    _, *later = (found.start() for found in _BEGINNING.finditer(content))  # tags may stand before the first
    starts = [0, *later]
    return [content[start:end] for start, end in zip(starts, [*later, len(content)], strict=True)]


def skip_tags(file: BinaryIO) -> int:
    """Finds where a file begins behind its ID3 tags, which some programs put before any sound."""
    position = 0
    for _ in range(_MOST_BLOCKS):
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        position += 10 + read_tag_size(head)
    return position


def _read_header(file: BinaryIO) -> Flac | None:
    end = file.seek(0, io.SEEK_END)
    position = skip_tags(file)
    file.seek(position)
    head = file.read(42)
    if not _BEGINNING.match(head) or len(head) < 42:
        return None
    info = head[8:]
    is_last, position = bool(head[4] & 0x80), position + 42
    for _ in range(_MOST_BLOCKS):
        if is_last:
            break
        file.seek(position)
        block = file.read(4)
        if len(block) < 4:
            break
        is_last = bool(block[0] & 0x80)
        position += 4 + int.from_bytes(block[1:], "big")
    numbers = int.from_bytes(info[10:18], "big")  # rate in 20 bits, channels in 3, bits of a sample in 5, samples in 36
    return Flac(
        start=position,
        end=end,
        stated=numbers & ((1 << 36) - 1),
        rate=numbers >> 44,
        channels=(numbers >> 41 & 7) + 1,
        block=int.from_bytes(info[2:4], "big"),
        largest=int.from_bytes(info[7:10], "big") or _LARGEST_FRAME,
    )


def _find_last_end(file: BinaryIO, header: Flac) -> int | None:
    """Finds the samples up to the end of the last frame."""
    begin = max(header.start, header.end - header.largest - _SMALL // 8)
    file.seek(begin)
    tail = file.read()
    spans = (_read_span(tail[place : place + _LONGEST_HEADER], header) for place in reversed([*_find_syncs(tail)]))
    return next((span[1] for span in spans if span), None)


def _is_rising(file: BinaryIO, header: Flac) -> bool:
    """Tells whether later frames of the file are later in the sound too, as in one flac and not in two."""
    before = -1
    for number in range(_PROBES):
        file.seek(header.start + (header.end - header.start) * number // _PROBES)
        window = file.read(header.largest + _LONGEST_HEADER)
        spans = (_read_span(window[place : place + _LONGEST_HEADER], header) for place in _find_syncs(window))
        first = next((span[0] for span in spans if span), None)
        if first is None or first < before:
            return False
        before = first
    return True


def _has_second(file: BinaryIO, header: Flac) -> bool:
    file.seek(header.start)
    rest = b""
    while part := file.read(_SMALL):
        if _BEGINNING.search(rest + part):
            return True
        rest = part[-8:]
    return False


def _find_syncs(content: bytes) -> Iterator[int]:
    """Finds beginnings of frames: 14 bits that are set, one that is not, and one that says how frames are counted."""
    return (found.start() for found in re.finditer(rb"\xff[\xf8\xf9]", content))


def _read_span(head: bytes, header: Flac) -> tuple[int, int] | None:
    """Returns the samples at which a frame begins and ends; None where no header of a frame of this sound stands."""
    if len(head) < 6 or head[4] & 0xC0 == 0x80 or not _is_suited(head, header):
        return None
    count = max(1, 8 - (head[4] ^ 0xFF).bit_length())  # bytes of the number that follows, written as in UTF-8
    size_code, rate_code = head[2] >> 4, head[2] & 15
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    after = 4 + count + size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if count > 7 or len(head) <= after or _compute_crc_8(head[:after]) != head[after]:
        return None
    number = head[4] & (0x7F if count == 1 else (1 << 7 - count) - 1)
    for byte in head[5 : 4 + count]:
        number = number << 6 | byte & 0x3F
    size = _read_size(size_code, head[4 + count : 4 + count + size_bytes])
    first = number if head[1] & 1 else number * header.block
    return first, first + size


def _is_suited(head: bytes, header: Flac) -> bool:
    """Tells whether the codes of a frame mean something, and it has the channels that the header states."""
    channel_code = head[3] >> 4
    channels = channel_code + 1 if channel_code < 8 else 2
    reserved = head[2] >> 4 == 0 or head[2] & 15 == 15 or channel_code > 10 or head[3] & 1
    return not reserved and channels == header.channels


def _read_size(code: int, stated: bytes) -> int:
    if code in (6, 7):
        return int.from_bytes(stated, "big") + 1
    if code == 1:
        return 192
    return 576 << code - 2 if code <= 5 else 256 << code - 8


def _compute_crc_8(content: bytes) -> int:
    value = 0
    for byte in content:
        value = _CRC_8[value ^ byte]
    return value


def _divide(value: int) -> int:
    """Divides a byte by the polynomial of the headers' checksum, x^8 + x^2 + x + 1."""
    for _ in range(8):
        value = value << 1 & 0xFF ^ (0x07 if value & 0x80 else 0)
    return value


_CRC_8 = tuple(map(_divide, range(256)))
