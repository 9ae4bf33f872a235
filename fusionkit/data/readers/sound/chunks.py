"""The chunks of wav, rf64, w64 and aiff files: how each form writes them, and which stand at the end of a file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MOST_CHUNKS = 4096
"""Chunks that are looked through; a file of nothing but tiny ones is no sound."""

_TAIL = 1 << 20
"""Bytes at the end of a file in which chunks behind a sound of open length are looked for."""

_BEHIND_SOUND = tuple(
    name.encode()
    for name in (
        *("LIST", "list", "id3 ", "ID3 ", "bext", "iXML", "_PMX", "cue ", "smpl", "inst", "fact", "PEAK", "JUNK"),
        *("junk", "acid", "cart", "axml", "umid", "MARK", "COMT", "NAME", "AUTH", "ANNO", "APPL", "MIDI", "COMM"),
    )
)
"""Names of chunks that programs write behind the sound."""


@dataclass(frozen=True)
class Form:
    """The way in which a container writes its chunks.

    Args:
        head: Bytes before the first chunk.
        name: Bytes of a chunk's name.
        size: The number of a chunk's bytes, as a format of `struct`.
        counted: Bytes of a chunk's own header that this number counts too.
        step: Chunks begin at multiples of it.
        sound: How the name of the chunk that holds the sound begins.
        before: Bytes in that chunk before the sound.
        is_limit: Whether libsndfile stops at the size of that chunk; else it reads on to the end of the file.
    """

    head: int = 12
    name: int = 4
    size: str = "<I"
    counted: int = 0
    step: int = 2
    sound: bytes = b"data"
    before: int = 0
    is_limit: bool = True


FORMS = {
    b"RIFF": Form(),
    b"RF64": Form(),
    b"BW64": Form(),
    b"RIFX": Form(size=">I"),
    b"riff": Form(head=40, name=16, size="<Q", counted=24, step=8, is_limit=False),
    b"FORM": Form(size=">I", sound=b"SSND", before=8),
}


@dataclass(frozen=True)
class Chunk:
    """A chunk: its name, where it states its size, where its content begins, and how long that is by its size."""

    name: bytes
    field: int
    start: int
    size: int


def find_trailing_chunks(file: BinaryIO, form: Form, start: int, end: int) -> int:
    """Finds where the chunks begin that stand behind a sound of open length; the end of the file where none do.

    Only chunks with known names count, each whole, and the last must end where the file does: so no sound is taken for
    one.
    """
    begin = max(start, end - _TAIL)
    file.seek(begin)
    tail = file.read(end - begin)
    places = set[int]()
    for name in _BEHIND_SOUND:
        at = tail.find(name)
        while at >= 0:
            places.add(begin + at)
            at = tail.find(name, at + 1)
    for place in sorted(places):
        if place % form.step == 0 and _is_chain(file, form, place, end):
            return place
    return end


def _is_chain(file: BinaryIO, form: Form, position: int, end: int) -> bool:
    last = position
    for chunk in read_chunks(file, form, position, end):
        if chunk.name[:4] not in _BEHIND_SOUND:
            return False
        last = chunk.start + chunk.size
    return last > position and last <= end <= round_up(last, form)


def read_chunks(file: BinaryIO, form: Form, position: int, end: int) -> Iterator[Chunk]:
    """Yields the chunks from a position on, as far as their headers go.

    Raises:
        ValueError: The file ends within the header of its sound.
    """
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
        chunk = Chunk(name, position + form.name, position + form.name + width, size)
        yield chunk
        position = round_up(chunk.start + size, form)


def round_up(position: int, form: Form) -> int:
    """Rounds a position up to where a chunk may begin."""
    return -(-position // form.step) * form.step
