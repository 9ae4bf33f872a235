"""Frames of any rate to frames of one rate, by their time stamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, TypeVar

Read = TypeVar("Read")

LONGEST_GAP = 10
"""Seconds between two frames above which the time stamps are not believed: some jump by hours in a broken stream."""

_ASSUMED_RATE = Fraction(25)
_VARYING = 1.5
"""Ratio of the longest to the shortest time between two frames above which a film's rate varies."""


class Pace:
    r"""Gives every frame as often as instants of the wanted rate are nearest to it.

    .. math::
        y_n = x_{\arg\min_i |t_i - n / r|}, \qquad n = 0, \ldots, \mathrm{round}(T r) - 1

    :math:`t_i` are the frames' time stamps from the first frame on, of two that are equally near the earlier counts,
    and T is the end of the last frame. So a film of the wanted rate passes as it is, frames are repeated where they
    were dropped or come seldom, and left out where they come too often. A frame whose stamp is missing or not later
    than the one before is taken to follow it by one frame's time; so is one that is more than ten seconds late.

    Args:
        rate: Frames per second that are wanted.
        own_rate: Frames per second that the film states; None where it states none.

    Example:
        >>> from types import SimpleNamespace
        >>> frames = [SimpleNamespace(pts=pts, dts=None, duration=1, time_base=Fraction(1, 10)) for pts in (0, 1, 4)]
        >>> list(Pace(10, None)(frames, read=lambda frame: frame.pts))
        [(0, 1), (1, 2), (4, 2)]
    """

    def __init__(self, rate: float, own_rate: Fraction | None) -> None:
        self._rate = Fraction(rate).limit_denominator(1_000_000)
        self._own_rate = own_rate or _ASSUMED_RATE
        self._states_rate = bool(own_rate)
        self.start: Fraction | None = None
        self.given = self.frames = 0
        self._mended = self._jumps = 0
        self._shift = 0
        self._gaps: tuple[int, int] | None = None
        self._time_base = Fraction(1)
        self._instants, self._ticks = 1, 1  # so many instants of the wanted rate in so many ticks
        self._longest = 1

    def __call__(self, frames: Iterable[Any], read: Callable[[Any], Read]) -> Iterator[tuple[Read, int]]:
        """Yields what is read of every frame, with how often it is to be taken.

        Args:
            frames: Decoded frames.
            read: What is kept of a frame. It is called as soon as the frame comes, before it is known how often the
                frame is taken: its pixels are in the processor's cache then, and the decoder has its memory back.
        """
        before: tuple[Read, int] | None = None  # what was read, and how long the frame lasts
        then = 0
        # A frame waits until the film is known to last as long as its last instant asks for: T only grows.
        waiting: deque[tuple[Read, int]] = deque()
        for frame in frames:
            at = self._place(frame, None if before is None else then)
            if before is not None:
                waiting.append((before[0], self._count_instants_before(then + at)))
            while waiting and waiting[0][1] <= self._count_instants(at):
                first, total = waiting.popleft()
                yield first, self._give_up_to(total)
            before, then = (read(frame), self._find_period(frame)), at
            self.frames += 1
        if before is None:
            return
        last = max(1, self._count_instants(then + before[1]))
        for first, total in waiting:
            yield first, self._give_up_to(min(total, last))
        yield before[0], self._give_up_to(last)

    @property
    def departures(self) -> list[tuple[str, str]]:
        """Faults of the time stamps, each with its kind, once all frames were given."""
        found = []
        if self._mended:
            period = f"{float(1 / self._own_rate):.3f} s" + ("" if self._states_rate else " (assumed)")
            sentence = f"{self._mended} of {self.frames} frames lack a usable time stamp: taken {period} after another"
            found.append(("time stamps", sentence))
        if self._jumps:
            found.append(
                ("time stamps", f"its time stamps jump {self._jumps} times by over {LONGEST_GAP} s: closed up")
            )
        if self._gaps is not None and self._gaps[1] > _VARYING * self._gaps[0]:
            shortest, longest = (round(1000 * gap * self._time_base) for gap in self._gaps)
            sentence = f"its frames are {shortest} to {longest} ms apart: the nearest ones were taken"
            found.append(("varying rate", sentence))
        return found

    def _place(self, frame: Any, then: int | None) -> int:
        """Ticks from the first frame to this one."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        if then is None:
            self._time_base = Fraction(frame.time_base or 1 / self._own_rate)
            self._instants, self._ticks = (self._time_base * self._rate).as_integer_ratio()
            self._longest = int(LONGEST_GAP / self._time_base)
            self._shift = -(stamp or 0)
            self.start = None if stamp is None else stamp * self._time_base
            self._mended += stamp is None
            return 0
        at: int | None = None if stamp is None else stamp + self._shift
        if at is None or at <= then:
            self._mended += 1
            return then + self._find_period(frame)
        if at - then > self._longest:
            self._jumps += 1
            self._shift -= at - then - self._find_period(frame)
            return then + self._find_period(frame)
        least, most = self._gaps or (at - then, at - then)
        self._gaps = min(least, at - then), max(most, at - then)
        return at

    def _find_period(self, frame: Any) -> int:
        """Finds the ticks that a frame lasts."""
        stated = int(frame.duration or 0)
        return stated or max(1, int(1 / (self._own_rate * self._time_base) + Fraction(1, 2)))

    def _count_instants_before(self, doubled: int) -> int:
        """Counts the instants of the wanted rate that come no later than half the given ticks."""
        return doubled * self._instants // (2 * self._ticks) + 1

    def _count_instants(self, ticks: int) -> int:
        """Counts the instants of a film that lasts so many ticks."""
        return (2 * ticks * self._instants + self._ticks) // (2 * self._ticks)

    def _give_up_to(self, total: int) -> int:
        copies = max(0, total - self.given)
        self.given += copies
        return copies
