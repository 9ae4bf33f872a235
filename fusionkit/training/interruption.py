"""Leaving on a signal: the step is finished, a checkpoint is written, the exit status says what happened."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from fusionkit.execution.workers import STOPPING

AT_ONCE = (signal.SIGINT, signal.SIGTERM)
"""Signals that end the process when they come again; the others are a scheduler's notice, which may be repeated."""

ECHO_SECONDS = 1.0
"""Seconds in which a repeated signal counts as the same one, sent by a scheduler and by the launcher of the process."""


class Interrupted(SystemExit):
    """The training was stopped by a signal after writing a checkpoint; left alone, it ends the process.

    Args:
        signum: The signal.

    Example:
        >>> Interrupted(signal.SIGTERM).status
        143
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(128 + signum)

    @property
    def status(self) -> int:
        """The exit status by the shell's convention: 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1."""
        return 128 + self.signum


class Listener:
    """Notes a first signal of `STOPPING` for the loop to act on.

    A second SIGINT or SIGTERM takes its usual course, unless it comes so soon after the first that it is the same one:
    what a scheduler sends to all processes, ``torchrun`` hands on to its own as well. After SIGUSR1 or SIGUSR2, by
    which schedulers give notice, a first SIGTERM is what they announced, and the training is leaving already. Signals
    reach the main thread of a process only, so elsewhere nothing is listened for.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}
        self._asked: int | None = None  # the first of `AT_ONCE`
        self._asked_at = 0.0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in STOPPING:
                self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received = signum
        if signum not in AT_ONCE:
            return
        if self._asked is None:
            self._asked, self._asked_at = signum, now
        elif now - self._asked_at >= ECHO_SECONDS:
            self._restore()
            signal.raise_signal(signum)

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
