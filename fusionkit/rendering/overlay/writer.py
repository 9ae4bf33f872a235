"""A film that is written while it is drawn: H.264 and AAC, every frame at its own time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fusionkit.errors import RunError

_CLOCK = Fraction(1, 90_000)
"""Seconds of a tick, fine enough for all rates of films."""

_OPTIONS = {"preset": "veryfast", "crf": "20"}


class OverlayWriter:
    """Writes a film, which appears under its name once it is whole.

    Args:
        path: The film, ``.mp4``, ``.mov`` or ``.mkv``.
        size: Width and height of its frames; even.
        rate: Frames per second, about; time stamps say it exactly.
        sound_rate: Samples per second of its sound; None without one.

    Raises:
        RunError: It cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction, sound_rate: int | None) -> None:
        import av

        self._path, self._part = path, path.with_name(f".{path.stem}.part{path.suffix}")
        self._sound: Any = None
        self._resampler: Any = None
        self._waiting: Any = None
        try:
            with self._name_errors():
                self._film: Any = av.open(str(self._part), "w")
                self._add_streams(size, rate, sound_rate)
        except RunError:
            self._part.unlink(missing_ok=True)
            raise
        if self._sound is not None:
            self._resampler = av.AudioResampler("fltp", "mono", self._sound.codec_context.sample_rate)
            self._waiting = av.AudioFifo()
        self._last, self._heard = -1, 0
        self._early: int | None = None  # samples before the picture, which are not written; not known before the first

    def _add_streams(self, size: tuple[int, int], rate: Fraction, sound_rate: int | None) -> None:
        self._picture = self._film.add_stream("libx264", rate=max(rate, Fraction(1)), options=_OPTIONS)
        self._picture.width, self._picture.height = size
        self._picture.pix_fmt = "yuv420p"
        self._picture.time_base = self._picture.codec_context.time_base = _CLOCK
        if sound_rate is not None:
            self._sound = self._film.add_stream("aac", rate=_choose_rate(sound_rate), layout="mono")
        self._film.start_encoding()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._name_errors():
                if kind is None:
                    self._finish()
                self._film.close()
                if kind is None:
                    self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    @contextmanager
    def _name_errors(self) -> Iterator[None]:
        import av

        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{self._path}: cannot be written ({reason})") from error

    def add_frame(self, image: np.ndarray, at: float) -> None:
        """Adds a frame ``(height, width, 3)`` uint8 at its seconds; one that is not later than the last is left out."""
        import av

        tick = round(at / _CLOCK)
        if tick <= self._last:
            return
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base, self._last = tick, _CLOCK, tick
        with self._name_errors():
            self._film.mux(self._picture.encode(frame))

    def add_sound(self, frame: Any, at: float) -> None:
        """Adds a decoded frame of sound; what lies before the picture is cut, and time without sound is silence."""
        import av

        if self._sound is None:
            return
        missing = round(at * self._sound.codec_context.sample_rate) - self._heard - self._waiting.samples
        if self._early is None:
            self._early = max(0, -missing)
        if missing > _PATCHED * self._sound.codec_context.sample_rate:
            nothing = av.AudioFrame.from_ndarray(np.zeros((1, missing), np.float32), format="fltp", layout="mono")
            nothing.sample_rate = self._sound.codec_context.sample_rate
            self._waiting.write(nothing)
        frame.pts = None
        self._resample(frame)
        with self._name_errors():
            self._encode_waiting(whole=False)

    def _finish(self) -> None:
        self._film.mux(self._picture.encode(None))
        if self._sound is not None:
            self._resample(None)
            self._encode_waiting(whole=True)
            self._film.mux(self._sound.encode(None))

    def _resample(self, frame: Any) -> None:
        for part in self._resampler.resample(frame):
            part.pts = None
            self._waiting.write(part)
        if self._early and self._waiting.samples:
            self._early -= self._waiting.read(min(self._early, self._waiting.samples)).samples

    def _encode_waiting(self, *, whole: bool) -> None:
        rate = self._sound.codec_context.sample_rate
        for part in self._waiting.read_many(self._sound.codec_context.frame_size or 1024, partial=whole):
            part.pts, part.time_base = self._heard, Fraction(1, rate)
            self._heard += part.samples
            self._film.mux(self._sound.encode(part))


_PATCHED = 0.05
"""Seconds without sound from which on silence is put there."""

_AAC_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


def _choose_rate(rate: int) -> int:
    """Chooses the rate of AAC that is next to a sound's."""
    return min(_AAC_RATES, key=lambda known: abs(known - rate))
