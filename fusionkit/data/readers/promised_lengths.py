"""The length that a film or sound promises, so that what was decoded of it can be held against that.

libav rebuilds what a header lacks, or states wrongly, from what is left of the file, and then half a file looks whole.
So only what the file itself says counts here, and where it says nothing that is said too.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from fusionkit.data.readers.sound.headers import find_sound_in
from fusionkit.data.readers.sound.mp3 import read_mp3_seconds
from fusionkit.data.readers.sound.ogg import lacks_last_page

_STATED_OF_WHOLE = frozenset({"matroska", "flv", "asf"})
"""Formats whose header states how long the whole is, and not each stream."""

_STATED_OF_STREAMS = frozenset({"aiff", "au", "tta", "wv", "flac", "rm"})
"""Formats whose header states how long the sound is."""

_CHUNKED = frozenset({"wav", "w64"})
"""Formats of chunks; the chunk of the sound states its bytes."""

_OPEN_SIZES = (0, 1 << 31, 1 << 32)
_NEAR = 1 << 16
"""Largest distance of an open size from those above; files from pipes and unfinished files state such sizes."""

_TRIFLE = 8
"""Bytes that may be missing: some programs count the header of a file, others do not."""

_BELIEVED = 1.5
"""Largest believed ratio of an avi's stated sound to its picture; some programs state bytes there."""


@dataclass(frozen=True)
class Promise:
    """The length of a file by its own word.

    Args:
        frames: Frames of the picture; 0 where they are not counted.
        seconds: By the index of a stream, how long it is.
        whole: Seconds from the beginning of the first stream to the end of the last; None where that is not stated.
        ends: Whether the file ends in what only a whole file ends in.
        losses: What its bytes lack, in words.
    """

    frames: int = 0
    seconds: Mapping[int, float] = field(default_factory=dict)
    whole: float | None = None
    ends: bool = False
    losses: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True where nothing is said, so that a loss at the end would go unseen."""
        return not (self.frames or self.seconds or self.whole or self.ends or self.losses)


def find_promise(container: Any, picture: Any, sound: Any, file: BinaryIO) -> Promise:
    """Finds what a film or sound promises.

    Args:
        container: It, opened by libav.
        picture: The stream of its picture; None where it has none.
        sound: The stream of its sound; None where it has none.
        file: Its bytes.
    """
    formats = frozenset(container.format.name.split(","))
    streams = [stream for stream in (picture, sound) if stream is not None]
    if "mov" in formats:
        return _read_mov(container, picture, streams, file)
    if "avi" in formats:
        return _read_avi(picture, sound, file)
    if "ogg" in formats:
        lacking = lacks_last_page(file)
        return Promise(ends=not lacking, losses=("lacks its last page: it is truncated",) if lacking else ())
    if formats & _CHUNKED:
        return _read_wav(sound, file)
    if formats & _STATED_OF_WHOLE:
        return Promise(whole=_read_whole(container, formats, streams, file))
    if formats & _STATED_OF_STREAMS:
        seconds = _read_durations(streams)
    else:
        length = read_mp3_seconds(file) if "mp3" in formats and sound is not None else None
        seconds = {} if length is None else {sound.index: length}
    return Promise(seconds=seconds)


def _read_whole(container: Any, formats: frozenset[str], streams: list[Any], file: BinaryIO) -> float | None:
    """Returns how long the header of a file says that the whole is; libav guesses where it says nothing."""
    if "matroska" in formats:
        stated = _is_matroska_stated(file)
    elif "flv" in formats:
        stated = _is_flv_stated(file)
    else:  # the length of a stream stands in no such header
        stated = all(stream.duration is None for stream in streams)
    return container.duration / 1e6 if stated and container.duration is not None else None


def _read_durations(streams: list[Any]) -> dict[int, float]:
    return {stream.index: float(stream.duration * stream.time_base) for stream in streams if stream.duration}


def _read_wav(sound: Any, file: BinaryIO) -> Promise:
    found = find_sound_in(file)
    if sound is None or found is None or found.is_open or not found.stated:
        return Promise()
    if found.missing:  # libav shortens the duration to what is there
        return Promise(losses=(found.loss,))
    return Promise(seconds=_read_durations([sound]), ends=True)


def split_mov(file: BinaryIO) -> list[bytes]:
    """Splits an mp4 into those that were joined to make it; nothing where it is one."""
    starts, position = list[int](), 0
    for name, size, _ in _read_boxes(file):
        starts += [position] if name == b"ftyp" else []
        position += size
    if len(starts) < 2:
        return []
    file.seek(0)
    content = file.read()
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def _read_mov(container: Any, picture: Any, streams: list[Any], file: BinaryIO) -> Promise:
    promise = _read_one_mov(container, picture, streams, file)
    if sum(name == b"ftyp" for name, *_ in _read_boxes(file)) > 1:  # libav reads the first alone
        return replace(promise, losses=(*promise.losses, "goes on with another film or sound, which is not read"))
    return promise


def _read_one_mov(container: Any, picture: Any, streams: list[Any], file: BinaryIO) -> Promise:
    if all(stream.frames for stream in streams):
        seconds = {index: length for index, length in _read_durations(streams).items() if index != _find_index(picture)}
        return Promise(frames=0 if picture is None else picture.frames, seconds=seconds)
    # In fragments: each says what it holds itself, so those that are missing are not missed, unless an index lists all.
    names, missing = [], 0
    for name, size, present in _read_boxes(file):
        names.append(name)
        missing += max(0, size - present)
    losses = (f"is truncated: the last of its parts lacks {missing} bytes",) if missing else ()
    whole = container.duration / 1e6 if b"sidx" in names and container.duration is not None else None
    return Promise(whole=whole, ends=names[-1:] == [b"mfra"], losses=losses)


def _find_index(stream: Any) -> int | None:
    return None if stream is None else int(stream.index)


def _read_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields the boxes that an mp4 consists of: the name of each, its size, and how many of its bytes are there."""
    end, position = file.seek(0, io.SEEK_END), 0
    while position + 8 <= end:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0]
        size = size or end - position  # 0 is all that is left
        if size < 8:
            return
        yield name, size, min(size, end - position)
        position += size


def _read_avi(picture: Any, sound: Any, file: BinaryIO) -> Promise:
    """Reads what the header of an avi states of each stream and of the file; libav shortens it to what is there."""
    seconds = {
        stream.index: float(stream.frames * stream.time_base)
        for stream in (picture, sound)
        if stream is not None and stream.frames
    }
    if (
        picture is not None
        and sound is not None
        and seconds.get(sound.index, 0.0) > _BELIEVED * seconds.get(picture.index, float("inf"))
    ):
        del seconds[sound.index]
    stated, present = _read_riff(file)
    short = stated is not None and present < stated - _TRIFLE
    losses = (f"is truncated: it holds {present} of {stated} bytes that its header promises",) if short else ()
    return Promise(seconds=seconds, ends=stated is not None, losses=losses)


def _read_riff(file: BinaryIO) -> tuple[int | None, int]:
    """Reads the bytes that a file of RIFF chunks should have, None where it leaves that open, and those that it has."""
    end, position = file.seek(0, io.SEEK_END), 0
    while position < end:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if name != b"RIFF":
            break
        if any(abs(size - mark) <= _NEAR for mark in _OPEN_SIZES[1:]) or not size:
            return None, end
        position += 8 + size + size % 2
    return position, end


_SEGMENT, _INFO, _DURATION = 0x18538067, 0x1549A966, 0x4489
"""Of a matroska file: all of it, what is said of the whole, and how long that is."""

_MOST_ELEMENTS = 100_000
"""Largest number of elements that are read; one may have only two bytes, and a day of film has some 20,000."""


def _is_matroska_stated(file: BinaryIO) -> bool:
    """Tells whether a matroska or webm file says how long it is.

    libav does not tell: of a file with few frames it fills the lengths of streams in from the one that is stated, and
    of one that states none it guesses all of them.
    """
    begin, end = 0, file.seek(0, io.SEEK_END)
    for wanted in (_SEGMENT, _INFO, _DURATION):
        begin, end = next((place for name, *place in _read_elements(file, begin, end) if name == wanted), (0, 0))
    file.seek(begin)
    stated = file.read(min(8, end - begin))
    return len(stated) in (4, 8) and struct.unpack(">f" if len(stated) == 4 else ">d", stated)[0] > 0


def _read_elements(file: BinaryIO, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields the elements in a stretch of a matroska file: the number of each, and its content's begin and end."""
    for _ in range(_MOST_ELEMENTS):
        if position >= end:
            return
        file.seek(position)
        name, size = _read_number(file, keep=True), _read_number(file, keep=False)
        if name is None or size is None:
            return
        start = file.tell()
        position = end if size < 0 else min(start + size, end)
        yield name, start, position


def _read_number(file: BinaryIO, *, keep: bool) -> int | None:
    """Reads a number of matroska, whose zeros before the first 1 say how many bytes it has.

    Args:
        file: It, open where the number stands.
        keep: Whether that 1 is part of the number, as in names; else it is a size, and -1 where that is left open.

    Returns:
        The number; None at the end of the file, or where it would be longer than 8 bytes.
    """
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    rest = file.read(count - 1)
    if len(rest) < count - 1:
        return None
    number = int.from_bytes(first + rest, "big")
    if keep:
        return number
    number &= (1 << 7 * count) - 1
    return -1 if number == (1 << 7 * count) - 1 else number


def _is_flv_stated(file: BinaryIO) -> bool:
    """Says whether an flv states its length in its first tag; libav looks for its last tag where it does not."""
    file.seek(0)
    head, name = file.read(4096), b"\0\x08duration\0"
    at = head.find(name) + len(name)
    return at >= len(name) and len(head) >= at + 8 and struct.unpack(">d", head[at : at + 8])[0] > 0
