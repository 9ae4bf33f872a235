"""Processes that load data, watched by the one that waits for them: who loads what, and what became of whom.

PyTorch says that "a worker" was killed or that "the loader" timed out. Here every worker writes down which sample it
has begun, in memory that it shares with the process that waits, so that an error names the sample and its file.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from torch.utils.data import get_worker_info

from fusionkit.errors import DataError, FusionKitError, Problem, TrainingError

_IDLE = -1
_TORCH_HANDLERS = "torch.utils.data._utils.signal_handling"


class Watch:
    """A record of the sample that every worker is loading, and since when.

    Args:
        workers: How many there are.
    """

    def __init__(self, workers: int) -> None:
        self._pids = multiprocessing.RawArray("q", workers)
        self._samples = multiprocessing.RawArray("q", [_IDLE] * workers)
        self._since = multiprocessing.RawArray("d", workers)

    @contextmanager
    def note_loading(self, index: int) -> Iterator[None]:
        """Notes that this worker is loading the sample at a position of the dataset, as long as it does."""
        info = get_worker_info()
        assert info is not None
        self._pids[info.id], self._since[info.id] = os.getpid(), time.monotonic()
        self._samples[info.id] = index
        try:
            yield
        finally:
            self._samples[info.id] = _IDLE

    def list_begun(self) -> dict[int, tuple[int, float]]:
        """Lists, by process id, the sample that it has begun and not finished, and the seconds since."""
        now = time.monotonic()
        rows = zip(self._pids, self._samples, self._since, strict=True)
        return {pid: (sample, now - since) for pid, sample, since in rows if sample != _IDLE}


class Crew:
    """The worker processes of a loader, whose deaths are noticed where a batch is waited for, and nowhere else."""

    def __init__(self) -> None:
        self._before = set(multiprocessing.active_children())
        self._processes: tuple[BaseProcess, ...] | None = None

    def gather(self) -> None:
        """Takes the processes that were started since it was made; only the first call does anything."""
        if self._processes is None:
            self._processes = tuple(set(multiprocessing.active_children()) - self._before)
            self._before = set()
            _raise_only_while_waiting()

    def list_dead(self) -> dict[int, int]:
        """Lists the exit statuses of those that have ended, by process id; negative is the signal that ended it."""
        found = {process.pid: process.exitcode for process in self._processes or ()}
        return {pid: status for pid, status in found.items() if pid is not None and status is not None}

    def end(self) -> None:
        """Ends all of them: those that hang would not listen to anything else."""
        for process in self._processes or ():
            process.kill()


class _Handler:
    """A handler of SIGCHLD that calls PyTorch's only while a batch is waited for.

    PyTorch's raises wherever the main thread happens to be, in the middle of an optimizer's step for example.
    """

    waiting = False

    def __init__(self, of_torch: Any) -> None:
        self._of_torch = of_torch

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _Handler.waiting:
            self._of_torch(number, frame)


def _raise_only_while_waiting() -> None:
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGCHLD)
    if getattr(handler, "__module__", "") == _TORCH_HANDLERS:
        signal.signal(signal.SIGCHLD, _Handler(handler))


@contextmanager
def wait_for_workers() -> Iterator[None]:
    """Raises the death of a worker at once, as long as the main process waits."""
    _Handler.waiting = True
    try:
        yield
    finally:
        _Handler.waiting = False


def describe_death(dead: Mapping[int, int], begun: Mapping[int, tuple[str, float]]) -> FusionKitError:
    """Makes the error of workers that have ended.

    Args:
        dead: By process id, the exit status.
        begun: By process id, the place of the sample that it was loading, and the seconds since.
    """
    problems = []
    for pid, status in sorted(dead.items()):
        place = begun[pid][0] if pid in begun else "data.workers"
        doing = "loading it" if pid in begun else "between two samples"
        problems.append(
            Problem(place, f"the worker process {pid} {_describe_end(status)} while {doing}", _find_remedy(status))
        )
    if any(-status in (signal.SIGKILL, signal.SIGTERM) for status in dead.values()):
        return TrainingError("\n".join(map(str, problems)))
    return DataError(problems)


def describe_hang(seconds: float, begun: Mapping[int, tuple[str, float]]) -> DataError:
    """Makes the error of workers that gave no batch in time, in the words of `describe_death`."""
    remedy = "see whether it can be read at all; where it is only slow, raise data.timeout_seconds"
    problems = [
        Problem(place, f"the worker process {pid} has been loading it for {since:.0f} s", remedy)
        for pid, (place, since) in sorted(begun.items(), key=lambda item: -item[1][1])
    ]
    nothing = Problem("data.timeout_seconds", f"no worker process gave a batch within {seconds:g} s", remedy)
    return DataError(problems or [nothing])


def describe_shared_memory(samples: int, size: int, said: str) -> TrainingError:
    """Makes the error of a batch for which there is no room where processes hand batches over."""
    room = f" ({shutil.disk_usage('/dev/shm').free:,} bytes are free)" if os.path.isdir("/dev/shm") else ""
    return TrainingError(
        f"data.workers: a batch of {samples} samples, {size:,} bytes, does not fit into the shared memory{room}, "
        f"through which worker processes hand it over ({said}); give more, such as docker run --shm-size=8g, lower "
        "data.batch_size or data.budget, or set data.workers: 0"
    )


def _describe_end(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    return f"was ended by signal {-status} ({signal.Signals(-status).name})"


def _find_remedy(status: int) -> str:
    if -status == signal.SIGKILL:
        return "the system does that where memory runs out: lower data.workers or the size of batches"
    if -status == getattr(signal, "SIGBUS", None):
        return "shared memory is full: give more, such as docker run --shm-size=8g, or set data.workers: 0"
    if -status in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL):
        return "the library that reads it crashed: leave the sample out, or convert its file"
    if -status == signal.SIGTERM:
        return "somebody asked it to end"
    return "code that reads data must raise an error instead of ending its process"
