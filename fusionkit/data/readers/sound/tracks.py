"""Decoded frames of sound to one wave of one rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.readers.limits import check_size

Samples = np.ndarray[tuple[int, ...], np.dtype[Any]]

_DTYPES = {
    name: np.dtype(code)
    for name, code in {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}.items()
}
"""Types of samples in memory, by libav's name of the format."""

_FIRST_ROOM = 1 << 20
"""Samples that fit before more memory is asked for, 20 s and more. What no sample is written to costs nothing."""

_FRAMES_AT_ONCE = 16
"""Decoded frames that become samples together."""

_PATCHED = 0.05
"""Seconds without sound inside a film from which on they are filled with silence; less is rounding of time stamps."""

_LONGEST_PATCH = 10.0
"""Seconds; as with frames, time stamps that jump further are not believed."""


_TOLD = 3
"""Changes of a sound that are told one by one."""


_LARGEST_TABLE = 1 << 24
"""Numbers of the table by which torchaudio resamples; that from 44,101 to 16,000 Hz would have 700 million."""

_LARGEST_STEP = 1 << 20
"""Rates above a million without a common divisor are taken for the nearest that have one."""

_CROSSINGS, _ROLLOFF = 6, 0.99
"""Zero crossings of the sinc on each side, and the share of the band that is kept: torchaudio's defaults."""


def resample(wave: Tensor, own_rate: int, rate: int) -> Tensor:
    r"""Resamples a wave to another rate, by windowed sinc interpolation.

    .. math::
        y_j = \sum_k x_k \, c \, \mathrm{sinc}(t_{jk}) \cos^2(\pi t_{jk} / 12),
        \quad t_{jk} = c \, (k - j r), \quad |t_{jk}| < 6

    where r is the old rate by the new one, and c is 0.99, or 0.99 / r where the new rate is lower. torchaudio keeps all
    weights in a table, whose size is the product of the rates by their common divisor. Where that is too large, the
    weights are taken from one finely sampled filter instead.

    Args:
        wave: The wave, ``(length,)``.
        own_rate: Its samples per second.
        rate: Those of the result, which has ``ceil(length * rate / own_rate)`` samples.
    """
    if own_rate == rate or not len(wave):
        return wave
    ratio = Fraction(own_rate, rate)
    if ratio.numerator * ratio.denominator <= _LARGEST_TABLE:
        changed: Tensor = _make_resampler(own_rate, rate)(wave)
        return changed
    return _interpolate(wave, ratio, math.ceil(len(wave) * rate / own_rate))


@lru_cache(maxsize=8)
def _make_resampler(own_rate: int, rate: int) -> Any:
    from torchaudio.transforms import Resample

    return Resample(own_rate, rate)  # its filter is computed once, which takes longer than a short film's sound


def _interpolate(wave: Tensor, ratio: Fraction, length: int) -> Tensor:
    from scipy.signal import upfirdn

    if max(ratio.numerator, ratio.denominator) > _LARGEST_STEP:
        ratio = ratio.limit_denominator(max(1, int(_LARGEST_STEP / max(1.0, float(ratio)))))
    down, up = ratio.numerator, ratio.denominator
    scale = _ROLLOFF * min(1.0, up / down)
    reach = math.ceil(_CROSSINGS * up / scale)
    ahead = reach + -reach % down  # so that the first sample of the result is one that is computed
    t = np.arange(-ahead, reach + 1) * scale / up
    weights = np.where(abs(t) < _CROSSINGS, scale * np.sinc(t) * np.cos(np.pi * t / (2 * _CROSSINGS)) ** 2, 0.0)
    found = upfirdn(weights, wave.numpy(), up, down)[ahead // down :][:length]
    return torch.from_numpy(np.pad(found, (0, length - len(found))).astype(np.float32))


@dataclass(frozen=True)
class Sound:
    """A sound that was read, and its departures from a plain one.

    Args:
        wave: The mean of its channels in -1..1, ``(length,)`` float32.
        rate: Samples per second of the file; of one that changes on the way, at its beginning.
        channels: Channels at its beginning.
        losses: What is missing of it, in words; nothing of a whole one.
        departures: What else is worth a word, each with its kind.
    """

    wave: Tensor
    rate: int
    channels: int
    losses: tuple[str, ...] = ()
    departures: tuple[tuple[str, str], ...] = ()


class SoundTrack:
    """The sound of a film or file, put together from its decoded frames: the mean of its channels.

    A sound may change on the way, as one that was joined of several does. Its channels are averaged whatever their
    number, and what comes at another rate is resampled to the first, so all of it is heard at its own speed.

    Frames, dozens to a second, become a wave some at a time: one by one, between images that are decoded, each would
    find nothing of the code that does it in the processor's cache.

    Args:
        place: The file, for errors.
    """

    def __init__(self, place: str = "") -> None:
        self._place = place
        self.rate: int | None = None
        self.channels = 0
        self.start: float | None = None
        self.patched = 0.0
        self._changes: list[str] = []
        self._form = (0, 0)  # rate and channels of the last frame
        self._parts: list[tuple[int, int]] = []  # where parts of one rate begin, and that rate
        self._before = 0.0  # seconds of the parts before the last
        self._origin: float | None = None
        self._waiting: list[Any] = []
        self._wave: Samples = np.empty(_FIRST_ROOM, np.float32)
        self._length = self._written = 0

    def add(self, frame: Any) -> None:
        """Adds a decoded frame, after silence where the film has none before it.

        Raises:
            DataError: It has more samples than the limit.
        """
        form = (int(frame.sample_rate), int(frame.layout.nb_channels))
        at = None if frame.pts is None else frame.pts * float(frame.time_base or 0)
        if self.rate is None:
            self.rate, self.channels = form
            self.start = self._origin = at
            self._parts.append((0, form[0]))
        elif form != self._form:
            self._change(form, at)
        self._form = form
        if at is not None:
            if self._origin is None:
                self._origin = at - self._seconds
            gap = at - self._origin - self._seconds
            if _PATCHED < gap < _LONGEST_PATCH:
                # What waits comes before the silence.
                self._write_waiting()
                missing = round(gap * form[0])
                self._make_room(missing).fill(0)
                self._length += missing
                self.patched += gap
        self._waiting.append(frame)
        self._length += frame.samples
        if len(self._waiting) == _FRAMES_AT_ONCE:
            self._write_waiting()

    def join(self) -> None:
        """Says that the next frame begins another file, which counts its time anew."""
        self._origin = None

    def finish(self, rate: int | None = None) -> Tensor:
        """Returns all of it, resampled to a rate, or its own first one, ``(samples,)`` float32. No more can be added.

        Raises:
            DataError: It would have more samples than the limit.
        """
        if self.rate is None:
            return torch.zeros(0)
        self._write_waiting()
        whole = torch.from_numpy(self._wave[: self._length])
        if len(self._parts) > 1:
            ends = [*(start for start, _ in self._parts[1:]), self._length]
            parts = zip(self._parts, ends, strict=True)
            whole = torch.cat([resample(whole[start:end], own, self.rate) for (start, own), end in parts])
        if rate is None:
            return whole
        check_size("samples", math.ceil(len(whole) * rate / self.rate), self._place)
        return resample(whole, self.rate, rate)

    @property
    def departures(self) -> tuple[tuple[str, str], ...]:
        """Faults of the track, each with its kind."""
        found = [("sound changes", f"its sound changes {change}") for change in self._changes[:_TOLD]]
        if len(self._changes) > _TOLD:
            found.append(("sound changes", f"its sound changes {len(self._changes)} times altogether"))
        if self.patched:
            found.append(("gaps in sound", f"lacks {self.patched:.2f} s of sound in between: silence was put there"))
        return tuple(found)

    @property
    def _seconds(self) -> float:
        start, rate = self._parts[-1]
        return self._before + (self._length - start) / rate

    def _change(self, form: tuple[int, int], at: float | None) -> None:
        texts = []
        if form[0] != self._form[0]:
            texts.append(f"from {self._form[0]} to {form[0]} samples/s")
        if form[1] != self._form[1]:
            texts.append(f"from {self._form[1]} to {count_in_words(form[1], 'channel')}")
        self._changes.append(f"{' and '.join(texts)} after {self._seconds:.2f} s")
        if form[0] != self._form[0]:
            self._before = self._seconds
            self._parts.append((self._length, form[0]))
            # Some formats store no time, and what libav counts up instead is wrong from here on.
            self._origin = None if at is None else at - self._before

    def _write_waiting(self) -> None:
        for frame in self._waiting:
            channels, samples, form = frame.layout.nb_channels, frame.samples, frame.format
            dtype = _DTYPES[form.packed.name]
            if form.is_planar:
                # PyAV counts planes up to a null pointer, which does not follow those of eight channels.
                values = [np.frombuffer(plane, dtype, samples) for plane in frame.planes[:channels]]
            else:  # the channels of a sample stand side by side
                values = list(np.frombuffer(frame.planes[0], dtype, samples * channels).reshape(-1, channels).T)
            _write_mean(values, self._make_room(samples))
        self._waiting.clear()

    def _make_room(self, samples: int) -> Samples:
        """Makes room for so many samples after those that are written."""
        first, self._written = self._written, self._written + samples
        if self._written > len(self._wave):
            check_size("samples", self._written, self._place)
            self._wave.resize(max(self._written, 2 * len(self._wave)), refcheck=False)  # in place where the system can
        return self._wave[first : self._written]


def _write_mean(channels: list[Samples], mean: Samples) -> None:
    """Writes the mean of channels, in -1..1."""
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


def count_in_words(number: int, noun: str) -> str:
    """Returns a number of things in words: ``1 part``, ``2 parts``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
