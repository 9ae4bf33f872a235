"""What is to be said of the length that a sound states, from its header alone."""

from __future__ import annotations

from pathlib import Path

from fusionkit.data.audio import PLAIN_SUFFIXES, read_stated_header
from fusionkit.data.decoding import Film
from fusionkit.data.flac_frames import find_flac
from fusionkit.data.mp3_frames import goes_on
from fusionkit.data.sound_headers import UNSTATED_LENGTH
from fusionkit.errors import DataError

_JOINED = "goes on with another sound behind the one that its header states: each is read at its own speed"


def length_note(path: Path) -> str:
    """What is to be said of the length that a sound or film states; nothing of what cannot be read, or was cut.

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
            if goes_on(file):
                return _JOINED
        with Film(path) as film:
            return UNSTATED_LENGTH if film.sound is not None and film.lacks_duration else ""
    except (DataError, OSError):
        return ""
