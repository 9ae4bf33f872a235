"""The sentence of a command that a signal stops."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from fusionkit.cli.terminal.output import speaks


@contextmanager
def say_when_stopped(*, goes_on: bool = True) -> Iterator[None]:
    """Ends Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 with a sentence that says what goes on.

    Every process that was started within it ends, too.
    """
    from fusionkit.execution.workers import STOPPING

    listens = threading.current_thread() is threading.main_thread()  # signals reach no other
    signals = [each for each in STOPPING if each != signal.SIGINT] if listens else []
    previous = {each: signal.signal(each, _leave) for each in signals}
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if speaks():
            typer.echo(f"fusionkit: stopped{'; the same command goes on where it was' if goes_on else ''}", err=True)
        raise
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)
