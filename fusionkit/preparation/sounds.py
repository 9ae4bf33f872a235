"""The sound of a clip: from files and decoded frames to 16-bit samples of one rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.errors import DataError, Problem

Samples = np.ndarray[tuple[int, ...], np.dtype[Any]]

_DTYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}
"""What a sample is in memory, by libav's name of the format."""

FULL_SCALE = 32768
"""What a sample of 1.0 is stored as; -1.0 ... 1.0 is what loading gives again."""

_PATCHED = 0.05
"""Seconds without sound inside a film from which on they are filled with silence; less is rounding of time stamps."""

_LONGEST_PATCH = 10.0
"""Seconds; as with frames, time stamps that jump further are not believed."""


def resampled(wave: Tensor, own_rate: int, rate: int) -> Tensor:
    """A wave at another rate, by windowed sinc interpolation."""
    if own_rate == rate or not len(wave):
        return wave
    changed: Tensor = _resampler(own_rate, rate)(wave)
    return changed


@lru_cache(maxsize=8)
def _resampler(own_rate: int, rate: int) -> Any:
    from torchaudio.transforms import Resample

    return Resample(own_rate, rate)  # its filter is computed once, which takes longer than a short film's sound


def to_int16(wave: Tensor) -> tuple[Tensor, int]:
    r"""A wave as 16-bit samples, and how many were beyond full scale.

    .. math::
        y = \min(\max(\mathrm{round}(32768\, x), -32768), 32767)

    Halves are rounded to the even neighbour. The error is half a step at most, 96 dB below full scale; what is louder
    than full scale is clipped.

    Example:
        >>> to_int16(torch.tensor([0.0, 0.5, -1.0, 1.5]))
        (tensor([     0,  16384, -32768,  32767], dtype=torch.int16), 1)
    """
    scaled = (wave * FULL_SCALE).round()
    beyond = int((scaled.abs() > FULL_SCALE).sum())
    return scaled.clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16), beyond


def to_float(samples: Tensor) -> Tensor:
    """16-bit samples as a wave in -1..1."""
    return samples.to(torch.float32).div_(FULL_SCALE)


@dataclass
class _Run:
    """Decoded frames that follow each other and are alike in channels, planes and type: their planes of samples."""

    kind: tuple[int, int, np.dtype[Any]]
    frames: list[list[Samples]]


class SoundTrack:
    """The sound of a film, put together from its decoded frames: the mean of its channels.

    Frames are kept in the decoder's own memory as they come, dozens to a second, and converted all at once.
    """

    def __init__(self) -> None:
        self.rate: int | None = None
        self.start: float | None = None
        self.patched = 0.0
        self._tick = 0.0
        self._runs: list[_Run] = []
        self._length = 0

    def add(self, frame: Any) -> None:
        """Adds a decoded frame, after silence where the film has none before it.

        Raises:
            DataError: The sound changes its rate within the film.
        """
        if self.rate is None:
            self.rate = int(frame.sample_rate)
            self._tick = float(frame.time_base or 0)
            self.start = None if frame.pts is None else frame.pts * self._tick
        elif frame.sample_rate != self.rate:
            raise DataError([Problem("", f"its sound changes from {self.rate} to {frame.sample_rate} samples/s")])
        if frame.pts is not None and self.start is not None:
            gap = frame.pts * self._tick - self.start - self._length / self.rate
            if _PATCHED < gap < _LONGEST_PATCH:
                missing = round(gap * self.rate)
                self._append([np.zeros(missing, np.float32)], missing, channels=1)
                self.patched += gap
        channels, dtype = frame.layout.nb_channels, _DTYPES[frame.format.packed.name]
        length = frame.samples if frame.format.is_planar else frame.samples * channels
        planes = [np.frombuffer(plane, dtype, length) for plane in frame.planes]
        self._append(planes, frame.samples, channels=channels)

    def wave(self, rate: int) -> Tensor:
        """All of it, resampled, ``(samples,)`` float32."""
        if self.rate is None:
            return torch.zeros(0)
        return resampled(torch.cat([_mono(run) for run in self._runs]), self.rate, rate)

    def _append(self, planes: list[Samples], length: int, *, channels: int) -> None:
        kind = (channels, len(planes), planes[0].dtype)
        last = self._runs[-1] if self._runs else None
        if last is None or last.kind != kind:
            last = _Run(kind, [])
            self._runs.append(last)
        last.frames.append(planes)
        self._length += length


def _mono(run: _Run) -> Tensor:
    """The mean of the channels of decoded frames, in -1..1."""
    channels, planes, dtype = run.kind
    values = np.stack([np.concatenate([frame[plane] for frame in run.frames]) for plane in range(planes)])
    if planes < channels:  # the channels of a sample stand side by side
        values = values.reshape(-1, channels).T
    mean = values.mean(axis=0, dtype=np.float32 if dtype.itemsize < 4 else np.float64)
    if values.dtype.kind == "u":
        mean = (mean - 128) / 128
    elif values.dtype.kind == "i":
        mean = mean / 2.0 ** (8 * values.dtype.itemsize - 1)
    return torch.from_numpy(mean.astype(np.float32))


def aligned(wave: Tensor, late: float, rate: int) -> Tensor:
    """A wave whose beginning comes so many seconds after the picture's: silence before it, or cut where it is early."""
    samples = round(late * rate)
    return torch.cat([torch.zeros(samples), wave]) if samples > 0 else wave[-samples:]
