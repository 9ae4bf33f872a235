"""Leaving on SIGINT and SIGTERM: the step is finished, a checkpoint is written, the exit status says what happened."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


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
        """The exit status by the shell's convention: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signum


class Listener:
    """Notes a first SIGINT or SIGTERM for the loop to act on; a second one takes its usual course at once.

    Signals reach the main thread of a process only, so elsewhere nothing is listened for.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
