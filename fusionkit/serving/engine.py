"""The one thread that computes: samples of several requests go through the network together."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fusionkit.data.loading.collation import Sample, make_batch
from fusionkit.data.recordings.search import describe_error
from fusionkit.errors import DataError
from fusionkit.inference.answers import Answer
from fusionkit.inference.predictor import Predictor
from fusionkit.serving.counters import Counters
from fusionkit.serving.http.refusals import Refusal

Result = TypeVar("Result")

_MOST_BATCH_BYTES = 256 << 20
"""Bytes of samples that the network is given at once; a single sample may have more."""

_log = logging.getLogger("fusionkit.serving")


@dataclass(frozen=True)
class _Job:
    """One thing that waits for the thread: samples, or a function that is called."""

    future: asyncio.Future[Any]
    arrived: float
    samples: Sequence[Sample] = ()
    branches: bool = False
    level: float | None = None
    function: Callable[[], Any] | None = None


class Engine:
    """Computes answers in one thread, in batches of what waits.

    A sample waits for others only while they are on their way, and not longer than `batch_seconds`: a client that is
    alone never waits. Every answer is that of `Predictor.answer_batch`.

    Args:
        predictor: What answers.
        counters: What counts.
        batch_size: Samples of a batch.
        batch_seconds: The longest that a sample waits for others.
        most_waiting: Samples that may wait; more are refused.

    Attributes:
        coming: Requests that were begun and have not handed in their samples yet.
    """

    def __init__(
        self, predictor: Predictor, counters: Counters, *, batch_size: int, batch_seconds: float, most_waiting: int
    ) -> None:
        self._predictor, self._counters = predictor, counters
        self._batch_size, self._batch_seconds, self._most_waiting = batch_size, batch_seconds, most_waiting
        self._shapes = {name: tuple(of.shape) for name, of in predictor.inputs.modalities.items()}
        self._jobs: deque[_Job] = deque()
        self._ready = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.coming = 0

    def start(self) -> None:
        """Starts the thread, for the event loop that runs."""
        self._loop, self._stopping = asyncio.get_running_loop(), False
        self._thread = threading.Thread(target=self._work, name="fusionkit network", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finishes what waits, and ends the thread."""
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
        if self._thread is not None:
            self._thread.join()

    async def answer(
        self, samples: Sequence[Sample], *, branches: bool = False, level: float | None = None
    ) -> list[Answer]:
        """Answers to samples, in order.

        Args:
            samples: The samples.
            branches: Answer by every trained branch as well.
            level: See `Predictor.predict`; the calibration gives it.

        Raises:
            Refusal: Too many others wait.
        """
        if self._counters.waiting + len(samples) > self._most_waiting:
            raise Refusal(429, "too many samples wait for the network; come again")
        self._counters.waiting += len(samples)
        future: asyncio.Future[list[Answer]] = self._loop.create_future()
        try:
            self._add(_Job(future, time.monotonic(), samples, branches, level))
            return await future
        finally:
            self._counters.waiting -= len(samples)

    async def call(self, function: Callable[[], Result]) -> Result:
        """Calls a function in the thread of the network."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._add(_Job(future, time.monotonic(), function=function))
        return await future

    def _add(self, job: _Job) -> None:
        with self._ready:
            self._jobs.append(job)
            self._ready.notify()

    def _work(self) -> None:
        while jobs := self._take():
            begin = time.perf_counter()
            results = [self._call(jobs[0])] if jobs[0].function else self._compute(jobs)
            if not jobs[0].function:
                self._counters.count_batch(sum(len(job.samples) for job in jobs), time.perf_counter() - begin)
            try:
                self._loop.call_soon_threadsafe(_deliver, jobs, results)
            except RuntimeError:  # the loop has ended, and nobody waits any more
                return

    def _take(self) -> list[_Job]:
        """Takes the next jobs that go together; none once all is done."""
        with self._ready:
            while True:
                while not self._jobs and not self._stopping:
                    self._ready.wait()
                while self._jobs and self._jobs[0].future.cancelled():
                    self._jobs.popleft()
                if self._jobs:
                    break
                if self._stopping:
                    return []
            if self._jobs[0].function is not None:
                return [self._jobs.popleft()]
            until = self._jobs[0].arrived + self._batch_seconds
            while self.coming > 0 and self._count() < self._batch_size and not self._stopping:
                left = until - time.monotonic()
                if left <= 0 or not self._ready.wait(left):
                    break
            return self._cut()

    def _count(self) -> int:
        return sum(len(job.samples) for job in self._jobs)

    def _cut(self) -> list[_Job]:
        taken: list[_Job] = []
        samples = size = 0
        while self._jobs and self._jobs[0].function is None:
            job = self._jobs[0]
            own = sum(values.nbytes for sample in job.samples for values in sample.inputs.values())
            full = samples + len(job.samples) > self._batch_size or size + own > _MOST_BATCH_BYTES
            if taken and (full or job.level != taken[0].level):
                break
            self._jobs.popleft()
            if job.future.cancelled():
                continue
            taken.append(job)
            samples, size = samples + len(job.samples), size + own
        return taken or self._take()

    @staticmethod
    def _call(job: _Job) -> Any:
        assert job.function is not None
        try:
            return job.function()
        except Exception as error:  # whoever waits for it is told
            return error

    def _compute(self, jobs: Sequence[_Job]) -> list[Any]:
        try:
            return self._answer(jobs)
        except Exception as error:
            if len(jobs) > 1:  # one of them may have spoilt it for the others
                return [result for job in jobs for result in self._compute([job])]
            if isinstance(error, DataError):
                text = describe_error(error)
                return [[Answer(sample.id, notes=sample.remarks, failure=text) for sample in jobs[0].samples]]
            _log.exception("the network failed")
            return [error]

    def _answer(self, jobs: Sequence[_Job]) -> list[Any]:
        """Answers to the samples of several jobs in one batch, whose samples must not share a name."""
        samples = [sample for job in jobs for sample in job.samples]
        named = [replace(sample, id=str(place)) for place, sample in enumerate(samples)]
        batch = make_batch(named, self._shapes)
        found = self._predictor.answer_batch(batch, branches=any(job.branches for job in jobs), level=jobs[0].level)
        answers = iter(replace(answer, id=sample.id) for answer, sample in zip(found, samples, strict=True))
        return [
            [next(answers) if job.branches else replace(next(answers), branches={}) for _ in job.samples]
            for job in jobs
        ]


def _deliver(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.future.done():
            continue
        if isinstance(result, BaseException):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
