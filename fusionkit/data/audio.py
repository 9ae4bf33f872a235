"""Sound files (wav, flac, aiff and others of whole samples, and compressed ones) to waves, with damage detected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.compressed_audio import COMPRESSED_SUFFIXES, decode_compressed
from fusionkit.data.files import name_errors, refuse_no_file
from fusionkit.data.limits import check_size
from fusionkit.data.sound_headers import find_sound, open_corrected
from fusionkit.data.sound_tracks import Sound, resampled
from fusionkit.errors import DataError, Problem

PLAIN_SUFFIXES = frozenset({".wav", ".flac", ".rf64", ".w64", ".aif", ".aiff", ".aifc"})
"""Endings of what libsndfile reads."""

AUDIO_SUFFIXES = PLAIN_SUFFIXES | COMPRESSED_SUFFIXES

FILM_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".flv", ".webm", ".mpg", ".mpeg"})
"""Endings of films, of which the sound is read where a sound is asked for."""

Frames = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_AT_ONCE = 1024
"""Samples that are read at once where a file breaks off somewhere."""

# libsndfile gives the largest number of 64 bits where a flac leaves its length open.
_MOST_FRAMES = 2**62


@dataclass(frozen=True)
class AudioHeader:
    """What a sound file's header promises.

    Args:
        frames: Samples of each channel.
        rate: Samples per second.
        channels: Channels.
        note: What the header says wrongly of the length, and what is made of it; empty where nothing is.
    """

    frames: int
    rate: int
    channels: int
    note: str = ""

    def length_at(self, rate: int | None) -> int:
        """Samples after resampling to a rate; None keeps the file's own."""
        return self.frames if rate is None else math.ceil(self.frames * rate / self.rate)


def read_header(path: Path) -> AudioHeader:
    """Reads the header of a sound file; one that states no exact length is decoded, as all compressed ones.

    Raises:
        DataError: The file is missing, empty, no sound file, ends before its header says, or is larger than the limit.
    """
    if path.suffix.lower() in PLAIN_SUFFIXES:
        with _opened(path) as plain:
            if plain is not None:
                _refuse(path, plain.losses)
                return AudioHeader(plain.file.frames, plain.file.samplerate, plain.file.channels, plain.note)
    sound = decode_compressed(path)
    _refuse(path, sound.losses)
    note = " and ".join(text for _, text in sound.departures)
    return AudioHeader(len(sound.wave), sound.rate, sound.channels, note)


def read_audio(path: Path, *, rate: int | None = None) -> Tensor:
    """Reads a whole sound file as one wave in -1..1: several channels are averaged, and resampled if need be.

    A length that a header leaves open, or states as 0 though sound follows, is read to the end of the file; the note of
    `read_header` says so.

    Args:
        path: The file.
        rate: Samples per second to resample to (windowed sinc interpolation); None keeps the file's own.

    Returns:
        The wave, ``(length,)`` float32.

    Raises:
        DataError: The file is missing, damaged, shorter than its header says, or larger than the limit.
    """
    sound = decode_audio(path, rate=rate)
    _refuse(path, sound.losses)
    return sound.wave


def decode_audio(path: Path, *, rate: int | None = None) -> Sound:
    """Reads a sound file as far as it goes, and says what is missing of it.

    Args:
        path: The file.
        rate: Samples per second to resample to; None keeps the file's own.

    Raises:
        DataError: The file is missing, no sound file, or larger than the limit.
    """
    if path.suffix.lower() in PLAIN_SUFFIXES:
        with _opened(path) as plain:
            if plain is not None:
                return _read_plain(path, plain, rate)
    return decode_compressed(path, rate=rate)


@dataclass(frozen=True)
class _Plain:
    """A sound as libsndfile opens it, what its header says wrongly, and what is missing of it."""

    file: Any
    note: str
    losses: tuple[str, ...]


def _read_plain(path: Path, plain: _Plain, rate: int | None) -> Sound:
    own, channels = int(plain.file.samplerate), int(plain.file.channels)
    frames = _frames_of(plain.file)
    losses = plain.losses
    if len(frames) != plain.file.frames and not losses:
        losses = (_lacking(f"{len(frames)} of {plain.file.frames} samples"),)
    wave = torch.from_numpy(frames).T.mean(dim=0)
    if rate is not None and rate != own:
        check_size("samples", math.ceil(len(wave) * rate / own), str(path))
        wave = resampled(wave, own, rate)
    return Sound(wave, own, channels, losses, (("length", plain.note),) if plain.note else ())


def _frames_of(file: Any) -> Frames:
    """The frames of a sound; of one that breaks off those before that place."""
    import soundfile

    try:
        whole: Frames = file.read(dtype="float32", always_2d=True)
        return whole
    except soundfile.LibsndfileError:
        file.seek(0)
    found = [np.zeros((0, file.channels), np.float32)]
    while True:
        try:
            found.append(file.read(_AT_ONCE, dtype="float32", always_2d=True))
        except soundfile.LibsndfileError:
            break
        if not len(found[-1]):
            break
    return np.concatenate(found)


@contextmanager
def _opened(path: Path) -> Iterator[_Plain | None]:
    """A sound as libsndfile opens it; None for a flac that states no length.

    libsndfile cannot read such a flac to its end, libav can.
    """
    import soundfile

    refuse_no_file(path)
    if not path.stat().st_size:
        raise DataError([Problem(str(path), "is empty (0 bytes)", "copy it again")])
    with name_errors(path, "cannot be read as sound"):
        found = find_sound(path)
        cut = found is not None and found.missing
        losses = (_lacking(f"{found.present} of {found.stated} bytes of sound"),) if found is not None and cut else ()
        with open_corrected(path, found) as file, soundfile.SoundFile(file) as sound:
            if sound.frames <= _MOST_FRAMES:
                check_size("samples", sound.frames * sound.channels, str(path))
                yield _Plain(sound, "" if found is None else found.note, losses)
                return
    yield None


def _refuse(path: Path, losses: Sequence[str]) -> None:
    """Refuses a sound of which something is missing.

    Raises:
        DataError: Something is.
    """
    if losses:
        raise DataError([Problem(str(path), " and ".join(losses), "copy it again")])


def _lacking(share: str) -> str:
    return f"is truncated: it holds {share} that its header promises"
