"""Sound files (wav, flac, aiff and others of whole samples, and compressed ones) to waves, with damage detected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.data.compressed_audio import COMPRESSED_SUFFIXES, decode_compressed
from fusionkit.data.files import name_errors
from fusionkit.data.limits import check_size
from fusionkit.data.sound_headers import find_sound, open_corrected
from fusionkit.errors import DataError, Problem

PLAIN_SUFFIXES = frozenset({".wav", ".flac", ".rf64", ".w64", ".aif", ".aiff", ".aifc"})
"""Endings of what libsndfile reads."""

AUDIO_SUFFIXES = PLAIN_SUFFIXES | COMPRESSED_SUFFIXES

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
    note = ""
    if path.suffix.lower() in PLAIN_SUFFIXES:
        with _opened(path) as (sound, note):
            if sound is not None:
                return AudioHeader(sound.frames, sound.samplerate, sound.channels, note)
    decoded, own = decode_compressed(path)
    return AudioHeader(decoded.shape[1], own, len(decoded), note)


def read_audio(path: Path, *, rate: int | None = None) -> Tensor:
    """Reads a sound file as one wave in -1..1: several channels are averaged, and resampled if need be.

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
    channels, own = _read_plain(path) if path.suffix.lower() in PLAIN_SUFFIXES else decode_compressed(path)
    wave = channels.mean(dim=0)
    if rate is not None and rate != own:
        from torchaudio.functional import resample

        check_size("samples", math.ceil(len(wave) * rate / own), str(path))
        wave = resample(wave, own, rate)
    return wave


def _read_plain(path: Path) -> tuple[Tensor, int]:
    """The channels of a file that libsndfile reads, and samples per second."""
    with _opened(path) as (sound, _):
        if sound is not None:
            with name_errors(path, "is damaged"):
                frames = sound.read(dtype="float32", always_2d=True)
            if len(frames) != sound.frames:
                raise _truncated(path, f"{len(frames)} of {sound.frames} samples")
            return torch.from_numpy(frames).T, int(sound.samplerate)
    return decode_compressed(path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """A sound as libsndfile opens it, and what its header says wrongly; None for a flac that states no length.

    libsndfile cannot read such a flac to its end, libav can.
    """
    import soundfile

    if not path.is_file():
        raise DataError([Problem(str(path), "no such file")])
    if not path.stat().st_size:
        raise DataError([Problem(str(path), "is empty (0 bytes)", "copy it again")])
    with name_errors(path, "cannot be read as sound"):
        found = find_sound(path)
        if found is not None and found.missing:
            raise _truncated(path, f"{found.present} of {found.stated} bytes of sound")
        with open_corrected(path, found) as file, soundfile.SoundFile(file) as sound:
            if sound.frames <= _MOST_FRAMES:
                check_size("samples", sound.frames * sound.channels, str(path))
                yield sound, "" if found is None else found.note
                return
    yield None, "does not state its length, so a loss at its end would go unseen"


def _truncated(path: Path, share: str) -> DataError:
    return DataError([Problem(str(path), f"is truncated: it holds {share} that its header promises", "copy it again")])
