"""The frames of mp3 files: what the first says of the others, and where one file ends and the next begins."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

_MP3_BEGINNING = re.compile(
    rb"ID3[\x02-\x04][\x00-\x0f][\x00-\xff][\x00-\x7f]{4}"  # a tag before the sound
    rb"|\xff[\xe2-\xff][\x00-\xff]{2}(?:\x00{2})?(?:\x00{9}|\x00{17}|\x00{32})(?:Xing|Info)",  # a frame without sound
    re.DOTALL,
)

_LENGTH_OF_FIRST = 512
"""Bytes at the beginning of the first frame in which it says what follows."""


def read_mp3_seconds(file: BinaryIO) -> float | None:
    """Reads the length that the first frame of an mp3 states, if it holds no sound but what is said of the others."""
    first, at, _ = _read_first_frame(file)
    if at is None or not first[at + 7] & 1:
        return None
    version, layer_3_rate = first[1] >> 3 & 3, (44100, 48000, 32000, 0)[first[2] >> 2 & 3]
    if version == 1 or not layer_3_rate:
        return None
    rate = layer_3_rate >> {3: 0, 2: 1, 0: 2}[version]
    frames: int = struct.unpack(">I", first[at + 8 : at + 12])[0]
    return frames * (1152 if version == 3 else 576) / rate


def is_joined_mp3(file: BinaryIO) -> bool:
    """Tells whether another mp3 begins where the first frame says that its own ends."""
    first, at, start = _read_first_frame(file)
    if at is None or first[at + 7] & 3 != 3:
        return False
    file.seek(start + int.from_bytes(first[at + 12 : at + 16], "big"))
    return bool(_MP3_BEGINNING.match(file.read(_LENGTH_OF_FIRST)))


def _read_first_frame(file: BinaryIO) -> tuple[bytes, int | None, int]:
    """Reads the beginning of the first frame, where in it the others are described, and where it begins."""
    file.seek(0)
    head = file.read(10)
    start = 10 + read_tag_size(head) if head[:3] == b"ID3" else 0
    file.seek(start)
    first = file.read(_LENGTH_OF_FIRST)
    at = max(first.find(b"Xing"), first.find(b"Info"))
    is_stated = at >= 4 and first[0] == 0xFF and len(first) >= at + 16
    return first, at if is_stated else None, start


def split_mp3(content: bytes) -> list[bytes]:
    """Splits at every tag, and at every frame that says what follows, if no tag stands before it."""
    starts = [0]
    after_tag = -1
    for found in _MP3_BEGINNING.finditer(content):
        is_tag = found.group()[:3] == b"ID3"
        if found.start() >= after_tag and found.start() not in (0, after_tag):
            starts.append(found.start())
        if is_tag and found.start() >= after_tag:
            after_tag = found.end() + read_tag_size(found.group())
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def read_tag_size(head: bytes) -> int:
    """Reads the size that the first ten bytes of an ID3 tag state for what follows: four times seven bits."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
