"""Sounds that libav decodes (m4a, mp3, ogg, mka, the sound of films and others) to waves, with damage told."""

from __future__ import annotations

import re
from pathlib import Path

from fusionkit.data.decoding import Film
from fusionkit.data.files import name_errors, refuse_no_file
from fusionkit.data.ogg_pages import split_links
from fusionkit.data.promises import tag_bytes
from fusionkit.data.sound_headers import UNSTATED_LENGTH
from fusionkit.data.sound_tracks import Sound, SoundTrack
from fusionkit.errors import DataError, Problem

COMPRESSED_SUFFIXES = frozenset({".m4a", ".mp3", ".ogg", ".oga", ".opus", ".aac", ".mka", ".weba"})

_MP3_BEGINNING = re.compile(
    rb"ID3[\x02-\x04][\x00-\x0f][\x00-\xff][\x00-\x7f]{4}"  # a tag before the sound
    rb"|\xff[\xe2-\xff][\x00-\xff]{2}(?:\x00{2})?(?:\x00{9}|\x00{17}|\x00{32})(?:Xing|Info)",  # a frame without sound
    re.DOTALL,
)


def decode_compressed(path: Path, *, rate: int | None = None) -> Sound:
    """Decodes the first stream of sound of a file.

    An mp3 or ogg may consist of several that were joined, each of its own rate and number of channels: each is decoded
    by itself, and held against what it promises itself.

    Args:
        path: The file.
        rate: Samples per second to resample to; None keeps the file's own, of its beginning.

    Raises:
        DataError: The file is missing, holds no sound, cannot be decoded, or is larger than the limit.
    """
    track = SoundTrack(str(path))
    losses: list[str] = []
    is_open = False
    parts = _joined(path)
    for number, part in enumerate(parts, start=1):
        which = f"in part {number} of {len(parts)} " if len(parts) > 1 else ""
        try:
            film = Film(path, part)
        except DataError as error:
            if number == 1:
                raise
            losses += [which + problem.message for problem in error.problems]
            continue
        with film:
            if film.sound is None:
                raise DataError([Problem(str(path), "holds no sound")])
            track.join()
            for frame in film.frames(picture=False, sound=True):
                track.add(frame)
            losses += [which + loss for loss in film.losses()]
            is_open |= film.lacks_duration
    departures = track.departures
    if is_open and not losses:
        departures += (("no duration", UNSTATED_LENGTH),)
    return Sound(track.wave(rate), track.rate or 0, track.channels, tuple(losses), departures)


def _joined(path: Path) -> list[bytes | None]:
    """The contents of the files that were joined to make this one; None stands for a file that is read as it is."""
    refuse_no_file(path)
    with name_errors(path, "cannot be read"), path.open("rb") as file:
        head = file.read(4)
        if head != b"OggS" and head[:3] != b"ID3" and not (head[:1] == b"\xff" and head[1:2] >= b"\xe2"):
            return [None]
        content = head + file.read()
    parts = split_links(content) if head == b"OggS" else _split_mp3(content)
    return [None] if len(parts) == 1 else [*parts]


def _split_mp3(content: bytes) -> list[bytes]:
    """Splits at every tag, and at every frame that says what follows, if no tag stands before it."""
    starts = [0]
    after_tag = -1
    for found in _MP3_BEGINNING.finditer(content):
        is_tag = found.group()[:3] == b"ID3"
        if found.start() >= after_tag and found.start() not in (0, after_tag):
            starts.append(found.start())
        if is_tag and found.start() >= after_tag:
            after_tag = found.end() + tag_bytes(found.group())
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]
