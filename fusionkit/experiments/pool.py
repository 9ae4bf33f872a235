"""Runs on several processes, none of which can take the others down with it."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any

import torch

from fusionkit.assembly import datasets_shared
from fusionkit.experiments.jobs import Failure, Job, do

GRACE_SECONDS = 60.0
"""How long a stopped run may take to write its checkpoint."""

Report = Callable[[Job, Failure | None], None]


def run_jobs(jobs: Sequence[Job], processes: int, report: Report) -> list[Failure]:
    """Does all jobs, each on one thread, and reports every end.

    With one process they run in this one; with several in workers that keep their datasets from run to run. A worker
    that dies fails its run only. Ctrl-C asks the workers to write their checkpoints and waits for them.

    Args:
        jobs: The runs, in order.
        processes: How many run at a time.
        report: Called in this process as runs end.

    Returns:
        The runs that failed.
    """
    failures: list[Failure] = []

    def ended(job: Job, failure: Failure | None) -> None:
        if failure is not None:
            failures.append(failure)
        report(job, failure)

    if min(processes, len(jobs)) <= 1:
        _run_here(jobs, ended)
    else:
        _run_in_workers(jobs, min(processes, len(jobs)), ended)
    return failures


def _run_here(jobs: Sequence[Job], ended: Report) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker, so that the numbers do not depend on how many there are
    try:
        for job in jobs:
            ended(job, do(job))
    finally:
        torch.set_num_threads(threads)


def _run_in_workers(jobs: Sequence[Job], processes: int, ended: Report) -> None:
    waiting = deque(jobs)
    workers = [_Worker() for _ in range(processes)]
    try:
        for worker in workers:
            worker.start(waiting.popleft())
        while busy := [worker for worker in workers if worker.job is not None]:
            ready = connection.wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                job, failure = worker.take_result()
                ended(job, failure)
                if waiting:
                    worker.start(waiting.popleft())
    finally:
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.wait_for_end()


class _Worker:
    """A process that does one job after another, and is replaced when it dies."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self._spawn()

    def _spawn(self) -> None:
        # A fresh interpreter: a fork would copy threads and locks of torch in whatever state they are.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,))
        self.process.start()
        theirs.close()

    def start(self, job: Job) -> None:
        """Gives the worker a job."""
        if not self.process.is_alive():
            self.connection.close()
            self._spawn()
        self.connection.send(job)
        self.job = job

    def take_result(self) -> tuple[Job, Failure | None]:
        """How the job ended, once the connection is ready; it is ready too when the process has died."""
        job, self.job = self.job, None
        assert job is not None
        try:
            failure: Failure | None = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            failure = Failure(job, f"the process that ran it ended with exit status {self.process.exitcode}")
        return job, failure

    def ask_to_stop(self) -> None:
        """Sends an idle worker home, and asks a busy one to write its checkpoint and end."""
        if self.job is None:
            self.connection.close()
        else:
            self.process.terminate()

    def wait_for_end(self) -> None:
        """Waits; a worker that does not end is killed, its last checkpoint stays."""
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(jobs: Connection[Any, Any]) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches the terminal's processes; these are told by the main one, and only once
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with datasets_shared():
            while True:
                jobs.send(do(jobs.recv()))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _end_with_parent() -> None:
    """Two processes must never write one run: when the main process is killed, its workers stop too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
