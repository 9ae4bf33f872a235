"""Cameras and microphones, and files and addresses that stand for them, as frames with their times."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any, Literal

from fusionkit.data.films.frames import read_pixel_aspect
from fusionkit.data.readers.decoder import SELF_CONTAINED
from fusionkit.data.readers.files import name_errors
from fusionkit.errors import DataError, Problem

Kind = Literal["camera", "microphone"]

NONE = "none"
"""Name of no device."""

_FORMATS = {"linux": ("v4l2", "alsa"), "darwin": ("avfoundation", "avfoundation"), "win32": ("dshow", "dshow")}
_DEFAULTS = {"linux": ("/dev/video0", "default"), "darwin": ("0", ":0"), "win32": ("video=0", "audio=0")}
_LISTS = {
    "linux": "`v4l2-ctl --list-devices` and `arecord -L` list them",
    "darwin": "`ffmpeg -f avfoundation -list_devices true -i ''` lists them",
    "win32": "`ffmpeg -f dshow -list_devices true -i dummy` lists them",
}

_PATIENCE = 10.0
"""Seconds that an address may take to answer."""


class Clock:
    """Seconds since the beginning of a live recording."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def now(self) -> float:
        """Returns the seconds."""
        return time.monotonic() - self._start


@dataclass(frozen=True)
class Signal:
    """Something that a source gives.

    Args:
        modality: The modality.
        at: Seconds of the first element.
        elements: The elements, as `LiveStream.push` takes them.
        origin: Where it comes from, for messages.
    """

    modality: str
    at: float
    elements: Any
    origin: str


def name_default(kind: Kind) -> str:
    """Names the device that this system takes where none is named."""
    return _DEFAULTS.get(sys.platform, _DEFAULTS["linux"])[kind == "microphone"]


class Device:
    """A camera or a microphone.

    Args:
        kind: Which of both.
        name: Its name in this system: ``/dev/video0`` and ``default`` of Linux (v4l2, alsa), ``0`` and ``:0`` of macOS
            (avfoundation), ``video=NAME`` and ``audio=NAME`` of Windows (dshow); or a file or an address, which is
            played at its own pace.
        modality: The modality that it gives.

    Raises:
        DataError: It cannot be opened, or gives no picture or no sound.
    """

    def __init__(self, kind: Kind, name: str, modality: str) -> None:
        self.kind, self.name, self.modality = kind, name, modality
        self._container = self._open()
        streams = self._container.streams.video if kind == "camera" else self._container.streams.audio
        self._stream: Any = next(iter(streams), None)
        if self._stream is None or self._stream.codec_context is None:
            self._container.close()
            what = "picture" if kind == "camera" else "sound"
            raise DataError([Problem(f"{kind} {name}", f"gives no {what}", f"name another one, or `{NONE}`")])

    @property
    def rate(self) -> float:
        """Frames or samples per second."""
        if self.kind == "microphone":
            return float(self._stream.codec_context.sample_rate)
        stated = float(self._stream.average_rate or self._stream.base_rate or 0)
        return stated if 0 < stated <= 1000 else 30.0

    @property
    def pixel_aspect(self) -> Fraction:
        """The width of a camera's pixels by their height."""
        return read_pixel_aspect(self._stream) if self.kind == "camera" else Fraction(1)

    def read(self, clock: Clock, stop: Event) -> Iterator[Signal]:
        """Yields frames as they come, until there are no more.

        The first one with a stamp is of the time when it comes, the others of their own stamps behind it, so sources of
        different clocks agree. One without a stamp is of the time when it comes. What comes before its time, as out of
        a file, waits for it.

        Args:
            clock: The time of the recording.
            stop: Ends the reading.

        Raises:
            DataError: The device fails on the way.
        """
        begin: tuple[float, float] | None = None
        place = f"{self.kind} {self.name}"
        try:
            with name_errors(place, "fails", remedy=""):
                for frame in self._container.decode(self._stream):
                    if stop.is_set():
                        return
                    stamp = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else None
                    at = clock.now()
                    if stamp is not None:  # a first frame without a stamp says nothing of the clock of those behind it
                        begin = begin or (at, stamp)
                        at = begin[0] + stamp - begin[1]
                    wait_until(at, clock, stop)
                    elements = [frame] if self.kind == "camera" else _read_samples(frame)
                    yield Signal(self.modality, at, elements, place)
        except DataError:
            if not stop.is_set():
                raise
        finally:
            self._container.close()

    def _open(self) -> Any:
        import av

        option = f"name another one with --{self.kind}, or `--{self.kind} {NONE}`"
        remedy = f"{option}; {_LISTS.get(sys.platform, '')}"
        with name_errors(f"{self.kind} {self.name}", "cannot be opened", remedy):
            if "://" in self.name:
                return av.open(self.name, timeout=_PATIENCE)
            if Path(self.name).is_file():
                return av.open(f"file:{self.name}", options=dict(SELF_CONTAINED))
            formats = _FORMATS.get(sys.platform, _FORMATS["linux"])
            return av.open(self.name, format=formats[self.kind == "microphone"])


def wait_until(at: float, clock: Clock, stop: Event) -> None:
    """Waits until it is so late, or the reading is stopped."""
    early = at - clock.now()
    if early > 0:
        stop.wait(early)


def _read_samples(frame: Any) -> Any:
    """Reads a block of sound, ``(samples, channels)`` in -1..1."""
    import numpy as np

    from fusionkit.data.readers.sound.tracks import SoundTrack

    track = SoundTrack()
    track.add(frame)
    return np.array(track.finish().numpy())


Tell = Callable[[str], None]
"""Receiver of sentences for the user."""
