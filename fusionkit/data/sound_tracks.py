"""Decoded frames of sound to one wave of one rate."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.errors import DataError, Problem

Samples = np.ndarray[tuple[int, ...], np.dtype[Any]]

_DTYPES = {
    name: np.dtype(code)
    for name, code in {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}.items()
}
"""What a sample is in memory, by libav's name of the format."""

_FIRST_ROOM = 1 << 20
"""Samples that fit before more memory is asked for, 20 s and more. What no sample is written to costs nothing."""

_FRAMES_AT_ONCE = 16
"""Decoded frames that become samples together."""

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


class SoundTrack:
    """The sound of a film, put together from its decoded frames: the mean of its channels.

    Frames, dozens to a second, become a wave some at a time: one by one, between images that are decoded, each would
    find nothing of the code that does it in the processor's cache.
    """

    def __init__(self) -> None:
        self.rate: int | None = None
        self.start: float | None = None
        self.patched = 0.0
        self._tick = 0.0
        self._waiting: list[Any] = []
        self._wave: Samples = np.empty(_FIRST_ROOM, np.float32)
        self._length = self._written = 0

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
                self._write_waiting()
                missing = round(gap * self.rate)
                self._next(missing).fill(0)
                self._length += missing
                self.patched += gap
        self._waiting.append(frame)
        self._length += frame.samples
        if len(self._waiting) == _FRAMES_AT_ONCE:
            self._write_waiting()

    def wave(self, rate: int) -> Tensor:
        """All of it, resampled, ``(samples,)`` float32. No more can be added."""
        if self.rate is None:
            return torch.zeros(0)
        self._write_waiting()
        return resampled(torch.from_numpy(self._wave[: self._length]), self.rate, rate)

    def _write_waiting(self) -> None:
        for frame in self._waiting:
            channels, samples, form = frame.layout.nb_channels, frame.samples, frame.format
            dtype = _DTYPES[form.packed.name]
            if form.is_planar:
                values = [np.frombuffer(plane, dtype, samples) for plane in frame.planes]
            else:  # the channels of a sample stand side by side
                values = list(np.frombuffer(frame.planes[0], dtype, samples * channels).reshape(-1, channels).T)
            _write_mean(values, self._next(samples))
        self._waiting.clear()

    def _next(self, samples: int) -> Samples:
        """Room for so many samples after those that are written."""
        first, self._written = self._written, self._written + samples
        if self._written > len(self._wave):
            self._wave.resize(max(self._written, 2 * len(self._wave)), refcheck=False)  # in place where the system can
        return self._wave[first : self._written]


def _write_mean(channels: list[Samples], mean: Samples) -> None:
    """The mean of channels, in -1..1."""
    number, dtype = len(channels), channels[0].dtype
    is_short = dtype.itemsize < np.dtype(np.float32).itemsize
    # The float32 mean of two float32 is rounded once, as that of their float64 sum.
    exact = np.float32 if is_short or (dtype == np.float32 and number <= 2) else np.float64
    total = channels[0]
    for channel in channels[1:]:
        total = np.add(total, channel, dtype=exact)
    full_scale = 1.0 if dtype.kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
    if dtype.kind == "u":
        total = np.subtract(total, number * full_scale, dtype=exact)
    np.divide(total, number * full_scale, out=mean, dtype=exact, casting="same_kind")
