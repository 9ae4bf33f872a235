"""Sound files (wav, flac, aiff and others of whole samples, and compressed ones) to waves, with damage detected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.readers.files import name_errors, place_error, refuse_no_file
from fusionkit.data.readers.limits import check_size
from fusionkit.data.readers.sound.compressed import COMPRESSED_SUFFIXES, decode_compressed, is_compressed
from fusionkit.data.readers.sound.flac import FlacLength, find_flac
from fusionkit.data.readers.sound.headers import UNCHECKED_LENGTH, SoundBytes, find_sound, open_corrected
from fusionkit.data.readers.sound.tracks import Sound, resample
from fusionkit.errors import DataError, Problem
from fusionkit.nn.tensor_checks import check_finite

PLAIN_SUFFIXES = frozenset({".wav", ".flac", ".rf64", ".w64", ".aif", ".aiff", ".aifc"})
"""Endings of what libsndfile reads."""

AUDIO_SUFFIXES = PLAIN_SUFFIXES | COMPRESSED_SUFFIXES

FILM_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".flv", ".webm", ".mpg", ".mpeg"})
"""Endings of films, whose sound is read where a sound is asked for."""

Frames = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_AT_ONCE = 1024
"""Samples that are read at once where a file breaks off somewhere."""

_BROKEN = "has parts that cannot be decoded"

_CHECKED = frozenset({"FLAC", "CAF"})
"""Forms that libsndfile itself refuses, or breaks off, where they end before their header says."""


@dataclass(frozen=True)
class AudioHeader:
    """The promises of a sound file's header.

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

    def count_samples(self, rate: int | None) -> int:
        """Counts the samples after resampling to a rate; None keeps the file's own."""
        return self.frames if rate is None else math.ceil(self.frames * rate / self.rate)


def read_header(path: Path) -> AudioHeader:
    """Reads the header of a sound file; one that states no exact length is decoded, as all compressed ones.

    Raises:
        DataError: The file is missing, empty, no sound file, ends before its header says, or is larger than the limit.
    """
    header = read_stated_header(path)
    if header is not None:
        return header
    sound = decode_audio(path)
    _refuse(path, sound.losses)
    note = " and ".join(text for _, text in sound.departures)
    return AudioHeader(len(sound.wave), sound.rate, sound.channels, note)


def read_stated_header(path: Path) -> AudioHeader | None:
    """Reads the header of a sound that states its exact length; None of one that is decoded to know it.

    Raises:
        DataError: The file is missing, empty, no sound file, ends before its header says, or is larger than the limit.
    """
    if path.suffix.lower() not in PLAIN_SUFFIXES:
        return None
    with _open(path) as plain:
        if isinstance(plain, _PlainSound):
            _refuse(path, plain.losses)
            return AudioHeader(plain.file.frames, plain.file.samplerate, plain.file.channels, plain.note)
        if plain is not None and plain.header.is_empty:
            return AudioHeader(0, plain.header.rate, plain.header.channels)
    return None


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


def load_audio(path: Path, place: str, *, rate: int) -> Tensor:
    """Reads the sound of a sample with `read_audio`; errors say the place that it is for, such as a row.

    Raises:
        DataError: It cannot be read, or holds numbers that are not finite.
    """
    try:
        wave = read_audio(path, rate=rate)
    except DataError as error:
        raise place_error(error, place) from error
    check_finite(wave, f"{place}: {path}")
    return wave


def decode_audio(path: Path, *, rate: int | None = None) -> Sound:
    """Reads a sound file as far as it goes, and says what is missing of it.

    Args:
        path: The file.
        rate: Samples per second to resample to; None keeps the file's own.

    Raises:
        DataError: The file is missing, no sound file, or larger than the limit.
    """
    if path.suffix.lower() not in PLAIN_SUFFIXES:
        return decode_compressed(path, rate=rate)
    with _open(path) as plain:
        if isinstance(plain, _PlainSound):
            return _read_plain(path, plain, rate)
    if plain is None:
        return decode_compressed(path, rate=rate)
    if plain.header.is_empty:
        return Sound(torch.zeros(0), plain.header.rate, plain.header.channels)
    sound = decode_compressed(path, rate=rate)
    is_told = not plain.note or plain.note in [text for _, text in sound.departures]
    return sound if is_told else replace(sound, departures=(*sound.departures, ("length", plain.note)))


@dataclass(frozen=True)
class _PlainSound:
    """A sound as libsndfile opens it, where it stands, what its header says wrongly, and what is missing of it."""

    file: Any
    path: Path
    sound: SoundBytes | None
    is_flac: bool
    note: str
    losses: tuple[str, ...]


def _read_plain(path: Path, plain: _PlainSound, rate: int | None) -> Sound:
    own, channels = int(plain.file.samplerate), int(plain.file.channels)
    wave, broken = _read_wave(path, plain)
    losses = plain.losses
    if len(wave) != plain.file.frames and not losses:
        losses = (f"is truncated: it holds {len(wave)} of {plain.file.frames} samples that its header promises",)
    losses += broken
    if rate is not None and rate != own:
        check_size("samples", math.ceil(len(wave) * rate / own), str(path))
        wave = resample(wave, own, rate)
    return Sound(wave, own, channels, losses, (("length", plain.note),) if plain.note else ())


def _read_wave(path: Path, plain: _PlainSound) -> tuple[Tensor, tuple[str, ...]]:
    """Reads the mean of the channels of a sound, as far as it can be decoded, and says what cannot be."""
    import soundfile

    # Some encodings, such as GSM 6.10, can only be read in one go, and soundfile wants to hear how far.
    length = {} if plain.file.seekable() else {"frames": plain.file.frames}
    try:
        return _average(plain.file.read(dtype="float32", always_2d=True, **length)), ()
    except soundfile.LibsndfileError:
        pass
    if plain.is_flac:
        return _read_by_libav(path)
    return _read_before_break(plain), (_BROKEN,)


def _read_by_libav(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Reads a damaged flac: libav goes on behind the damage, libsndfile does not."""
    try:
        sound = decode_compressed(path)
    except DataError as error:
        return torch.zeros(0), tuple(problem.message for problem in error.problems)
    return sound.wave, tuple(loss for loss in sound.losses if loss.startswith("has ")) or (_BROKEN,)


def _read_before_break(plain: _PlainSound) -> Tensor:
    """Reads the sound before the break of a file; opens it anew, since nothing can be sought in it."""
    import soundfile

    found = [np.zeros((0, plain.file.channels), np.float32)]
    with open_corrected(plain.path, plain.sound) as source:
        try:
            with soundfile.SoundFile(source) as file:
                while len(part := file.read(_AT_ONCE, dtype="float32", always_2d=True)):
                    found.append(part)
        except soundfile.LibsndfileError:
            pass
    return _average(np.concatenate(found))


def _average(frames: Frames) -> Tensor:
    return torch.from_numpy(frames).T.mean(dim=0)


@contextmanager
def _open(path: Path) -> Iterator[_PlainSound | FlacLength | None]:
    """Opens a sound by libsndfile; a flac of a wrong length is libav's, and so is what is compressed, given as None.

    libsndfile reads a flac no further than its header says.
    """
    import soundfile

    refuse_no_file(path)
    if not path.stat().st_size:
        raise DataError([Problem(str(path), "is empty (0 bytes)", "copy it again")])
    with name_errors(path, "cannot be read as sound"):
        flac = find_flac(path)
        if flac is not None and flac.is_wrong:
            yield flac
            return
        if flac is None and is_compressed(path):
            yield None
            return
        found = find_sound(path)
        with open_corrected(path, found) as file, soundfile.SoundFile(file) as sound:
            check_size("samples", sound.frames * sound.channels, str(path))
            note = found.note if found is not None else "" if sound.format in _CHECKED else UNCHECKED_LENGTH
            losses = (found.loss,) if found is not None and found.loss else ()
            yield _PlainSound(sound, path, found, flac is not None, note, losses)


def _refuse(path: Path, losses: Sequence[str]) -> None:
    """Refuses a sound that lacks something.

    Raises:
        DataError: Something is.
    """
    if losses:
        raise DataError([Problem(str(path), " and ".join(losses), "copy it again")])
