"""The mailbox of a source: the newest signals wait in it, never more than so many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from threading import Lock, Thread

from fusionkit.data.live.devices import Signal
from fusionkit.errors import FusionKitError


class Mailbox:
    """Signals of one source that wait; where there are too many, the oldest are dropped and counted.

    Args:
        most: How many may wait.
    """

    def __init__(self, most: int) -> None:
        self._waiting: deque[Signal] = deque()
        self._most, self._lock = most, Lock()
        self.dropped = 0

    def put(self, signal: Signal) -> None:
        """Adds the newest."""
        with self._lock:
            self._waiting.append(signal)
            if len(self._waiting) > self._most:
                self._waiting.popleft()
                self.dropped += 1

    def take(self) -> list[Signal]:
        """Takes all that wait, in order."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken


class Reading:
    """A source that is read on a thread of its own, into a mailbox.

    Args:
        name: What it is called.
        read: Reads the source, from its beginning to its end.
        most: How many signals may wait.
    """

    def __init__(self, name: str, read: Callable[[], Iterator[Signal]], most: int) -> None:
        self.name, self.mailbox = name, Mailbox(most)
        self.failure: FusionKitError | None = None
        self._read = read
        # A device may block for ever in a call of the system, which must not keep the program alive.
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        """Tells whether there may be more to come."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Waits for the end, so long at most."""
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            for signal in self._read():
                self.mailbox.put(signal)
        except FusionKitError as error:
            self.failure = error
