"""Sound files (wav, flac, and compressed ones) to waves, with damage detected."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from fusionkit.data.compressed_audio import COMPRESSED_SUFFIXES, decode_compressed
from fusionkit.errors import DataError, Problem

AUDIO_SUFFIXES = frozenset({".wav", ".flac"}) | COMPRESSED_SUFFIXES

_UNKNOWN_SIZE = 0xFFFFFFFF
# libsndfile gives the largest number of 64 bits where a header leaves the length open.
_MOST_FRAMES = 2**62


@dataclass(frozen=True)
class AudioHeader:
    """What a sound file's header promises.

    Args:
        frames: Samples of each channel.
        rate: Samples per second.
        channels: Channels.
    """

    frames: int
    rate: int
    channels: int

    def length_at(self, rate: int | None) -> int:
        """Samples after resampling to a rate; None keeps the file's own."""
        return self.frames if rate is None else math.ceil(self.frames * rate / self.rate)


def read_header(path: Path) -> AudioHeader:
    """Reads the header of a sound file; a compressed one is decoded, since no header states its exact length.

    Raises:
        DataError: The file is missing, no sound file, a wav that ends before its header says, or a flac that states no
            length.
    """
    import soundfile

    if not path.is_file():
        raise DataError([Problem(str(path), "no such file")])
    if path.suffix.lower() in COMPRESSED_SUFFIXES:
        decoded, own = decode_compressed(path)
        return AudioHeader(decoded.shape[1], own, len(decoded))
    if path.suffix.lower() == ".wav":
        _check_wav_is_whole(path)
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise DataError([Problem(str(path), f"cannot be read as sound ({_reason(error)})")]) from error
    if info.frames > _MOST_FRAMES:
        remedy = "encode it into a file instead of a pipe, which writes the length into its header"
        raise DataError([Problem(str(path), "does not state its length, so damage could not be detected", remedy)])
    return AudioHeader(int(info.frames), int(info.samplerate), int(info.channels))


def read_audio(path: Path, *, rate: int | None = None) -> Tensor:
    """Reads a sound file as one wave in -1..1: several channels are averaged, and resampled if need be.

    Args:
        path: The file.
        rate: Samples per second to resample to (windowed sinc interpolation); None keeps the file's own.

    Returns:
        The wave, ``(length,)`` float32.

    Raises:
        DataError: The file is missing, damaged, shorter than its header says, or holds numbers that are not finite.
    """
    channels, own = decode_compressed(path) if path.suffix.lower() in COMPRESSED_SUFFIXES else _read_plain(path)
    wave = channels.mean(dim=0)
    if rate is not None and rate != own:
        from torchaudio.functional import resample

        wave = resample(wave, own, rate)
    return wave


def _read_plain(path: Path) -> tuple[Tensor, int]:
    """The channels of a wav or flac file, and samples per second."""
    import soundfile

    header = read_header(path)
    try:
        frames, _ = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError([Problem(str(path), f"is damaged ({_reason(error)})", "copy it again")]) from error
    if len(frames) != header.frames:
        raise _truncated(path, f"{len(frames)} of {header.frames} samples")
    return torch.from_numpy(frames).T, header.rate


def _check_wav_is_whole(path: Path) -> None:
    """Compares the size in the header with the bytes in the file: libsndfile reads half a wav without a word."""
    with path.open("rb") as file:
        promised = _promised_bytes(file)
        if promised is None:
            return
        start = file.tell()
        present = file.seek(0, 2) - start
    if present < promised:
        raise _truncated(path, f"{present} of {promised} bytes of sound")


def _promised_bytes(file: BinaryIO) -> int | None:
    """The size that the header gives its data chunk, with the file at that chunk; None where it gives none."""
    form, _, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if form not in (b"RIFF", b"RF64") or kind != b"WAVE":
        return None
    long_size = None
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            # A recorder that writes into a pipe leaves the size open.
            return long_size if size == _UNKNOWN_SIZE else size
        chunk = file.read(size + size % 2)
        if name == b"ds64" and len(chunk) >= 16:
            long_size = struct.unpack("<Q", chunk[8:16])[0]
    return None


def _truncated(path: Path, share: str) -> DataError:
    return DataError([Problem(str(path), f"is truncated: it holds {share} that its header promises", "copy it again")])


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")
