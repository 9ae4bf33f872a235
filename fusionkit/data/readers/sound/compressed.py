"""Sounds that libav decodes (m4a, mp3, ogg, mka, the sound of films and others) to waves, with damage told."""

from __future__ import annotations

from pathlib import Path

from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.files import name_errors, refuse_no_file
from fusionkit.data.readers.promised_lengths import split_mov
from fusionkit.data.readers.sound.flac import is_flac, skip_tags, split_flac
from fusionkit.data.readers.sound.headers import UNSTATED_LENGTH
from fusionkit.data.readers.sound.mp3 import split_mp3
from fusionkit.data.readers.sound.ogg import split_links
from fusionkit.data.readers.sound.tracks import Sound, SoundTrack
from fusionkit.errors import DataError, Problem

COMPRESSED_SUFFIXES = frozenset({".m4a", ".mp3", ".ogg", ".oga", ".opus", ".aac", ".mka", ".weba"})


def decode_compressed(path: Path, *, rate: int | None = None) -> Sound:
    """Decodes the first stream of sound of a file.

    An mp3, ogg, flac or m4a may consist of several that were joined, each of its own rate and number of channels: each
    is decoded by itself, and held against what it promises itself.

    Args:
        path: The file.
        rate: Samples per second to resample to; None keeps the file's own, of its beginning.

    Raises:
        DataError: The file is missing, holds no sound, cannot be decoded, or is larger than the limit.
    """
    track = SoundTrack(str(path))
    rate_of_first = 0
    losses: list[str] = []
    is_open = False
    parts = _split_joined(path)
    for number, part in enumerate(parts, start=1):
        which = f"in part {number} of {len(parts)} " if len(parts) > 1 else ""
        try:
            film = Film(path, part)
        except DataError as error:
            # Without its first part nothing is known of a file; a later part that fails is a loss.
            if number == 1:
                raise
            losses += [which + problem.message for problem in error.problems]
            continue
        with film:
            if film.sound is None:
                raise DataError([Problem(str(path), "holds no sound")])
            rate_of_first = rate_of_first or _read_rate(film)
            track.join()
            for frame in film.decode(picture=False, sound=True):
                track.add(frame)
            losses += [which + loss for loss in film.list_losses()]
            is_open |= film.lacks_duration
    departures = track.departures
    if is_open and not losses:
        departures += (("no duration", UNSTATED_LENGTH),)
    return Sound(track.finish(rate), track.rate or rate_of_first, track.channels, tuple(losses), departures)


def _read_rate(film: Film) -> int:
    return 0 if film.sound.codec_context is None else int(film.sound.codec_context.sample_rate)


def is_compressed(path: Path) -> bool:
    """Tells whether a file begins as an mp3, aac, ogg, m4a or mka does, whatever its name says."""
    with path.open("rb") as file:
        begin = skip_tags(file)
        file.seek(begin)
        head = file.read(8)
    return head[:4] in (b"OggS", b"\x1a\x45\xdf\xa3") or head[4:] == b"ftyp" or _is_mp3(head)


def _is_mp3(head: bytes) -> bool:
    return head[:1] == b"\xff" and head[1:2] >= b"\xe2"


def _split_joined(path: Path) -> list[bytes | None]:
    """Splits a file that was made of several by joining them; None stands for a file that is read as it is."""
    refuse_no_file(path)
    with name_errors(path, "cannot be read"), path.open("rb") as file:
        head = file.read(8)
        if head[4:] == b"ftyp":
            parts = split_mov(file)
        elif head[:4] == b"OggS":
            parts = split_links(head + file.read())
        elif is_flac(file):
            file.seek(0)
            parts = split_flac(file.read())
        elif head[:3] == b"ID3" or _is_mp3(head):
            file.seek(0)
            parts = split_mp3(file.read())
        else:
            return [None]
    return [None] if len(parts) <= 1 else [*parts]
