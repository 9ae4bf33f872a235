"""Notes on the length that a sound states, from its header alone."""

from __future__ import annotations

from pathlib import Path

from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.sound.audio import PLAIN_SUFFIXES, read_stated_header
from fusionkit.data.readers.sound.flac import find_flac
from fusionkit.data.readers.sound.headers import UNSTATED_LENGTH
from fusionkit.data.readers.sound.mp3 import is_joined_mp3
from fusionkit.errors import DataError

_JOINED = "goes on with another sound behind the one that its header states: each is read at its own speed"


def note_length(path: Path) -> str:
    """Notes what is wrong with the length that a sound or film states; nothing of what cannot be read, or was cut.

    It costs a glance at the headers, so a whole table of files can be looked through.
    """
    try:
        if path.suffix.lower() in PLAIN_SUFFIXES:
            header = read_stated_header(path)
            if header is not None:
                return header.note
            flac = find_flac(path)
            if flac is not None:
                return flac.note
        with path.open("rb") as file:
            if is_joined_mp3(file):
                return _JOINED
        with Film(path) as film:
            return UNSTATED_LENGTH if film.sound is not None and film.lacks_duration else ""
    except (DataError, OSError):
        return ""
