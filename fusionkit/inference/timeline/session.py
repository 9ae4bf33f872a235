"""A live recording: sources that are read side by side, and an answer every so many seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from threading import Event

from fusionkit.data.live.devices import Clock, Signal, Tell
from fusionkit.data.live.mailbox import Reading
from fusionkit.errors import DataError, ShapeError
from fusionkit.inference.timeline.live import LiveStream
from fusionkit.inference.timeline.records import Instant

_STALLED = 1.0
"""Seconds without anything new after which the window goes on with the clock, so that what is old leaves it."""

_PAUSE = 0.01
"""Seconds to wait where nothing has come."""

_PARTING = 0.5
"""Seconds that a source has to end; one that waits for its device is left behind."""

_TOLD = 5
"""Sentences that are told one by one of each source."""


class LiveSession:
    """Pushes what sources give into a stream, and answers every so many seconds.

    A signal that cannot be used is told and passed over, and so is a source that fails. Where the network is busy,
    the oldest signals that wait are dropped and counted; it does not fall behind further than they last.

    Args:
        stream: What answers.
        every: Seconds from one answer to the next.
        clock: The time of the recording.
        tell: Told what is wrong, in sentences.
    """

    def __init__(self, stream: LiveStream, every: float, clock: Clock, tell: Tell) -> None:
        self._stream, self._every, self._clock, self._tell = stream, every, clock, tell
        self.stop = Event()
        self.answers = 0
        self._problems: dict[str, int] = {}
        self._readings: Sequence[Reading] = ()

    @property
    def problems(self) -> int:
        """Signals and sources that could not be used."""
        return sum(self._problems.values())

    @property
    def dropped(self) -> dict[str, int]:
        """Signals that were dropped since the network was busy, by source that has some."""
        return {each.name: each.mailbox.dropped for each in self._readings if each.mailbox.dropped}

    def run(self, readings: Sequence[Reading], seconds: float | None = None) -> Iterator[Instant]:
        """Yields answers until all sources have ended.

        Args:
            readings: The sources, which it starts.
            seconds: When it ends at the latest.
        """
        self._readings = readings
        failed = set[str]()
        for each in readings:
            each.start()
        due, waits = self._every, False
        try:
            while True:
                # Asked before signals are taken, so that the last ones of a source are not lost.
                ended = not any(each.goes_on for each in readings)
                took = self._take()
                waits = waits or took
                for each in readings:
                    if each.failure is not None and each.name not in failed:
                        failed.add(each.name)
                        self.tell_problem(each.name, f"{each.failure}; it goes on without")
                now = self._clock.now()
                over = ended or (seconds is not None and now >= seconds)
                if now >= due or (over and waits):
                    due, waits = (math.floor(now / self._every) + 1) * self._every, False
                    if any(self._stream.counts.values()):
                        yield self._answer(now)
                if over:
                    return
                if not took:
                    self.stop.wait(_PAUSE)
        finally:
            self.stop.set()
            for each in readings:
                each.join(_PARTING)

    def tell_problem(self, origin: str, sentence: str) -> None:
        """Tells what is wrong with a source, unless enough was told of it."""
        count = self._problems[origin] = self._problems.get(origin, 0) + 1
        if count <= _TOLD:
            more = " (more of these are counted only)" if count == _TOLD else ""
            self._tell(f"{sentence}{more}")

    def _take(self) -> bool:
        signals = [(each, signal) for each in self._readings for signal in each.mailbox.take()]
        for reading, signal in sorted(signals, key=lambda of: of[1].at):
            self._push(reading.name, signal)
        return bool(signals)

    def _push(self, source: str, signal: Signal) -> None:
        try:
            self._stream.push(signal.modality, signal.elements, at=signal.at)
        except (DataError, ShapeError) as error:
            self.tell_problem(source, f"{signal.origin}: {error}; passed over")

    def _answer(self, now: float) -> Instant:
        newest = self._stream.newest
        # A network that is busy is late, so the clock is no end of a window whose signals still wait.
        at = newest if newest is None or now - newest < _STALLED else now
        self.answers += 1
        return Instant(round(now, 3), self._stream.predict(at=at))
