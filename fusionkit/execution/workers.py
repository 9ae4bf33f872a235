"""Jobs on several processes, where none can take the others down, and a bar that says how far they are."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Signals that ask a process to keep what it has and leave; SLURM gives notice by the last two. Windows lacks them."""

GRACE_SECONDS = 60.0
"""Seconds that a stopped job has to write its state."""

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Death:
    """A process that ended in the middle of its job, killed for want of memory for example.

    Args:
        status: Its exit status; negative is the signal that ended it.
    """

    status: int | None


def run_jobs(
    jobs: Sequence[J],
    do: Callable[[J], R],
    processes: int,
    ended: Callable[[J, R | Death], None],
) -> None:
    """Does all jobs, each on one thread, and tells of every end as it comes.

    With one process they run in this one; with several in workers that start as fresh interpreters and take one job
    after another. A worker that dies ends its job alone. Whatever is raised here, Ctrl-C for example, is told to the
    workers as SIGTERM, and waited for.

    Args:
        jobs: The jobs, in order; with several processes they are pickled.
        do: What is done with each; pickled once for every worker, which keeps what it holds from job to job.
        processes: How many run at a time.
        ended: Called in this process with a job and what came of it.
    """
    if min(processes, len(jobs)) <= 1:
        _run_here(jobs, do, ended)
    else:
        _run_in_workers(jobs, do, min(processes, len(jobs)), ended)


def count_processors() -> int:
    """Counts the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_signals_to_parent() -> None:
    """Keeps what is sent to a whole group of processes, Ctrl-C or a scheduler's notice, from this one.

    It is told by the process that started it, by SIGTERM, and only once. A worker that ended by itself would take away
    what the other needs to finish its step and to write a checkpoint.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    for signum in STOPPING:
        if signum != signal.SIGTERM:
            signal.signal(signum, signal.SIG_IGN)


@contextmanager
def show_progress(what: str, waiting: int, kept: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """Draws a bar on standard error with the remaining time; yields what advances it by one, and says what failed.

    Args:
        what: What is counted, such as ``"runs"``.
        waiting: How many are to be done.
        kept: How many are done already.
        shown: Whether anything is printed.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        # The speed is that of the last ends, however long ago: a run may take minutes.
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown, speed_estimate_period=86400) as bar:
        task = bar.add_task(f"{what} ({kept} kept)" if kept else what, total=waiting)

        def advance(failed: str = "") -> None:
            if failed:
                bar.console.print(f"[red]failed[/red] {escape(failed)}", highlight=False)
            bar.advance(task)

        yield advance


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Lets torch compute on one thread, as in a worker: figures and times do not depend on how many there are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run_here(jobs: Sequence[J], do: Callable[[J], R], ended: Callable[[J, R | Death], None]) -> None:
    with use_one_thread():
        for job in jobs:
            ended(job, do(job))


def _run_in_workers(
    jobs: Sequence[J],
    do: Callable[[J], R],
    processes: int,
    ended: Callable[[J, R | Death], None],
) -> None:
    waiting = deque(jobs)
    workers: list[_Worker[J, R]] = [_Worker(do) for _ in range(processes)]
    try:
        for worker in workers:
            worker.start(waiting.popleft())
        while busy := [worker for worker in workers if worker.job is not None]:
            ready = connection.wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                job, result = worker.take_result()
                ended(job, result)
                if waiting:
                    worker.start(waiting.popleft())
    finally:
        # All are asked before any is waited for, so that they end side by side.
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.wait_for_end()


class _Worker(Generic[J, R]):
    """A process that does one job after another, and is replaced when it dies."""

    def __init__(self, do: Callable[[J], R]) -> None:
        self.job: J | None = None
        self._do = do
        self._spawn()

    def _spawn(self) -> None:
        # A fresh interpreter: a fork would copy threads and locks of torch in whatever state they are.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self._do))
        self.process.start()
        # Held open here too, that end would hide the death of its process.
        theirs.close()

    def start(self, job: J) -> None:
        """Gives the worker a job."""
        if not self.process.is_alive():
            self.connection.close()
            self._spawn()
        self.connection.send(job)
        self.job = job

    def take_result(self) -> tuple[J, R | Death]:
        """Takes what came of the job, once the connection is ready; it is ready too when the process has died."""
        job, self.job = self.job, None
        assert job is not None
        result: R | Death
        try:
            result = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            result = Death(self.process.exitcode)
        return job, result

    def ask_to_stop(self) -> None:
        """Sends an idle worker home, and asks a busy one to end."""
        if self.job is None:
            self.connection.close()
        else:
            self.process.terminate()

    def wait_for_end(self) -> None:
        """Waits for its end; a worker that does not end is killed, what it has written stays."""
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(jobs: Connection[Any, Any], do: Callable[[J], R]) -> None:
    import torch

    leave_signals_to_parent()
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            jobs.send(do(jobs.recv()))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _end_with_parent() -> None:
    """Ends with the main process, even a killed one: two processes must never write one file."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
