"""Time by the clock of what any device does: of a piece of work, or of its labelled parts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

REST = "everything else"

Label = Callable[[str], AbstractContextManager[None]]
"""Gives a context within which the time is that of the named part."""

_NOTHING = nullcontext()


def label_nothing(part: str) -> AbstractContextManager[None]:
    """Labels nothing: what code calls that is not watched, at a tenth of a microsecond."""
    return _NOTHING


def wait_for(device: torch.device) -> None:
    """Waits until a device has done what it was given: before that, a clock says nothing of it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def read_clock(device: torch.device) -> float:
    """Returns the seconds of the clock as soon as a device has done what it was given."""
    wait_for(device)
    return time.perf_counter()


def time_work(work: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds of a piece of work; what the device was given before it does not count."""
    start = read_clock(device)
    work()
    return read_clock(device) - start


class Timer:
    """Divides time among labelled parts that may lie in each other: it runs for the innermost, so that they add up.

    A profiler of PyTorch that runs meanwhile sees the parts by their labels.

    Args:
        device: The device that every part is waited for; a CPU is not waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._open: list[tuple[str, torch.profiler.record_function]] = []
        self._since = read_clock(device)

    @contextmanager
    def label(self, part: str) -> Iterator[None]:
        """Runs for a part within it."""
        self.enter(part)
        try:
            yield
        finally:
            self.leave()

    def enter(self, part: str) -> None:
        """Runs for a part from here."""
        self.book()
        record = torch.profiler.record_function(part)
        record.__enter__()  # type: ignore[no-untyped-call]
        self._open.append((part, record))

    def leave(self) -> None:
        """Runs for what the part lies in from here."""
        self.book()
        self._open.pop()[1].__exit__(None, None, None)

    def book(self) -> None:
        """Counts the time up to here."""
        now = read_clock(self._device)
        self.seconds[self._open[-1][0] if self._open else REST] += now - self._since
        self._since = now
